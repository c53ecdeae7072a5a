"""A stand-in facilitator over real HTTP that remembers what it is told, and a real engine and registry."""

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from bittensor_wallet import Keypair

from horde_core.lifecycle import Status
from horde_core.signing import verify
from horde_core.spec import JobSpec
from horde_core.wire.client import Login
from horde_core.wire.executor import (
    CLASSES_PATH,
    PREFIX,
    Allotment,
    Claim,
    ClaimRequest,
    Event,
    Events,
    LeaseReply,
    LeaseRequest,
    Limits,
    OutcomeReport,
    Refusal,
    Service,
    StatusEvent,
)
from horde_executor.agent import run
from horde_executor.egress import Egress
from horde_executor.engine import Engine
from horde_executor.holdings import Holdings
from horde_executor.images import Images
from horde_executor.registries import registry_check
from horde_executor.settings import Settings

ROOT = Path(__file__).parents[4]
IMAGE = "horde-test/busybox:1"
LEASE_S = 6.0
PASSWORD = "open-sesame"
PASSWORD_HASH = "$2b$04$GtcYMbPUjgH90SQHQvlAnu4HHV5ZEmbSEDxPqzrR7pDyI1jm/4Q1G"  # bcrypt, 16 rounds


@dataclass
class Told:
    """What the stand-in was told of one attempt."""

    events: dict[int, Event] = field(default_factory=dict)
    logs: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    artifacts: dict[str, bytes] = field(default_factory=dict)
    outcome: OutcomeReport | None = None
    returned: bool = False
    renewals: int = 0

    @property
    def statuses(self) -> list[Status]:
        return [event.status for _, event in sorted(self.events.items()) if isinstance(event, StatusEvent)]


