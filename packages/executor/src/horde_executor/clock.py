"""The one clock of the executor, and the limits that it measures.

Leases and deadlines are read from CLOCK_BOOTTIME, which also counts while the machine sleeps: a lease is not
longer because a lid was closed. Limits of stages are scopes of the event loop; which scope ended decides whose
limit it was, so a library's own `TimeoutError` is never blamed on the user.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from horde_core.outcomes import Stage
from horde_executor.errors import LimitReached


def now() -> float:
    """Seconds since the machine was started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@asynccontextmanager
async def limit(seconds: float) -> AsyncGenerator[None]:
    """Give the block this much time.

    Raises:
        LimitReached: the time was used up; the block was cancelled. Nested limits are told apart by the place
            where the error is caught: an inner one never passes an outer one by mistake.
    """
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield
    except TimeoutError:
        if scope.expired():
            raise LimitReached(f"{seconds:g} s were used up") from None
        raise


class Stopwatch:
    """How long each part of an attempt took, in seconds, and the stage that it is in."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = Stage.PREPARE

    @contextmanager
    def measure(self, part: str) -> Generator[None]:
        """Note how long the block takes."""
        began = now()
        try:
            yield
        finally:
            self.seconds[part] = round(now() - began, 6)
