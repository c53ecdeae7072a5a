"""The facilitator and the executor, each in this process until it is asked to end.

`horde facilitator` and `horde executor run` come here, and so do the children of `horde up`.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from horde_cli.hotkeys import open_or_make

Ready = Callable[[str], None]


async def facilitate(data: Path, host: str, port: int, admit: Mapping[str, Iterable[str]], ready: Ready) -> None:
    """Serve the API; `ready` is told the URL once it listens. SIGTERM and SIGINT end it."""
    from horde_facilitator.serve import serve
    from horde_facilitator.settings import Settings

    admitted = {role: frozenset(hotkeys) for role, hotkeys in admit.items()}
    await serve(Settings(data=data, host=host, port=port, admit=admitted), ready=ready)


async def execute(
    facilitator_url: Callable[[], str],
    data: Path,
    hotkey: Path,
    classes: Iterable[str],
    slots: int,
    allow_egress: Iterable[str],
    ready: Ready,
) -> None:
    """Run jobs; `ready` is told the URL once the facilitator knows this executor.

    SIGTERM and SIGINT hand the running jobs back and end it.
    """
    from horde_executor.agent import run
    from horde_executor.settings import Settings

    settings = Settings(
        facilitator_url=facilitator_url(),
        data=data,
        classes=tuple(classes),
        hotkey=open_or_make(hotkey),
        slots=slots,
        allow_egress=tuple(allow_egress),
    )
    agent = asyncio.create_task(run(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.cancel)
    try:
        await agent
    except asyncio.CancelledError:
        pass
