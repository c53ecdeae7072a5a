"""The query of a listing: what is searched for."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query

from horde_core.lifecycle import Status
from horde_facilitator.clock import SECOND
from horde_facilitator.errors import BadRequest
from horde_facilitator.records.search import Search

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def _search(
    status: Annotated[list[str], Query()] = [],  # noqa: B006  # FastAPI copies it
    namespace: str | None = None,
    image: str | None = None,
    created_after: str | None = None,
    created_before: str | None = None,
) -> Search:
    """Read the query. Times are ISO 8601, in UTC unless they say otherwise; a status may be spelled either way."""
    return Search(
        statuses=tuple(_status(word) for word in status),
        namespace=namespace,
        image=image,
        created_from_us=_time("created_after", created_after),
        created_before_us=_time("created_before", created_before),
    )


GivenSearch = Annotated[Search, Depends(_search)]


def _status(word: str) -> Status:
    try:
        return Status.parse(word)
    except ValueError as error:
        known = ", ".join(Status)
        raise BadRequest.field("status", f"{word!r} is no status; use one of {known}") from error


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        # A plus that was not escaped arrives as a space.
        time = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise BadRequest.field(name, "must be a time like 2026-01-31T12:00:00Z") from error
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    past = time - _EPOCH
    return (past.days * 86_400 + past.seconds) * SECOND + past.microseconds
