"""One part of the horde as a child process, with the pipes on which it is heard."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from horde_cli.up.logfile import LogFile

CHUNK = 65536


class Child:
    """A child process over its lives.

    It tells on a pipe of its own, in lines, that it is ``ready URL`` or has ``failed WHY``; what it prints goes
    into its log. It lives in a session of its own, so the Ctrl-C of a terminal does not reach it.
    """

    def __init__(
        self, role: str, settings: dict[str, Any], log: LogFile, selector: selectors.BaseSelector
    ) -> None:
        self.role = role
        self.settings = settings
        self.log = log
        self.ready = ""
        self.failure = ""
        self.started = 0.0
        self._selector = selector
        self._process: subprocess.Popen[bytes] | None = None
        self._pipes: set[int] = set()
        self._half_line = b""

    def start(self, lock: int) -> None:
        """Begin a new life; the process inherits the directory's `lock`."""
        self.ready = self.failure = ""
        self._half_line = b""
        self.started = time.monotonic()
        notes_read, notes_write = os.pipe()
        log_read, log_write = os.pipe()
        settings = {**self.settings, "parent": os.getpid(), "notes": notes_write, "lock": lock}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "horde_cli.up.child", self.role],
            stdin=subprocess.PIPE,
            stdout=log_write,
            stderr=log_write,
            pass_fds=(notes_write, lock),
            start_new_session=True,
        )
        os.close(notes_write)
        os.close(log_write)
        self.send(json.dumps(settings))
        self._listen(notes_read, self._hear)
        self._listen(log_read, self.log.write)

    def send(self, line: str) -> None:
        """Write one line to its standard input."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it died; whoever watches it will see that
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def take_end(self) -> str | None:
        """How the process ended, once for each life and with its last words taken in; None before and after."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        for pipe in list(self._pipes):
            self._selector.get_key(pipe).data()
            self._forget(pipe)  # a grandchild may hold the other end open
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        self._process = None
        code = process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _listen(self, pipe: int, take: Callable[[bytes], None]) -> None:
        os.set_blocking(pipe, False)
        self._pipes.add(pipe)
        self._selector.register(pipe, selectors.EVENT_READ, lambda: self._receive(pipe, take))

    def _receive(self, pipe: int, take: Callable[[bytes], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(pipe, CHUNK):
                take(data)
            self._forget(pipe)

    def _forget(self, pipe: int) -> None:
        if pipe in self._pipes:
            self._pipes.remove(pipe)
            self._selector.unregister(pipe)
            os.close(pipe)

    def _hear(self, data: bytes) -> None:
        *lines, self._half_line = (self._half_line + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self.ready = rest
            elif word == "failed":
                self.failure = rest
