"""What is asked of a listing of jobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from compute_horde_sdk.v1._errors import ComputeHordeError, ComputeHordeSpecError
from compute_horde_sdk.v1._status import ComputeHordeJobStatus
from horde_core.wire.client import JobPage

Search = Mapping[str, str | Sequence[str]]
"""The parameters of the query."""
Statuses = ComputeHordeJobStatus | str | Iterable[ComputeHordeJobStatus | str]


def search_of(
    *,
    status: Statuses | None,
    namespace: str | None,
    image: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> Search:
    """The query that asks for jobs which match all that is given.

    Raises:
        ComputeHordeSpecError: a status is unknown (this is a ValueError, too).
    """
    search: dict[str, str | Sequence[str]] = {}
    if status is not None:
        statuses = [status] if isinstance(status, str) else [*status]
        search["status"] = [_status(word).name.lower() for word in statuses]
    texts = {"namespace": namespace, "image": image}
    times = {"created_after": created_after, "created_before": created_before}
    search |= {name: text for name, text in texts.items() if text is not None}
    # A time without a zone is local time, as everywhere in Python.
    search |= {name: time.astimezone().isoformat() for name, time in times.items() if time is not None}
    return search


def check(page: JobPage, search: Search) -> JobPage:
    """The page, unless it comes from a facilitator that took no notice of the search.

    Raises:
        ComputeHordeError: it does.
    """
    if search and any(reply.horde is None for reply in page.results):
        raise ComputeHordeError("this facilitator cannot search for jobs")
    return page


def _status(word: ComputeHordeJobStatus | str) -> ComputeHordeJobStatus:
    try:
        return ComputeHordeJobStatus(word)
    except ValueError as error:
        raise ComputeHordeSpecError(f"status: {word!r} is no status of a job") from error