class StandIn:
    """The executor API as far as an executor can tell; tests set `cancel`, `fenced` and `faults`."""

    def __init__(self, claims: list[Claim] | None = None) -> None:
        self.claims = claims or []
        self.claimed: dict[str, Claim] = {}
        self.offers: list[ClaimRequest] = []
        self.told: dict[str, Told] = {}
        self.requests: list[str] = []
        self.faults: list[int] = []  # statuses to answer the next requests of an attempt with
        self.tokens: set[str] = set()
        self.logins = 0
        self.refusals: dict[str, str] = {}  # of classes that the executor offered
        self.fenced = False
        self.refused = False  # the hotkey is not on the list
        self.cancel = asyncio.Event()
        self.changed = asyncio.Condition()
        self.url = ""

    async def until(self, what: Callable[[], object], seconds: float = 20) -> None:
        """Wait until something that the stand-in was told makes `what` true."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(what)

    def only(self) -> Told:
        """What was told of the only attempt."""
        (told,) = self.told.values()
        return told

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["StandIn"]:
        app = web.Application(client_max_size=2**30, middlewares=[self._watch])
        attempt = PREFIX + "/attempts/{job}/{number}"
        app.add_routes(
            [
                web.get("/auth/nonce", self._nonce),
                web.post("/auth/login", self._login),
                web.put(PREFIX + "/claims/{id}", self._claim),
                web.get(CLASSES_PATH, self._service),
                web.post(attempt + "/lease", self._lease),
                web.put(attempt + "/events/{seq}", self._events),
                web.put(attempt + "/logs/{stream}/{offset}", self._logs),
                web.put(attempt + "/artifacts/{path:.+}", self._artifact),
                web.put(attempt + "/outcome", self._outcome),
                web.post(attempt + "/return", self._return),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _watch(self, request: web.Request, handler) -> web.StreamResponse:
        path = request.path
        if path.startswith(PREFIX):
            if path != CLASSES_PATH:  # that is asked beside everything else
                self.requests.append(f"{request.method} {path.removeprefix(PREFIX)}")
            if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
                return web.json_response({"detail": "Token expired."}, status=401)
            if "/attempts/" in path:
                if self.faults:
                    return web.Response(status=self.faults.pop(0))
                if self.fenced:
                    refusal = Refusal(code="stale_attempt", detail="the attempt is another's")
                    return web.Response(status=409, body=refusal.model_dump_json())
            self.offers += [ClaimRequest.model_validate_json(await request.read())] if "/claims/" in path else []
        async with self.changed:
            self.changed.notify_all()
        answer = await handler(request)
        async with self.changed:
            self.changed.notify_all()
        return answer

    def _of(self, request: web.Request) -> Told:
        key = f"{request.match_info['job']}/{request.match_info['number']}"
        return self.told.setdefault(key, Told())

    async def _nonce(self, _: web.Request) -> web.Response:
        return web.json_response({"nonce": "n-1"})

    async def _login(self, request: web.Request) -> web.Response:
        if self.refused:
            return web.json_response({"error": "Hotkey not allowed"}, status=400)
        login = Login.model_validate_json(await request.read())
        verify(login.nonce.encode(), bytes.fromhex(login.signature), login.hotkey)
        self.logins += 1
        self.tokens.add(f"t-{self.logins}")
        return web.json_response({"token": f"t-{self.logins}"})

    async def _claim(self, request: web.Request) -> web.Response:
        offer = ClaimRequest.model_validate_json(await request.read())
        if request.match_info["id"] not in self.claimed:
            if not self.claims:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(offer.wait_s), self.changed:
                        await self.changed.wait_for(lambda: self.claims)
            if not self.claims:
                return web.Response(status=204)
            self.claimed[request.match_info["id"]] = self.claims.pop(0)
        return web.Response(body=io.BytesIO(self.claimed[request.match_info["id"]].model_dump_json().encode()))

    async def _service(self, _: web.Request) -> web.Response:
        return web.Response(body=Service(served=[], refused=self.refusals).model_dump_json())

    async def _lease(self, request: web.Request) -> web.Response:
        wait_s = LeaseRequest.model_validate_json(await request.read()).wait_s
        self._of(request).renewals += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.cancel.wait(), wait_s)
        state = "cancel" if self.cancel.is_set() else "held"
        return web.Response(body=LeaseReply(state=state, lease_s=LEASE_S).model_dump_json())

    async def _events(self, request: web.Request) -> web.Response:
        events = Events.model_validate_json(await request.read()).events
        self._take(self._of(request), int(request.match_info["seq"]), events)
        return web.Response(status=204)

    def _take(self, told: Told, first: int, events: list[Event]) -> None:
        for seq, event in enumerate(events, first):
            assert told.events.setdefault(seq, event) == event, "one number was used for two events"

    async def _logs(self, request: web.Request) -> web.Response:
        data = await request.read()
        log, offset = self._of(request).logs[request.match_info["stream"]], int(request.match_info["offset"])
        assert offset <= len(log), "a piece of the log was left out"
        log[offset:] = data
        return web.Response(status=204)

    async def _artifact(self, request: web.Request) -> web.Response:
        content = await request.read()
        assert hashlib.sha256(content).hexdigest() == request.headers["X-SHA256"]
        self._of(request).artifacts["/" + request.match_info["path"]] = content
        return web.Response(status=204)

    async def _outcome(self, request: web.Request) -> web.Response:
        told, report = self._of(request), OutcomeReport.model_validate_json(await request.read())
        for stream, total in report.logs.items():
            told.logs[stream] += total.whole or b""
            assert len(told.logs[stream]) == total.size, f"{stream} is announced with another size"
        assert {entry.path for entry in report.artifacts} == set(told.artifacts)
        self._take(told, report.first_seq, report.events)
        told.outcome = report
        return web.Response(status=204)

    async def _return(self, request: web.Request) -> web.Response:
        self._of(request).returned = True
        return web.Response(status=204)


@pytest.fixture
def claim_of() -> Callable[..., Claim]:
    """Makes claims of a job that runs the small image; keywords change its spec."""

    def make(
        limits: Limits | None = None,
        *,
        deadline_s: float = 120,
        digest: str | None = None,
        allotment: Allotment | None = None,
        **spec,
    ) -> Claim:
        wanted = {
            "executor_class": "always_on.test",
            "docker_image": IMAGE,
            "download_time_limit": 20,
            "execution_time_limit": 20,
            "upload_time_limit": 20,
        }
        return Claim(
            job=str(uuid.uuid4()),
            attempt=1,
            spec=JobSpec.model_validate_json(json.dumps(wanted | spec)),
            image_digest=digest,
            confirm_s=5,
            lease_s=LEASE_S,
            deadline_s=deadline_s,
            limits=limits or Limits(grace_s=1),
            allotment=allotment or Allotment(),
        )

    return make


@pytest.fixture(scope="session", autouse=True)
def image() -> str:
    """The small image that the jobs run."""
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    return IMAGE


@pytest.fixture
def hotkey() -> Keypair:
    """An executor that no other test, and no other run of the tests, knows."""
    return Keypair.create_from_uri(f"//{uuid.uuid4().hex}")


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine.connect() as engine:
        yield engine


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn().serving() as served:
        yield served


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving_registry(directory: Path, extra: str = "") -> Iterator[str]:
    """A real registry on a loopback port; yields its HOST:PORT."""
    address = f"127.0.0.1:{free_port()}"
    config = directory / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {directory}/data\n"
        f"http:\n  addr: {address}\n{extra}"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        host, port = address.split(":")
        while True:
            assert process.poll() is None, "the registry ended"
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
                break
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a password: alice and bob may come in, with `PASSWORD`."""
    directory = tmp_path_factory.mktemp("closed-registry")
    (directory / "passwords").write_text("".join(f"{name}:{PASSWORD_HASH}\n" for name in ("alice", "bob")))
    auth = f"auth:\n  htpasswd:\n    realm: closed\n    path: {directory}/passwords\n"
    with serving_registry(directory, auth) as address:
        yield address


