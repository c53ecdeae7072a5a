"""The real thing for tests: `horde` commands as processes, a Docker engine, an HTTP server on loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from bittensor_wallet import Keypair, keyfile

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
IMAGE = "horde-test/busybox:1"
HORDE = str(Path(sys.executable).with_name("horde"))


def wait_until(what: str, probe: Callable[[], T], timeout: float = 30) -> T:
    """Poll `probe` until it returns something true; running out of time is an error, not a result."""
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        threading.Event().wait(0.02)
    return value


def docker(*args: str) -> str:
    """Run the docker command and return what it prints."""
    done = subprocess.run(["docker", *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def containers(label: str = "org.computehorde.job") -> set[str]:
    """Ids of all containers of jobs on the machine, running or not; `label` may name one job."""
    return set(docker("ps", "-aq", "--no-trunc", "--filter", f"label={label}").split())


class Command:
    """A running `horde` command in a process group of its own, with its output collected line by line.

    Another `program` may run in its place.
    """

    def __init__(self, *args: str, env: dict[str, str] | None = None, program: Sequence[str] = (HORDE,)) -> None:
        self.args = args
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*program, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for_line(self, start: str, timeout: float = 60) -> str:
        """The rest of the first line that begins with `start`."""

        def find() -> str | None:
            for line in self.lines:
                if line.startswith(start):
                    return line.removeprefix(start).strip() or line
            assert self.process.poll() is None, f"{self.args} ended: {self.text}"
            return None

        return wait_until(f"{start!r} from horde {' '.join(self.args)}", find, timeout) or ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def signal_tree(self, number: int) -> None:
        """Send a signal to the command and all its descendants."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Ask the command to end, as Ctrl-C would, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.signal_tree(signal.SIGKILL)
            raise AssertionError(f"{self.args} did not stop: {self.text}") from None
        self._reader.join(5)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def descendants(pid: int) -> list[int]:
    """A process and everything below it, youngest last."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def child(command: Command, word: str) -> int:
    """The process below a command whose own command line holds a word."""

    def find() -> int | None:
        for pid in descendants(command.process.pid)[1:]:
            with contextlib.suppress(OSError):
                if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    return pid
        return None

    return wait_until(f"a process {word!r}", find) or 0


class Horde(Command):
    """A whole `horde up` on a data directory."""

    def __init__(self, data: Path, *args: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        super().__init__("up", "--data", str(data), "--port", str(port), *args, env=env)
        self.data = data
        self.url = ""

    def ready(self) -> "Horde":
        """Wait until it serves."""
        self.url = self.wait_for_line("ready ")
        return self

    @property
    def config(self) -> Path:
        return self.data / "client.toml"


@contextlib.contextmanager
def running(command: Command) -> Iterator[Command]:
    """Stop a command at the end, whatever happened."""
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.signal_tree(signal.SIGCONT)
        command.stop()


def make_hotkey(path: Path) -> Keypair:
    """A new hotkey, in a file as wallets have it."""
    hotkey = Keypair.create_from_mnemonic(Keypair.generate_mnemonic())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(keyfile.serialized_keypair_to_keyfile_data(hotkey))
    return hotkey


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@contextlib.contextmanager
def http_server(directory: Path) -> Iterator[str]:
    """Serve a directory on loopback; yields HOST:PORT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def horde_json(*args: str, config: Path) -> object:
    """Run a `horde` command with --json and return what it prints, parsed."""
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(config)}
    done = subprocess.run([HORDE, *args, "--json"], check=True, capture_output=True, text=True, env=env)
    return json.loads(done.stdout)
