"""Many jobs, of which a bounded number is in flight."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._job import ComputeHordeJob

CANCEL_S = 30
"""How long leaving waits until the jobs that were in flight are cancelled."""


class Flight:
    """Jobs that were handed in and not taken yet. Whatever has not ended when the context is left is cancelled."""

    def __init__(self, size: int, *, ordered: bool) -> None:
        if size < 1:
            raise ValueError("max_in_flight must be at least 1")
        self._size = size
        self._ordered = ordered
        self._tasks: list[asyncio.Task[ComputeHordeJob]] = []

    def __bool__(self) -> bool:
        return bool(self._tasks)

    @property
    def is_full(self) -> bool:
        """Whether one has to be taken before another may be handed in."""
        return len(self._tasks) >= self._size

    async def add(self, create: Callable[[], Awaitable[ComputeHordeJob]]) -> None:
        """Hand a job in and follow it to its end, in the background."""
        self._tasks.append(asyncio.create_task(_run(create)))

    async def take(self) -> ComputeHordeJob:
        """The next job that has ended: the first that was handed in, or any if the order does not matter.

        Raises:
            ComputeHordeError: it could not be handed in, or not be followed.
        """
        if self._ordered:
            await asyncio.wait(self._tasks[:1])
        else:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(task for task in self._tasks if task.done())
        self._tasks.remove(ended)
        return ended.result()

    async def aclose(self) -> None:
        """Cancel what has not ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def _run(create: Callable[[], Awaitable[ComputeHordeJob]]) -> ComputeHordeJob:
    # Not interrupted: a job that was made must be known, or nobody could cancel it.
    creating = asyncio.ensure_future(create())
    try:
        job = await asyncio.shield(creating)
        await job.wait()
    except asyncio.CancelledError:
        with suppress(ComputeHordeError, TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await (await creating).cancel()
        raise
    return job
