"""The process that a `horde up` is: it starts facilitator and executor, keeps them running, ends them in order.

One thread and one selector; no event loop, so that it stays small. The children ask the kernel to end them when
this process is gone.
"""

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any

from horde_cli.up.client_config import client_config
from horde_cli.up.directory import STOP_SIGNALS, Directory, write_whole
from horde_cli.up.logfile import LogFile
from horde_cli.up.process import Child

START_S = 90.0
STOP_EXECUTOR_S = 20.0
STOP_FACILITATOR_S = 8.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
CA_VARIABLE = "COMPUTE_HORDE_CA"  # as in the SDK, which is too large for this process


class StartFailedError(Exception):
    """A child ended, or said nothing, before it was ready."""


class StopAskedError(Exception):
    """A signal asked this process to end before the children were ready."""


def main() -> int:
    """Supervise by the plan that `horde_cli.up.front` left in a pipe; returns the exit code."""
    with open(int(sys.argv[2])) as plan:  # noqa: PTH123 - a descriptor
        supervisor = Supervisor(json.load(plan))
    try:
        supervisor.serve()
    except (StartFailedError, OSError) as error:
        tell(str(error))
        return 1
    except StopAskedError:
        return 0
    finally:
        supervisor.stop()
    return 0


def tell(text: str) -> None:
    """One line for the person in front."""
    with contextlib.suppress(OSError):
        print(f"horde: {text}", file=sys.stderr, flush=True)


def pause_before_restart(previous_s: float, lived_s: float) -> float:
    """How long to wait before a crashed child is started again: short after a steady life, doubling otherwise."""
    if lived_s >= STEADY_S or previous_s == 0:
        return FIRST_PAUSE_S
    return min(previous_s * 2, LONGEST_PAUSE_S)


def own_url(url: str) -> str:
    """Where this machine reaches a facilitator that may listen on every address it has."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


class Supervisor:
    """Both children, from the first start to the end."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._directory = Directory(Path(plan["data"]))
        self._lock = int(plan["lock"])
        self._validator = str(plan["validator"])
        self._warning = str(plan["warning"])
        os.set_inheritable(self._lock, False)
        self._selector = selectors.DefaultSelector()
        self._facilitator = self._child("facilitator", plan["facilitator"])
        self._executor = self._child("executor", plan["executor"])
        self._pauses = dict.fromkeys(self._children, 0.0)
        self._restarts: dict[Child, float] = {}
        self._stops_asked = 0
        self._listen_to_signals()

    def serve(self) -> None:
        """Start both, say so, and keep them running until a signal comes.

        Raises:
            StartFailedError: a child did not become ready.
            StopAskedError: a signal came before both were ready.
        """
        self._facilitator.start(self._lock)
        self._executor.start(self._lock)  # it loads its code while the facilitator starts
        url = own_url(self._wait_until_ready(self._facilitator))
        # A port that the system chose is kept over restarts, or clients would lose their facilitator.
        self._facilitator.settings["port"] = int(url.rstrip("/").rsplit(":", 1)[1])
        self._tell_where(url)
        self._wait_until_ready(self._executor)
        self._announce(url)
        while not self._stops_asked:
            self._turn(self._until_next_restart())
            for child in self._children:
                self._keep_running(child, url)
        tell("stopping; running jobs go back to the queue (Ctrl-C again ends at once)")

    def stop(self) -> None:
        """End the executor, which hands its jobs back, and then the facilitator, which has to hear of it."""
        self._end(self._executor, STOP_EXECUTOR_S)
        self._end(self._facilitator, STOP_FACILITATOR_S)
        self._directory.say_ended()
        for child in self._children:
            child.log.close()

    @property
    def _children(self) -> tuple[Child, Child]:
        return self._facilitator, self._executor

    def _child(self, role: str, settings: dict[str, Any]) -> Child:
        return Child(role, settings, LogFile(self._directory.logs / f"{role}.log"), self._selector)

    def _wait_until_ready(self, child: Child) -> str:
        deadline = time.monotonic() + START_S
        while not child.ready:
            self._turn(deadline - time.monotonic())
            if self._stops_asked:
                raise StopAskedError
            for each in self._children:
                ended = each.take_end()
                if ended is not None:
                    why = each.failure or f"it {ended}: {each.log.last_line}"
                    raise StartFailedError(f"the {each.role} did not start: {why} (log: {each.log.path})")
            if time.monotonic() > deadline:
                raise StartFailedError(
                    f"the {child.role} is not ready after {START_S:g} s (log: {child.log.path})"
                )
        return child.ready

    def _announce(self, url: str) -> None:
        ca = self._authority(url)
        inside = ca and ca.is_relative_to(self._directory.root)
        named = ca.relative_to(self._directory.root) if ca and inside else ca
        write_whole(self._directory.client_config, client_config(url, self._validator, named))
        self._directory.say_running(url)
        with contextlib.suppress(OSError):
            print(f"ready {url}", flush=True)
        if self._warning:
            tell(self._warning)
        if ca:
            tell(f"clients trust it by {ca}; horde invite and horde executor enroll tell other machines")
        tell("all classes are served by this machine as far as its size allows, unverified")
        tell(f"config {self._directory.client_config}; Ctrl-C stops")

    def _authority(self, url: str) -> Path | None:
        """The file of the CA that vouches for the facilitator, if it is no public one."""
        if not url.startswith("https:"):
            return None
        if self._directory.authority.exists():
            return self._directory.authority
        named = os.environ.get(CA_VARIABLE)
        return Path(named).expanduser().absolute() if named else None

    def _tell_where(self, url: str) -> None:
        ca = self._authority(url)
        self._executor.send(json.dumps({"url": url, "ca": str(ca) if ca else None}))

    def _keep_running(self, child: Child, url: str) -> None:
        now = time.monotonic()
        if now >= self._restarts.get(child, now + 1):
            del self._restarts[child]
            child.start(self._lock)
            if child is self._executor:
                self._tell_where(url)
        ended = child.take_end()
        if ended is not None:
            pause = self._pauses[child] = pause_before_restart(self._pauses[child], now - child.started)
            self._restarts[child] = now + pause
            why = f" ({child.failure})" if child.failure else ""
            tell(f"the {child.role} {ended}{why}; starting it again in {pause:g} s; its log is {child.log.path}")

    def _until_next_restart(self) -> float | None:
        return max(0.0, min(self._restarts.values()) - time.monotonic()) if self._restarts else None

    def _end(self, child: Child, patience_s: float) -> None:
        impatient = max(self._stops_asked, 1)
        deadline = time.monotonic() + patience_s
        child.signal(signal.SIGTERM)
        while child.alive:
            left = deadline - time.monotonic()
            if left > 0 and self._stops_asked <= impatient:
                self._turn(left)
            else:
                tell(f"the {child.role} did not end by itself; the next horde up cleans up after it")
                child.signal(signal.SIGKILL)
                self._turn(None)
        child.take_end()

    def _turn(self, timeout_s: float | None) -> None:
        """Wait for a signal, the end of a child or something said by one; take in what was said."""
        for key, _ in self._selector.select(timeout_s):
            key.data()

    def _listen_to_signals(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: os.read(wake_read, 4096))
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)  # it only has to wake the selector
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask_to_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _ask_to_stop(self, *_: object) -> None:
        self._stops_asked += 1


def _nothing(*_: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
