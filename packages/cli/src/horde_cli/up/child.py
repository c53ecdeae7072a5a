"""What runs in a child of the supervisor: `python -m horde_cli.up.child facilitator|executor`.

Its settings come as the first line on standard input.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from horde_cli.serving import execute, facilitate, log_to_stderr

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def main() -> int:
    """Run one part until SIGTERM; returns the exit code."""
    role, settings = sys.argv[1], json.loads(sys.stdin.readline())
    end_with_parent(settings["parent"])
    os.set_inheritable(settings["lock"], False)  # the directory is held by us, not by what we start
    os.set_inheritable(settings["notes"], False)
    log_to_stderr()
    try:
        asyncio.run(facilitator(settings) if role == "facilitator" else executor(settings))
    except Exception as error:
        say(settings["notes"], "failed", str(error) or type(error).__name__)
        raise
    return 0


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent ended before this process began")


def say(notes: int, word: str, text: str) -> None:
    """Tell the supervisor one thing."""
    with contextlib.suppress(OSError):
        os.write(notes, f"{word} {' '.join(text.split())}\n".encode())


async def facilitator(settings: dict[str, Any]) -> None:
    """Serve the API."""
    await facilitate(
        data=Path(settings["data"]),
        host=settings["host"],
        port=settings["port"],
        admit=settings["admit"],
        ready=lambda url: say(settings["notes"], "ready", url),
    )


async def executor(settings: dict[str, Any]) -> None:
    """Run jobs; where the facilitator is comes as a second line, when it is known."""
    await execute(
        facilitator_url=lambda: sys.stdin.readline().strip(),
        data=Path(settings["data"]),
        hotkey=Path(settings["hotkey"]),
        classes=settings["classes"],
        slots=settings["slots"],
        allow_egress=settings["allow_egress"],
        image_bytes=settings["image_bytes"],
        ready=lambda url: say(settings["notes"], "ready", url),
    )


if __name__ == "__main__":
    sys.exit(main())
