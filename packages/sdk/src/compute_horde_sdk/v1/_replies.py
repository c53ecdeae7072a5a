"""Answers that are errors, as exceptions whose messages say what the facilitator said."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import cast

import httpx2

from compute_horde_sdk.v1._errors import ComputeHordeNotFoundError, RefusedError
from compute_horde_sdk.v1._spec import field_name

MAX_MESSAGE = 2000


def raise_for(response: httpx2.Response, what: str = "request") -> None:
    """Raise what an error status means; the body must have been read.

    Raises:
        ComputeHordeNotFoundError: the status is 404.
        RefusedError: the status is another error.
    """
    if response.is_success:
        return
    status = response.status_code
    place = f"{response.request.method} {response.request.url.path}"
    said = _said(response.text)[:MAX_MESSAGE]
    if status == HTTPStatus.NOT_FOUND:
        raise ComputeHordeNotFoundError(f"the facilitator knows no {place}: {said}")
    raise RefusedError(
        f"the facilitator refused the {what} ({place}, status {status}): {said}",
        status,
        _retry_after(response.headers.get("Retry-After")),
    )


def _said(text: str) -> str:
    """The message in an error's body: ``{"detail": ...}``, ``{"error": ...}`` or ``{field: [message, ...]}``."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip() or "no reason given"
    if isinstance(body, list):
        return "; ".join(str(item) for item in cast(list[object], body))
    if not isinstance(body, dict):
        return str(body)
    parts: list[str] = []
    for name, value in cast(dict[str, object], body).items():
        messages = [str(item) for item in cast(list[object], value)] if isinstance(value, list) else [str(value)]
        start = "" if name in ("detail", "error") else f"{field_name(name)}: "
        parts.extend(start + message for message in messages)
    return "; ".join(parts)


def _retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, which holds a number or a date."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
