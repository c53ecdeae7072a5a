"""Our facilitator as it is, an executor that is played by hand, and a proxy that can break connections."""

import asyncio
import hashlib
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from bittensor_wallet import Keypair

from compute_horde_sdk.v1 import ComputeHordeClient
from horde_core.lifecycle import Status
from horde_core.outcomes import AnyOutcome, Succeeded
from horde_core.wire.client import Login
from horde_core.wire.executor import (
    PREFIX,
    SHA256_HEADER,
    ArtifactEntry,
    Claim,
    ClaimRequest,
    Events,
    LeaseRequest,
    LeftOut,
    LogTotal,
    OutcomeReport,
    ProgressEvent,
    StatusEvent,
)
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings

MACHINE = Keypair.create_from_uri("//Machine")
TRUSTED = Keypair.create_from_uri("//Trusted")
CLASS = "always_on.test"
STEPS = (Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE)
IMAGE = "sha256:" + 64 * "a"


class Attempt:
    """What an executor says of one attempt, one request after the other."""

    def __init__(self, http: httpx2.AsyncClient, claim: Claim) -> None:
        self._http = http
        self.claim = claim
        self._path = f"{PREFIX}/attempts/{claim.job}/{claim.attempt}"
        self._said = 0
        self._reached: set[Status] = set()
        self._logs: dict[str, LogTotal] = {}
        self._artifacts: list[ArtifactEntry] = []

    async def confirm(self) -> None:
        await self._send("POST", "lease", LeaseRequest().model_dump_json())

    async def say(self, *events: StatusEvent | ProgressEvent) -> None:
        await self._send("PUT", f"events/{self._said}", Events(events=list(events)).model_dump_json())
        self._said += len(events)

    async def steps(self, *statuses: Status) -> None:
        """Reach these statuses; without any, all those of a run."""
        statuses = statuses or STEPS
        self._reached.update(statuses)
        await self.say(*(StatusEvent(status=s, at_ns=time.time_ns(), image_digest=IMAGE) for s in statuses))

    async def write(self, stream: str, data: bytes) -> None:
        size = self._logs.get(stream, LogTotal()).size
        await self._send("PUT", f"logs/{stream}/{size}", data)
        self._logs[stream] = LogTotal(size=size + len(data))

    async def keep(self, path: str, data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        await self._send("PUT", "artifacts/" + quote(path[1:]), data, {SHA256_HEADER: sha256})
        self._artifacts.append(ArtifactEntry(path=path, size=len(data), sha256=sha256))

    async def end(self, outcome: AnyOutcome, left_out: tuple[LeftOut, ...] = ()) -> None:
        if isinstance(outcome, Succeeded) and (rest := [s for s in STEPS if s not in self._reached]):
            await self.steps(*rest)
        report = OutcomeReport(
            outcome=outcome,
            first_seq=self._said,
            logs=self._logs,
            artifacts=self._artifacts,
            left_out=list(left_out),
            stage_seconds={"prepare": 0.5, "execution": 1.5},
        )
        await self._send("PUT", "outcome", report.model_dump_json())

    async def give_back(self) -> None:
        await self._send("POST", "return", b"")

    async def _send(
        self, method: str, path: str, content: str | bytes, headers: dict[str, str] | None = None
    ) -> None:
        answer = await self._http.request(method, f"{self._path}/{path}", content=content, headers=headers)
        assert answer.is_success, answer.text


class Executor:
    """An executor without containers."""

    hotkey = MACHINE.ss58_address
    image = IMAGE

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def take(self) -> Attempt:
        body = ClaimRequest(classes=[CLASS], slots=1, version="test", wait_s=20).model_dump_json()
        answer = await self._http.put(f"{PREFIX}/claims/{uuid.uuid4()}", content=body)
        assert answer.status_code == 200, answer.text
        attempt = Attempt(self._http, Claim.model_validate_json(answer.content))
        await attempt.confirm()
        return attempt

    async def run(self, outcome: AnyOutcome, stdout: bytes = b"") -> None:
        attempt = await self.take()
        await attempt.steps()
        if stdout:
            await attempt.write("stdout", stdout)
        await attempt.end(outcome)


@asynccontextmanager
async def working(url: str, machine: Keypair = MACHINE) -> AsyncIterator[Executor]:
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        nonce = (await http.get("/auth/nonce")).json()["nonce"]
        login = Login(hotkey=machine.ss58_address, signature=machine.sign(nonce.encode()).hex(), nonce=nonce)
        token = (await http.post("/auth/login", json=login.model_dump())).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield Executor(http)


class Proxy:
    """A TCP proxy that remembers the requests that pass and can break connections."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[str] = []
        self.swallow: str | None = None
        self.url = ""

    def count(self, start: str) -> int:
        return sum(request.startswith(start) for request in self.requests)

    def cut(self) -> int:
        """Break all connections; returns how many there were."""
        writers = list(self._writers)
        for writer in writers:
            writer.transport.abort()
        return len(writers) // 2

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        both = {writer, up_writer}
        self._writers |= both
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, up_writer, True), self._pump(up_reader, writer, False))
        finally:
            self._writers -= both
            for each in both:
                each.close()
            for each in both:
                with suppress(ConnectionError, asyncio.CancelledError):
                    await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_request: bool) -> None:
        while data := await reader.read(65536):
            if is_request:
                found = re.findall(rb"(?:GET|POST|PUT) /\S* HTTP", data)
                self.requests += [request.decode()[:-5] for request in found]
            elif self.swallow and self.requests[-1].startswith(self.swallow):
                self.swallow = None
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, hotkey: Keypair) -> Iterator[str]:
    """A facilitator in a thread of its own, so that tests which block can use it, too."""
    roles = {"user": hotkey, "executor": MACHINE, "trusted": TRUSTED}
    admit = {role: frozenset({key.ss58_address}) for role, key in roles.items()}
    settings = Settings(data=tmp_path_factory.mktemp("facilitator"), port=0, admit=admit)
    ready = threading.Event()
    found: list[object] = []

    async def main() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        found.append(lambda: loop.call_soon_threadsafe(task.cancel))
        with suppress(asyncio.CancelledError):
            await serve(settings, ready=lambda url: (found.append(url), ready.set()))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(60)
    stop, address = found
    yield address
    stop()
    thread.join()


@pytest.fixture
async def executor(url: str) -> AsyncIterator[Executor]:
    async with working(url) as executor:
        yield executor


@pytest.fixture
async def trusted(url: str) -> AsyncIterator[Executor]:
    """An executor that the operator trusts."""
    async with working(url, TRUSTED) as executor:
        yield executor


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield proxy
        await proxy.close()


@pytest.fixture
async def ours(proxy: Proxy, hotkey: Keypair) -> AsyncIterator[ComputeHordeClient]:
    """A client whose way to the facilitator goes through the proxy."""
    async with ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=proxy.url) as client:
        yield client


@pytest.fixture
def by_hand(url: str) -> Callable[..., threading.Thread]:
    """In another thread, an executor that ends the next jobs in given ways."""

    class Work(threading.Thread):
        def __enter__(self) -> None:
            self.start()

        def __exit__(self, *_: object) -> None:
            self.join()

    async def main(outcomes: tuple[AnyOutcome, ...]) -> None:
        async with working(url) as executor:
            for number, outcome in enumerate(outcomes):
                await executor.run(outcome, b"run %d\n" % number)

    return lambda *outcomes: Work(target=lambda: asyncio.run(main(outcomes)))


@pytest.fixture
def until():
    """Wait for something that another task brings about."""

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is looked at has no event to wait for
                await asyncio.sleep(0.005)

    return until
