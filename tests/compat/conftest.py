"""Clients from the package index, each in an environment of its own, and a horde for all of them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from processes import Horde, running

UV = str(Path(sys.executable).with_name("uv"))
CLIENT = Path(__file__).with_name("client.py")


class Told:
    """A client at work; what it has to say is read when it has ended."""

    def __init__(
        self, python: Path, given: dict[str, str], scenarios: tuple[str, ...], env: dict[str, str]
    ) -> None:
        command = [python, CLIENT, json.dumps(given), *scenarios]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
        )

    def read(self) -> dict[str, Any]:
        """What its user got to see, by scenario."""
        out, errors = self._process.communicate(timeout=150)
        assert self._process.returncode == 0, errors
        return json.loads(out)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no time go by for the client meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Environment:
    """A virtual environment of its own."""

    def __init__(self, directory: Path, *requirements: str) -> None:
        self.python = directory / "bin" / "python"
        subprocess.run([UV, "venv", "-q", "--python", sys.executable, directory], check=True)
        self.install(*requirements)

    def install(self, *arguments: str) -> None:
        subprocess.run([UV, "pip", "install", "-q", "--python", self.python, *arguments], check=True)

    def start(self, given: dict[str, str], *scenarios: str, **env: str) -> Told:
        """Let the client that is installed here go through scenarios of `client.py`."""
        return Told(self.python, given, scenarios, env)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """The environment with a version of the published client; made once for each purpose."""

    @cache
    def make(version: str, purpose: str = "") -> Environment:
        return Environment(tmp_path_factory.mktemp(f"client{purpose}") / version, f"compute-horde-sdk=={version}")

    return make


@pytest.fixture(scope="session")
def dead_registry() -> Iterator[str]:
    """HOST:PORT at which nothing answers, and nothing else can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="session")
def horde(tmp_path_factory, files, slow_server, dead_registry, web) -> Iterator[Horde]:
    """A `horde up` of their own: its jobs are many, and some of them keep a slot busy."""
    addresses = (files[1], slow_server, dead_registry, web.address)
    egress = [arg for address in addresses for arg in ("--allow-egress", address)]
    with running(Horde(tmp_path_factory.mktemp("compat"), "--slots", "4", *egress)) as up:
        yield up.ready()


@pytest.fixture(scope="session")
def given(horde, files, slow_server, dead_registry, image) -> dict[str, str]:
    """What clients are told of their surroundings."""
    return {
        "url": horde.url,
        "wallets": str(horde.data / "wallets"),
        "image": image,
        "files": f"http://{files[1]}",
        "directory": str(files[0]),
        "slow": f"http://{slow_server}/slow",
        "dead": dead_registry,
    }


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """The clients obey the environment's proxies; what they talk to here is on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield
