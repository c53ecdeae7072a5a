"""One horde for the tests that only use it; those that harm theirs start their own."""

import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJobSpec, ExecutorClass
from hub_server import HubServer
from processes import IMAGE, ROOT, Horde, containers, http_server, running, wait_until
from servers import Nginx, nginx


@pytest.fixture(scope="session", autouse=True)
def image() -> str:
    """The small image that the jobs run."""
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    return IMAGE


@pytest.fixture
def clean_machine() -> Iterator[None]:
    """Nothing that a test started is left on the machine."""
    before = containers()
    yield
    wait_until("the containers to be gone", lambda: not containers() - before)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A directory and the HOST:PORT at which it is served."""
    directory = tmp_path_factory.mktemp("files")
    with http_server(directory) as address:
        yield directory, address


@pytest.fixture(scope="session")
def slow_server() -> Iterator[str]:
    """A server that promises a gigabyte and sends one byte; yields HOST:PORT."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in open_connections:
        connection.close()
    thread.join()


@pytest.fixture
def slow_url(slow_server) -> str:
    return f"http://{slow_server}/slow"


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A server that takes files."""
    with nginx(tmp_path_factory.mktemp("nginx")) as served:
        yield served


@pytest.fixture(scope="session")
def hub() -> Iterator[HubServer]:
    """A Hugging Face hub."""
    with HubServer().serving() as server:
        yield server


@pytest.fixture(scope="session")
def horde(
    tmp_path_factory: pytest.TempPathFactory,
    files: tuple[Path, str],
    slow_server: str,
    web: Nginx,
    hub: HubServer,
) -> Iterator[Horde]:
    """A `horde up` with one slot."""
    addresses = (files[1], slow_server, web.address, *hub.addresses)
    allowed = [option for address in addresses for option in ("--allow-egress", address)]
    up = Horde(tmp_path_factory.mktemp("horde"), "--slots", "1", *allowed, "--hf-endpoint", hub.url)
    with running(up):
        yield up.ready()


@pytest.fixture
async def client(horde: Horde) -> AsyncIterator[ComputeHordeClient]:
    """A client as a user gets it from the file that `horde up` wrote."""
    async with ComputeHordeClient.from_config(horde.config) as client:
        yield client


@pytest.fixture
def job_spec(image: str) -> Callable[..., ComputeHordeJobSpec]:
    """A short shell script as a job, with generous limits."""

    def make(script: str = "echo hi", **fields: object) -> ComputeHordeJobSpec:
        defaults: dict[str, object] = {
            "executor_class": ExecutorClass.always_on__test,
            "job_namespace": "SN123.0",
            "docker_image": image,
            "args": ["sh", "-c", script],
            "download_time_limit_sec": 10,
            "execution_time_limit_sec": 30,
            "upload_time_limit_sec": 10,
        }
        return ComputeHordeJobSpec(**{**defaults, **fields})

    return make
