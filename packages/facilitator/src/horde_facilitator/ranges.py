"""HTTP ranges (RFC 9110, section 14): one range of bytes; anything else gets the whole."""

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes\s*=\s*(\d*)-(\d*)\s*", re.ASCII)
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes `start` to `stop` of a whole; `partial` says whether a range was asked for."""

    start: int
    stop: int
    partial: bool


def requested(header: str | None, total: int) -> Part | None:
    """The part that a Range header asks for; None when it lies outside the whole (416)."""
    match = _ONE.fullmatch(header) if header and len(header) < 2 * _MAX_DIGITS + 20 else None
    if match is None or match.group(1) == match.group(2) == "":
        return Part(0, total, partial=False)
    first, last = match.group(1), match.group(2)
    if not first:
        start, stop = max(total - int(last), 0), total
    else:
        start, stop = int(first), min(int(last) + 1, total) if last else total
        if last and int(last) < int(first):
            return Part(0, total, partial=False)
    return Part(start, stop, partial=True) if start < stop else None
