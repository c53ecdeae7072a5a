"""A real facilitator on a free port with a real store, and the two kinds of people who talk to it.

Nothing here imports the SDK or the agent: requests are signed and sent as the wire has it.
"""

import asyncio
import base64
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from bittensor_wallet import Keypair

from horde_core.signing import Scope, sign_request
from horde_facilitator.clock import Now, SystemClock
from horde_facilitator.migrations import bring_up_to_date
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings

CLASS = "always_on.test"
DEADLINE_S = 20


async def until(what: str, check: Callable[[], Awaitable[object]]):
    """Ask again until the answer is true; returns it."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := await check():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited {DEADLINE_S} s in vain for {what}")


class ShiftedClock:
    """The machine's clocks, moved by hand."""

    def __init__(self) -> None:
        self.wall_shift_us = 0
        self.boot_shift_us = 0

    def now(self) -> Now:
        now = SystemClock().now()
        return Now(now.wall_us + self.wall_shift_us, now.boot_us + self.boot_shift_us)

    def set_wall(self, wall_us: int) -> None:
        self.wall_shift_us = wall_us - SystemClock().now().wall_us


@dataclass
class Person:
    """A logged-in hotkey."""

    http: httpx2.AsyncClient
    hotkey: Keypair
    token: str = ""

    async def login_body(self) -> dict[str, str]:
        nonce = (await self.http.get("/auth/nonce")).json()["nonce"]
        signature = self.hotkey.sign(nonce.encode()).hex()
        return {"hotkey": self.hotkey.ss58_address, "signature": signature, "nonce": nonce}

    async def login(self) -> None:
        answer = await self.http.post("/auth/login", json=await self.login_body())
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["token"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Realm": "mainnet", "SubnetID": "12"}

    async def send(self, method: str, path: str, **kwargs) -> httpx2.Response:
        headers = {**self.headers, **kwargs.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **kwargs)

    async def get(self, path: str, **kwargs) -> httpx2.Response:
        return await self.send("GET", path, **kwargs)


class User(Person):
    """Creates and watches jobs."""

    @staticmethod
    def spec(**fields) -> dict:
        return {
            "executor_class": CLASS,
            "docker_image": "horde-test/busybox:1",
            "args": ["echo", "hi"],
            "env": {"A": "1"},
            "use_gpu": True,
            "artifacts_dir": "/artifacts",
            "on_trusted_miner": False,
            "download_time_limit": 10,
            "execution_time_limit": 20,
            "streaming_start_time_limit": 5,
            "upload_time_limit": 30,
            **fields,
        }

    def signed(self, body: dict, at_ns: int | None = None) -> dict[str, str]:
        return sign_request(body, Scope.SIGNED_FIELDS, self.hotkey, at_ns or time.time_ns()).headers()

    async def post(self, body: dict, headers: dict[str, str] | None = None) -> httpx2.Response:
        return await self.send(
            "POST", "/api/v1/job-docker/", json=body, headers=self.signed(body) if headers is None else headers
        )

    async def create(self, **fields) -> str:
        answer = await self.post(self.spec(**fields))
        assert answer.status_code == 201, answer.text
        return answer.json()["uuid"]

    async def job(self, uuid: str, **query) -> dict:
        answer = await self.get(f"/api/v1/jobs/{uuid}/", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def statuses(self, uuid: str) -> list[str]:
        return [entry["status"] for entry in (await self.job(uuid, inline=0))["status_history"]]

    async def wait_for(self, uuid: str, status: str) -> dict:
        async def check():
            job = await self.job(uuid)
            return job if job["status"] == status else None

        return await until(f"{uuid} to be {status}", check)

    async def cancel(self, uuid: str) -> dict:
        answer = await self.send("POST", f"/api/v1/jobs/{uuid}/cancel/")
        assert answer.status_code == 202, answer.text
        return answer.json()

    @asynccontextmanager
    async def stream(self, method: str, path: str, **kwargs) -> AsyncIterator[AsyncIterator[dict]]:
        async with self.http.stream(method, path, headers=self.headers, timeout=DEADLINE_S, **kwargs) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer)

    def watch(self, cursors: dict[str, int]):
        return self.stream("POST", "/api/v1/events/", json={"jobs": cursors})


async def _events(answer: httpx2.Response) -> AsyncIterator[dict]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@dataclass
class Hold:
    """An attempt as its executor speaks of it."""

    executor: "Executor"
    job: str
    attempt: int
    claim: dict

    @property
    def path(self) -> str:
        return f"/executor/v1/attempts/{self.job}/{self.attempt}"

    async def lease(self, wait_s: float = 0) -> httpx2.Response:
        return await self.executor.send("POST", f"{self.path}/lease", json={"wait_s": wait_s}, timeout=30)

    async def events(self, seq: int, *statuses: str, **fields) -> httpx2.Response:
        events = [{"kind": "status", "status": s, "at_ns": time.time_ns(), **fields} for s in statuses]
        return await self.executor.send("PUT", f"{self.path}/events/{seq}", json={"events": events})

    async def progress(self, seq: int, done: int) -> httpx2.Response:
        event = {"kind": "progress", "stage": "prepare", "message": "pulling", "done": done, "total": 100}
        return await self.executor.send("PUT", f"{self.path}/events/{seq}", json={"events": [event]})

    async def log(self, stream: str, offset: int, data: bytes) -> httpx2.Response:
        return await self.executor.send("PUT", f"{self.path}/logs/{stream}/{offset}", content=data)

    async def artifact(self, path: str, data: bytes, sha256: str | None = None) -> httpx2.Response:
        headers = {"X-SHA256": sha256 or hashlib.sha256(data).hexdigest()}
        return await self.executor.send(
            "PUT", f"{self.path}/artifacts{quote(path)}", content=data, headers=headers
        )

    async def outcome(self, **report) -> httpx2.Response:
        report.setdefault("outcome", {"kind": "succeeded", "exit_code": 0})
        return await self.executor.send("PUT", f"{self.path}/outcome", json=report)

    async def give_back(self) -> httpx2.Response:
        return await self.executor.send("POST", f"{self.path}/return")

    async def every_request(self) -> dict[str, httpx2.Response]:
        """One of each kind."""
        return {
            "lease": await self.lease(),
            "events": await self.events(0, "executor_ready"),
            "logs": await self.log("stdout", 0, b"x"),
            "artifacts": await self.artifact("/artifacts/x", b"x"),
            "blobs": await self.executor.get(f"{self.path}/blobs/{'0' * 64}"),
            "outcome": await self.outcome(),
            "return": await self.give_back(),
        }

    async def confirmed(self) -> "Hold":
        assert (await self.lease()).status_code == 200
        return self

    async def run(self, stdout: bytes = b"hi\n", artifacts: dict[str, bytes] | None = None) -> None:
        """The whole happy path."""
        await self.confirmed()
        digest = "sha256:" + "0" * 64
        assert (await self.events(0, "executor_ready", image_digest=digest)).status_code == 204
        assert (await self.events(1, "volumes_ready")).status_code == 204
        assert (await self.log("stdout", 0, stdout)).status_code == 204
        entries = []
        for path, data in (artifacts or {}).items():
            assert (await self.artifact(path, data)).status_code == 204
            entries.append({"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        answer = await self.outcome(
            first_seq=2,
            events=[{"kind": "status", "status": "execution_done", "at_ns": time.time_ns()}],
            logs={"stdout": {"size": len(stdout)}},
            artifacts=entries,
            stage_seconds={"execution": 1.5},
        )
        assert answer.status_code == 204, answer.text


def failed(reason: str = "nonzero_return_code", stage: str = "execution", **more) -> dict:
    return {"kind": "failed", "stage": stage, "reason": reason, "message": f"because of {reason}", **more}


class Executor(Person):
    """Claims jobs and reports what came of them."""

    async def claim(self, wait_s: float = 0, claim_id: str | None = None, **fields) -> Hold | None:
        body = {"classes": [CLASS], "slots": 1, "version": "1.0.0", "wait_s": wait_s, **fields}
        path = f"/executor/v1/claims/{claim_id or uuid.uuid4().hex}"
        answer = await self.send("PUT", path, json=body, timeout=wait_s + 10)
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        claim = answer.json()
        return Hold(self, claim["job"], claim["attempt"], claim)

    async def hold(self, wait_s: float = 5) -> Hold:
        """A claim that must be granted."""
        hold = await self.claim(wait_s)
        assert hold is not None
        return hold


@dataclass
class Served:
    """A running facilitator."""

    url: str
    settings: Settings
    clock: ShiftedClock
    task: asyncio.Task[None]
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    async def stop(self) -> None:
        """End it in order."""
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.task.cancelled()

    def client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None)
        client = httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, timeout=DEADLINE_S, limits=limits
        )
        self.clients.append(client)
        return client

    async def user(self, name: str = "user") -> User:
        user = User(self.client(), hotkey(name))
        await user.login()
        return user

    async def executor(self, name: str = "executor") -> Executor:
        executor = Executor(self.client(), hotkey(name))
        await executor.login()
        return executor


