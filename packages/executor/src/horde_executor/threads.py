"""Blocking work in a thread of its own, which ends when its caller is cancelled.

The event loop's shared pool of threads would do for short calls; a transfer may take hours, and a handful of
them would keep everybody else's short calls waiting.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from horde_executor.errors import Stopped

T = TypeVar("T")


def check(stop: threading.Event) -> None:
    """End the work here if its caller was cancelled.

    Raises:
        Stopped: it was.
    """
    if stop.is_set():
        raise Stopped


async def run(
    work: Callable[[threading.Event], T], *, name: str, afterwards: Callable[[], object] | None = None
) -> T:
    """Run `work` in a thread and return its result.

    When the caller is cancelled the event given to `work` is set and the work is awaited to its end, so nothing
    that it uses is pulled away under it; `work` looks at the event at least every 50 ms. `afterwards` runs in
    the same thread when the result is already out: for closing what may take long to close.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def body() -> None:
        try:
            result = work(stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller
            loop.call_soon_threadsafe(over.set_exception, error)
        else:
            loop.call_soon_threadsafe(over.set_result, result)
        finally:
            if afterwards is not None:
                afterwards()

    threading.Thread(target=body, name=name, daemon=True).start()
    try:
        return await asyncio.shield(over)
    except asyncio.CancelledError:
        stop.set()
        while not over.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([over])
        over.exception()  # asked for, or asyncio would complain that nobody did
        raise
