"""Long polls that end with their client."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Request

from horde_facilitator.bus import Listener


@asynccontextmanager
async def until_gone(request: Request, listener: Listener) -> AsyncGenerator[None]:
    """End the listener when the client leaves, so that nothing is given to somebody who is not there.

    The body must have been read.
    """
    watcher = asyncio.create_task(_watch(request, listener))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


async def _watch(request: Request, listener: Listener) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    listener.end()
