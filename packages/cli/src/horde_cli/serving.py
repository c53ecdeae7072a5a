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
from typing import NamedTuple

from horde_cli.encryption import Tls
from horde_cli.errors import StartError
from horde_cli.hotkeys import open_or_make

Ready = Callable[[str], None]


class Where(NamedTuple):
    """Where the facilitator is, and the file of the CA that alone may vouch for it, if it is no public one."""

    url: str
    ca: Path | None


LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def facilitator(
    *,
    data: Path,
    host: str,
    port: int,
    admit: Mapping[str, Iterable[str]],
    tls: Tls,
    cheat_out_s: float | None = None,
) -> None:
    """Serve the API in the foreground."""
    log_to_stderr()
    if warning := tls.warning(host):
        print(f"horde: {warning}", file=sys.stderr)
    asyncio.run(
        facilitate(
            data=data, host=host, port=port, admit=admit, tls=tls, ready=_print_ready, cheat_out_s=cheat_out_s
        )
    )


def executor(
    *,
    facilitator_url: str,
    data: Path,
    hotkey: Path,
    classes: Iterable[str],
    slots: int,
    allow_egress: Iterable[str],
    hf_endpoint: str,
    cache_bytes: int | None,
    image_bytes: int | None,
    token: str | None = None,
    ca_fingerprint: str | None = None,
) -> None:
    """Run jobs in the foreground; a token of an operator lets the hotkey in first.

    Raises:
        HotkeyError: the hotkey cannot be used.
        BadUsage: the token is worth nothing.
        Untrusted: the facilitator's CA is not the one with the fingerprint.
    """
    from horde_cli import trust

    log_to_stderr()
    ca = trust.authority(facilitator_url, ca_fingerprint, data / trust.FILE)
    if token:
        from horde_cli.joining import join

        asyncio.run(join(facilitator_url, open_or_make(hotkey), token, ca))
    else:
        address = open_or_make(hotkey).ss58_address
        print(f"horde: this executor is let in by: horde facilitator --admit executor={address}", file=sys.stderr)
    asyncio.run(
        execute(
            where=lambda: Where(facilitator_url, ca),
            data=data,
            hotkey=hotkey,
            classes=classes,
            slots=slots,
            allow_egress=allow_egress,
            hf_endpoint=hf_endpoint,
            cache_bytes=cache_bytes,
            image_bytes=image_bytes,
            ready=_print_ready,
        )
    )


async def facilitate(
    *,
    data: Path,
    host: str,
    port: int,
    admit: Mapping[str, Iterable[str]],
    tls: Tls,
    ready: Ready,
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
    settings = Settings(data=data, host=host, port=port, admit=admitted, encryption=tls.setting())
    if cheat_out_s is not None:
        settings = replace(settings, cheat_out_s=cheat_out_s)
    try:
        await serve(settings, ready=ready)
    except FacilitatorError as error:
        raise StartError(str(error)) from error


async def execute(
    *,
    where: Callable[[], Where],
    data: Path,
    hotkey: Path,
    classes: Iterable[str],
    slots: int,
    allow_egress: Iterable[str],
    hf_endpoint: str,
    cache_bytes: int | None,
    image_bytes: int | None,
    ready: Ready,
) -> None:
    """Run jobs; `ready` is told the URL once the facilitator knows this executor.

    `where` is asked when everything is loaded. SIGTERM and SIGINT hand the running jobs back.

    Raises:
        StartError: there is no engine, the facilitator refuses this executor, or the directory is in use.
    """
    from horde_executor.agent import run
    from horde_executor.errors import ExecutorError
    from horde_executor.settings import Settings

    url, ca = where()
    settings = Settings(
        facilitator_url=url,
        data=data,
        classes=tuple(classes),
        hotkey=open_or_make(hotkey),
        slots=slots,
        allow_egress=tuple(allow_egress),
        hf_endpoint=hf_endpoint,
        cache_bytes=cache_bytes,
        facilitator_ca=ca,
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
