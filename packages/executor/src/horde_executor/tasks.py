"""Ways to wait and to end that asyncio does not spell out."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")


FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


def pause_before(repeat: int) -> float:
    """Seconds to wait before repeat 0, 1, 2…: full jitter, so that many do not come back at once."""
    return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(repeat, 10)))  # noqa: S311


async def together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Run both side by side and return both results.

    When one fails, the other is cancelled and awaited to its end, then the first error is raised as it is (a
    `TaskGroup` would wrap it).
    """
    tasks = (asyncio.ensure_future(first), asyncio.ensure_future(second))
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel(*tasks)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, A]) -> A | None:
    """The result of `work`, or None when `event` came first; then the work was cancelled and is over."""
    task, signal = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, signal), return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        await cancel(task, signal)


class Joint(Generic[A]):
    """Works by name: who asks for one that is under way gets its result along with the others.

    A work is cancelled when the last who waits for it goes before its end.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, _Shared[A]] = {}

    async def do(self, name: str, work: Callable[[], Coroutine[Any, Any, A]]) -> A:
        """The result of the work of this name, which is begun if it is not under way."""
        shared = self._under_way.get(name)
        if shared is None:
            shared = self._under_way[name] = _Shared(asyncio.ensure_future(work()))
        shared.waiting += 1
        try:
            await asyncio.wait([shared.task])
            return shared.task.result()
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                if self._under_way.get(name) is shared:
                    del self._under_way[name]
                await cancel(shared.task)


@dataclass(slots=True)
class _Shared(Generic[A]):
    task: asyncio.Future[A]
    waiting: int = 0


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they are over, whatever they make of it."""
    for task in tasks:
        task.cancel()
    await over(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asked for, or asyncio would complain that nobody did


def raise_if_cancelled() -> None:
    """Raise the cancellation of this task that somebody swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def first_of(error: BaseException) -> BaseException:
    """The first of the errors in a group, however deep; an error that is no group is itself."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def to_its_end(work: Coroutine[Any, Any, A], seconds: float) -> A:
    """Run `work` to its end even when the caller is cancelled meanwhile; the cancellation is raised afterwards.

    Raises:
        TimeoutError: the work took longer than `seconds` and was cancelled.
    """
    task = asyncio.ensure_future(asyncio.wait_for(work, seconds))
    try:
        await over(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            task.exception()
        raise
    return task.result()


async def over(*tasks: asyncio.Future[Any]) -> None:
    """Wait until tasks are over, also when this one is cancelled meanwhile; that is raised afterwards."""
    cancelled = False
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
