"""The two clocks: wall time for what people read, boot time for leases.

Boot time (CLOCK_BOOTTIME) never jumps and counts a suspended machine's time, but starts anew with the machine.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

SECOND = 1_000_000
"""Microseconds in a second: the unit of every stored time."""


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks, in microseconds."""

    wall_us: int
    boot_us: int


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Now:
        """Both clocks, now."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Now:
        """Both clocks, now."""
        return Now(time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)


def microseconds(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * SECOND)


def time_of(us: int) -> datetime:
    """A stored wall time."""
    return datetime.fromtimestamp(us // SECOND, UTC).replace(microsecond=us % SECOND)
