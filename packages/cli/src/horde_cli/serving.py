"""The facilitator and the executor, each in this process until it is asked to end.

`horde facilitator` and `horde executor run` are `facilitator` and `executor` here; the children of `horde up`
share `facilitate` and `execute`.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from horde_cli.errors import StartError
from horde_cli.hotkeys import open_or_make

Ready = Callable[[str], None]
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def facilitator(
    data: Path, host: str, port: int, admit: Mapping[str, Iterable[str]], *, cheat_out_s: float | None = None
) -> None:
    """Serve the API in the foreground."""
    log_to_stderr()
    asyncio.run(facilitate(data, host, port, admit, _print_ready, cheat_out_s=cheat_out_s))


def executor(
    *,
    facilitator_url: str,
    data: Path,
    hotkey: Path,
    classes: Iterable[str],
    slots: int,
    allow_egress: Iterable[str],
    image_bytes: int | None,
    token: str | None = None,
) -> None:
    """Run jobs in the foreground; a token of an operator lets the hotkey in first.

    Raises:
        HotkeyError: the hotkey cannot be used.
        BadUsage: the token is worth nothing.
    """
    log_to_stderr()
    if token:
        from horde_cli.joining import join

        asyncio.run(join(facilitator_url, open_or_make(hotkey), token))
    else:
        address = open_or_make(hotkey).ss58_address
        print(f"horde: this executor is let in by: horde facilitator --admit executor={address}", file=sys.stderr)
    asyncio.run(
        execute(
            facilitator_url=lambda: facilitator_url,
            data=data,
            hotkey=hotkey,
            classes=classes,
            slots=slots,
            allow_egress=allow_egress,
            image_bytes=image_bytes,
            ready=_print_ready,
        )
    )


async def facilitate(
    data: Path,
    host: str,
    port: int,
    admit: Mapping[str, Iterable[str]],
    ready: Ready,
    *,
    cheat_out_s: float | None = None,
) -> None:
    """Serve the API; `ready` is told the URL once it listens. SIGTERM and SIGINT end it.

    `cheat_out_s` is how long a confirmed report of cheating takes an executor out, if not as long as usual.

    Raises:
        StartError: the address or the directory cannot be used.
    """
    from horde_facilitator.errors import FacilitatorError
    from horde_facilitator.serve import serve
    from horde_facilitator.settings import Settings

    admitted = {role: frozenset(hotkeys) for role, hotkeys in admit.items()}
    settings = Settings(data=data, host=host, port=port, admit=admitted)
    if cheat_out_s is not None:
        settings = replace(settings, cheat_out_s=cheat_out_s)
    try:
        await serve(settings, ready=ready)
    except FacilitatorError as error:
        raise StartError(str(error)) from error


async def execute(
    *,
    facilitator_url: Callable[[], str],
    data: Path,
    hotkey: Path,
    classes: Iterable[str],
    slots: int,
    allow_egress: Iterable[str],
    image_bytes: int | None,
    ready: Ready,
) -> None:
    """Run jobs; `ready` is told the URL once the facilitator knows this executor.

    `facilitator_url` is asked when everything is loaded. SIGTERM and SIGINT hand the running jobs back.

    Raises:
        StartError: there is no engine, the facilitator refuses this executor, or the directory is in use.
    """
    from horde_executor.agent import run
    from horde_executor.errors import ExecutorError
    from horde_executor.settings import Settings

    url = facilitator_url()
    settings = Settings(
        facilitator_url=url,
        data=data,
        classes=tuple(classes),
        hotkey=open_or_make(hotkey),
        slots=slots,
        allow_egress=tuple(allow_egress),
        image_bytes=image_bytes,
    )
    agent = asyncio.create_task(run(settings, ready=lambda: ready(url)))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.cancel)
    try:
        await agent
    except asyncio.CancelledError:
        pass  # it was asked to end, and has handed its jobs back
    except ExecutorError as error:
        raise StartError(str(error)) from error


def log_to_stderr() -> None:
    """Send the log of this process to its standard error."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would write a line for every request


def _print_ready(url: str) -> None:
    print(f"ready {url}", flush=True)