@pytest.fixture
def dead_port() -> int:
    """A port on which nobody listens."""
    return free_port()


class RunningAgent:
    """An agent that works for the stand-in."""

    def __init__(self, stand_in: StandIn, settings: Settings) -> None:
        self.stand_in = stand_in
        self.settings = settings
        self.drain = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def give(self, claim: Claim) -> Told:
        """Queue a job; returns what is told of it as it comes."""
        async with self.stand_in.changed:
            self.stand_in.claims.append(claim)
            self.stand_in.changed.notify_all()
        return self.stand_in.told.setdefault(f"{claim.job}/{claim.attempt}", Told())

    async def do(self, claim: Claim) -> Told:
        """Have a job done."""
        told = await self.give(claim)
        await self.stand_in.until(lambda: told.outcome, 30)
        return told

    async def stop(self) -> None:
        """End the agent as Ctrl-C does."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator["RunningAgent"]:
        self.task = asyncio.ensure_future(run(self.settings, drain=self.drain))
        try:
            yield self
        finally:
            await self.stop()
            assert self.task.cancelled() or self.task.result() is None


def executors_containers(hotkey: Keypair) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"label=org.computehorde.executor={hotkey.ss58_address}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def settings(stand_in: StandIn, hotkey: Keypair, tmp_path: Path) -> Settings:
    return Settings(
        facilitator_url=stand_in.url, data=tmp_path / "data", classes=("always_on.test",), hotkey=hotkey
    )


@pytest.fixture
async def agent_with(
    stand_in: StandIn, settings: Settings
) -> Callable[..., contextlib.AbstractAsyncContextManager[RunningAgent]]:
    """Agents with other settings. When one has ended nothing of its jobs is left, whatever the test did."""

    @contextlib.asynccontextmanager
    async def working(**changes) -> AsyncIterator[RunningAgent]:
        async with RunningAgent(stand_in, dataclasses.replace(settings, **changes)).working() as agent:
            yield agent
        assert executors_containers(settings.hotkey) == []
        assert not list(settings.data.glob("work/*"))

    return working


@pytest.fixture
async def agent(agent_with) -> AsyncIterator[RunningAgent]:
    """An agent with one slot."""
    async with agent_with() as agent:
        yield agent


@pytest.fixture
def docker() -> Callable[..., str]:
    """Runs the docker command and returns what it prints."""

    def command(*args: str, **kwargs) -> str:
        done = subprocess.run(["docker", *args], check=True, capture_output=True, text=True, **kwargs)
        return done.stdout.strip()

    return command


@pytest.fixture
def running_containers(hotkey: Keypair) -> Callable[[int], Awaitable[None]]:
    """Waits until the executor has so many containers."""

    async def wait(count: int) -> None:
        async with asyncio.timeout(10):
            while len(await asyncio.to_thread(executors_containers, hotkey)) != count:
                pass

    return wait


@pytest.fixture
async def images_of(engine: Engine, tmp_path: Path) -> Callable[..., Awaitable[Images]]:
    """The machine's images as an agent has them that may pull from these registries; the file is kept."""
    path = tmp_path / "images.json"

    async def make(*opened: str, budget: int = 2**40, is_first: bool = True) -> Images:
        holdings = await Holdings.opened(path, await engine.images(), is_first=is_first)
        return Images(engine, registry_check(Egress.parse(opened)), holdings, lambda _: budget)

    return make