def hotkey(name: str) -> Keypair:
    return Keypair.create_from_uri(f"//{name}")


ADMITTED = {
    "user": frozenset(hotkey(name).ss58_address for name in ("user", "other")),
    "executor": frozenset(hotkey(name).ss58_address for name in ("executor", "second", "third")),
}


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """An empty, migrated store; each test gets a copy."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite3"
    bring_up_to_date(path)
    return path


@pytest.fixture
def data(tmp_path, template) -> Path:
    """A data directory of its own."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    shutil.copy(template, directory / "db.sqlite3")
    return directory


@pytest.fixture
def serving(data):
    """Starts facilitators on the test's data directory."""

    @asynccontextmanager
    async def start(clock: ShiftedClock | None = None, **settings) -> AsyncIterator[Served]:
        used = Settings(data, port=0, **{"admit": ADMITTED, "tick_s": 0.05, **settings})
        clock = clock or ShiftedClock()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(used, ready=ready.set_result, clock=clock))
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        served = Served(await ready, used, clock, task)
        try:
            yield served
        finally:
            for client in served.clients:
                await client.aclose()
            await served.stop()

    return start


@pytest.fixture
async def served(serving) -> AsyncIterator[Served]:
    """A facilitator with ordinary settings."""
    async with serving() as facilitator:
        yield facilitator


@pytest.fixture
async def user(served) -> User:
    return await served.user()


@pytest.fixture
async def executor(served) -> Executor:
    return await served.executor()


@pytest.fixture
def failure():
    return failed


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def shifted_clock():
    return ShiftedClock


def decoded(artifacts: dict[str, str]) -> dict[str, bytes]:
    return {path: base64.b64decode(text) for path, text in artifacts.items()}


@pytest.fixture(autouse=True)
def no_defect_is_logged(caplog, request):
    """Defects that the facilitator catches and logs fail the test in which they happen."""
    yield
    logged = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    defects = [r.getMessage() for r in logged if r.levelname == "ERROR" and r.name.startswith("horde_")]
    if "a_store_that_fails" not in request.fixturenames:
        assert not defects


@pytest.fixture
def a_store_that_fails():
    """Marks a test in which the store is made to fail, so that the facilitator logs errors rightly."""


@pytest.fixture
def people():
    """A user and an executor who talk to no facilitator yet."""

    def make(user: str, executor: str) -> tuple[User, Executor]:
        nowhere = httpx2.AsyncClient()
        return User(nowhere, hotkey(user)), Executor(nowhere, hotkey(executor))

    return make
