"""How long transfers bear with the servers of users. Decisions only."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer bears with a server. Times in seconds; `tries` counts requests without progress."""

    connect_s: float = 15
    stall_s: float = 30
    tries: int = 6
    pause_s: float = 0.5
    longest_pause_s: float = 30
    longest_retry_after_s: float = 120


def is_for_later(status: int) -> bool:
    """Whether the same request may succeed another time."""
    return status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def pause(failures: int, asked: float | None, patience: Patience, chance: float) -> float | None:
    """Seconds until the next try after so many failures, or None to give up.

    Full jitter: a `chance` between 0 and 1 of an exponentially growing span. What the server asked for with
    Retry-After is honoured unless it is longer than patience goes.
    """
    if failures >= patience.tries or (asked or 0) > patience.longest_retry_after_s:
        return None
    span = min(patience.longest_pause_s, patience.pause_s * 2.0 ** (failures - 1))
    return (asked or 0) + span * chance


def retry_after(text: str, now: datetime) -> float | None:
    """The seconds of a Retry-After header in either of its forms (RFC 9110, section 10.2.3)."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
    except ValueError:
        return None
