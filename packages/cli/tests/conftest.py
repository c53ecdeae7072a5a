"""One real horde for all tests of the command, with real containers."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes import HORDE, IMAGE, ROOT, Horde, containers, http_server, running


@pytest.fixture(scope="session")
def image() -> str:
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    return IMAGE


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A directory and the HOST:PORT at which it is served."""
    directory = tmp_path_factory.mktemp("served")
    with http_server(directory) as address:
        yield directory, address


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory, image: str, files: tuple[Path, str]) -> Iterator[Horde]:
    """A `horde up` that serves, with two slots."""
    data = tmp_path_factory.mktemp("up") / "data"
    with running(Horde(data, "--slots", "2", "--allow-egress", files[1])) as horde:
        yield horde.ready()


@pytest.fixture(scope="session")
def containers_of() -> Callable[[Horde], set[str]]:
    """The containers that the executor of a `horde up` has on this machine."""

    def find(up: Horde) -> set[str]:
        hotkey = json.loads((up.data / "executor" / "hotkey").read_text())["ss58Address"]
        return containers(f"org.computehorde.executor={hotkey}")

    return find


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def horde(up: Horde) -> Run:
    """Run a `horde` command against the horde that is up, and return what it wrote."""

    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(up.config)}
        done = subprocess.run([HORDE, *args], capture_output=True, env=env, check=False)
        # Decoded here, because the text mode of subprocess changes ends of lines.
        return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
