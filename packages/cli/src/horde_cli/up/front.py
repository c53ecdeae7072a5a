"""The first half of `horde up`, up to the point where the supervisor takes over this very process."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from horde_cli.errors import StartError
from horde_cli.hotkeys import open_or_make
from horde_cli.up.directory import STOP_SIGNALS, Directory, Running

# A first `horde up` on a slow disk, or the children of one that was killed, need some seconds.
PATIENCE_S = 60.0
POLL_S = 0.1


def up(
    *,
    data: Path,
    host: str,
    port: int,
    slots: int,
    allow_egress: Iterable[str],
    image_bytes: int | None,
    admit: Mapping[str, frozenset[str]],
) -> None:
    """Serve from `data` in the place of this process; returns only when another process serves from there.

    Raises:
        StartError: the directory cannot be used, or is held by something that does not serve.
        HotkeyError: a hotkey in the directory cannot be used.
    """
    directory = Directory(data.expanduser().absolute())
    try:
        directory.make()
        held = _hold_or_find(directory)
    except OSError as error:
        raise StartError(f"cannot use {directory.root} ({error.strerror})", "choose another --data") from error
    if isinstance(held, Running):
        print(f"ready {held.url}", flush=True)
        print(f"horde: already running as process {held.pid}; its options stay", file=sys.stderr)
        return
    user = open_or_make(directory.user_hotkey)
    executor = open_or_make(directory.executor_hotkey)
    # Whoever starts a horde uses and runs it, and trusts his own machine; everybody else needs to be let in.
    own = {"user": user, "operator": user, "executor": executor, "trusted": executor}
    admitted = {role: set(hotkeys) for role, hotkeys in admit.items()}
    for role, hotkey in own.items():
        admitted.setdefault(role, set()).add(hotkey.ss58_address)
    plan: dict[str, Any] = {
        "data": str(directory.root),
        "lock": held,
        # Until there are validators of their own, a horde of one machine goes by the hotkey of its user.
        "validator": user.ss58_address,
        "facilitator": {
            "data": str(directory.facilitator),
            "host": host,
            "port": port,
            "admit": {role: sorted(hotkeys) for role, hotkeys in admitted.items()},
        },
        "executor": {
            "data": str(directory.executor),
            "hotkey": str(directory.executor_hotkey),
            "classes": [],  # whatever there is
            "slots": slots,
            "allow_egress": list(allow_egress),
            "image_bytes": image_bytes,
        },
    }
    _become_supervisor(plan, held)


def _hold_or_find(directory: Directory) -> int | Running:
    """The directory's lock, or who serves from it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        lock = directory.take_lock()
        if lock is not None:
            return lock
        running = directory.running()
        if running is not None:
            return running
        if time.monotonic() > deadline:
            raise StartError(
                f"{directory.root} is held by a process that does not serve",
                f"see {directory.logs}, end that process, or choose another --data",
            )
        time.sleep(POLL_S)


def _become_supervisor(plan: dict[str, Any], lock: int) -> NoReturn:
    os.set_inheritable(lock, True)
    # The mask outlives the exec: a signal in between waits until the supervisor listens.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    # Two arenas are enough for processes that mostly wait; glibc's default would keep more memory for each thread.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    reader, writer = os.pipe()
    os.write(writer, json.dumps(plan).encode())
    os.close(writer)
    os.set_inheritable(reader, True)
    # The plan travels in a pipe, so that a list of processes stays readable.
    command = [sys.executable, "-m", "horde_cli.up.supervisor", str(plan["data"]), str(reader)]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
