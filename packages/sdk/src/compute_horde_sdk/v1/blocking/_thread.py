"""An event loop in a thread of its own, for programs that are not asynchronous."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import aclosing
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from compute_horde_sdk.v1._errors import ComputeHordeError

T = TypeVar("T")
Say = Callable[[Callable[[], None]], None]

_END = object()


class LoopThread:
    """Runs coroutines for other threads, and a last one at the end.

    Starts at the first use. Ends at `close`, when nobody holds it any more, or with the program.
    """

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._last = last
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: weakref.finalize[..., LoopThread] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns. An interruption of this thread cancels it."""
        try:
            self._started()
        except ComputeHordeError:
            work.close()
            raise
        return self.run_telling(lambda _: work)

    def run_telling(self, work: Callable[[Say], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine that has things to be done in the calling thread, in order, while it goes on.

        What such a call raises cancels the coroutine and is raised here.
        """
        loop = self._started()
        calls = SimpleQueue[Callable[[], None] | None]()
        future = asyncio.run_coroutine_threadsafe(work(calls.put), loop)
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while call := calls.get():
                call()
            return future.result()
        finally:
            future.cancel()

    def iterate(self, items: AsyncGenerator[T]) -> Generator[T]:
        """Hand over what an asynchronous generator yields, which may run ahead."""
        loop = self._started()
        found = SimpleQueue[object]()

        async def pump() -> None:
            async with aclosing(items):
                async for item in items:
                    found.put(item)

        future = asyncio.run_coroutine_threadsafe(pump(), loop)
        future.add_done_callback(lambda _: found.put(_END))
        try:
            while (item := found.get()) is not _END:
                yield cast(T, item)
            future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Run the last coroutine, cancel what still runs, and end the thread."""
        if self._stop:
            self._stop()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._stop and not self._stop.alive:
                raise ComputeHordeError("this client is closed")
            if self._loop is None:
                ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
                last = self._last  # the thread must not hold this object
                thread = threading.Thread(
                    target=lambda: asyncio.run(_serve(ready, last)), name="compute-horde-sdk", daemon=True
                )
                thread.start()
                self._loop, stop = ready.result()
                self._stop = weakref.finalize(self, _end, self._loop, stop, thread)
            return self._loop


async def _serve(
    ready: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]", last: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    stop = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()
    await last()


def _end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    if thread is not threading.current_thread():
        thread.join()
