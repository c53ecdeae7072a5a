"""The data directory of a `horde up`: what lies where, who holds it, and what is said about the one that runs."""

import contextlib
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Running(NamedTuple):
    """The `horde up` that serves from a directory."""

    url: str
    pid: int


class Directory:
    """The parts of a data directory. Nothing is touched before a method is called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.facilitator = root / "facilitator"
        self.executor = root / "executor"
        self.executor_hotkey = root / "executor" / "hotkey"
        # Where a Bittensor wallet `horde` below `wallets` has its hotkey `default`.
        self.user_hotkey = root / "wallets" / "horde" / "hotkeys" / "default"
        self.client_config = root / "client.toml"
        # What clients have to trust, where that is no public authority; the facilitator writes it.
        self.authority = root / "facilitator" / "tls" / "ca.pem"
        self.logs = root / "logs"
        self._running = root / "up.json"
        self._lock = root / "up.lock"

    def make(self) -> None:
        """Create the directory and those that its parts expect, for the owner only.

        Raises:
            OSError: a directory cannot be made.
        """
        for place in (self.root, self.facilitator, self.executor, self.logs):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take_lock(self) -> int | None:
        """Hold the directory: a descriptor that holds it until every copy is closed; None if somebody else does.

        The children inherit it, so a supervisor that was killed leaves the directory only when they are gone.
        """
        return take_lock(self._lock)

    def running(self) -> Running | None:
        """Who serves from here now, as far as it has said so and is alive."""
        try:
            said = json.loads(self._running.read_text())
            running = Running(str(said["url"]), int(said["pid"]))
            os.kill(running.pid, 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return running

    def say_running(self, url: str) -> None:
        """Let others know that this process serves from here."""
        write_whole(self._running, json.dumps({"url": url, "pid": os.getpid()}) + "\n")

    def say_ended(self) -> None:
        """Take it back."""
        with contextlib.suppress(FileNotFoundError):
            self._running.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor, for its mode
        file.write(text)
    draft.replace(path)


def take_lock(path: Path) -> int | None:
    """Lock a file: a descriptor that holds it until every copy is closed; None if somebody else does.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
