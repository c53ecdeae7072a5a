"""A hotkey, and an HTTP server that answers as the original facilitator does.

The original cannot run here, so its answers are written down by hand: what it sends is fixed by the published
clients. Signatures are verified for real.
"""

import asyncio
import json
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from bittensor_wallet import Keypair

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJobSpec, ExecutorClass
from horde_core.lifecycle import Status
from horde_core.signing import RequestSignature, verify, verify_request

VALIDATOR = "5CDYBwxDZwXnYSp7E39Vy92MVbCMtcK2i953oRxDm9Veko7M"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Response:
    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


DROP = Response(0)


class Original:
    """The original facilitator, as far as a client sees it: jobs that the test moves on by hand."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.jobs: dict[str, dict] = {}
        self.token = "first-token"
        self._next: dict[str, deque[Response]] = {}

    def answer_next(self, path: str, status: int, body: object = None, times: int = 1, **headers: str) -> None:
        """Answer the next requests for a path (or one below it) in this way instead."""
        self._next.setdefault(path, deque()).extend([Response(status, body, headers)] * times)

    def drop_next(self, path: str) -> None:
        """Close the connection instead of answering the next request for a path."""
        self._next.setdefault(path, deque()).append(DROP)

    @property
    def counts(self) -> Counter:
        """How often each path was asked for."""
        return Counter(request.path for request in self.requests)

    def advance(self, job: str, *statuses: str, metadata=None, **fields) -> None:
        """Move a job on; the metadata belong to the last status."""
        for status in statuses:
            entry = {"status": status, "created_at": now(), "metadata": metadata if status == statuses[-1] else {}}
            self.jobs[job]["status_history"].append(entry)
            self.jobs[job]["status"] = Status.parse(status).reference_name
        self.jobs[job].update(fields)

    def complete(self, job: str, **fields) -> None:
        rest = ("accepted", "executor_ready", "volumes_ready", "execution_done", "completed")
        self.advance(job, *rest, **fields)

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        for path, responses in self._next.items():
            if request.path.startswith(path) and responses:
                return responses.popleft()
        if request.path == "/auth/nonce":
            return Response(200, {"nonce": "a-nonce"})
        if request.path == "/auth/login":
            verify(b"a-nonce", bytes.fromhex(request.json["signature"]), request.json["hotkey"])
            return Response(200, {"token": self.token})
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Response(401, {"detail": "Token expired."})
        return self._api(request)

    def _api(self, request: Request) -> Response:
        match request.method, request.path.strip("/").split("/")[2:]:
            case "POST", ["job-docker"]:
                verify_request(request.json, signature_of(request))
                return Response(201, self._created(request.json))
            case "POST", ["cheated-job"]:
                verify_request(request.json, signature_of(request))
                return Response(201, "reported")
            case "GET", ["jobs"]:
                return self._page(int(request.query["page"][0]), int(request.query["page_size"][0]))
            case "GET", ["jobs", job] if job in self.jobs:
                return Response(200, self.jobs[job])
            case _:
                return Response(404, {"detail": "Not found."})

    def _page(self, page: int, size: int) -> Response:
        jobs = list(self.jobs.values())[::-1]
        found, more = jobs[(page - 1) * size : page * size], len(jobs) > page * size
        return Response(200, {"count": len(jobs), "next": "x" if more else None, "results": found})

    def _created(self, body: dict) -> dict:
        job = str(uuid.uuid4())
        self.jobs[job] = {
            "uuid": job,
            "created_at": now(),
            **{key: body[key] for key in ("executor_class", "docker_image", "args", "env", "artifacts_dir")},
            "stdout": "",
            "stderr": "",
            "status": "",
            "status_history": [],
            "streaming_server_cert": "",
            "streaming_server_address": "",
            "streaming_server_port": 0,
        }
        self.advance(job, "sent", "received")
        return self.jobs[job]


def signature_of(request: Request) -> RequestSignature:
    known = (
        "X-CH-Signature-Type",
        "X-CH-Signatory",
        "X-CH-Timestamp-NS",
        "X-CH-Signature",
        "X-CH-Signature-Scope",
    )
    return RequestSignature.from_headers({name: request.headers[name.lower()] for name in known})


def now() -> str:
    return datetime.now(UTC).isoformat()


@asynccontextmanager
async def serving(handle: Callable[[Request], Response]) -> AsyncIterator[str]:
    """Serve HTTP/1.1 on a free port of loopback; yields the URL."""

    open_connections: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                parts = urlsplit(target)
                response = handle(Request(method, parts.path, parse_qs(parts.query), headers, body))
                if response is DROP:
                    break
                content = json.dumps(response.body).encode()
                extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
                writer.write(
                    f"HTTP/1.1 {response.status} X\r\nContent-Length: {len(content)}\r\n{extra}\r\n".encode()
                    + content
                )
                await writer.drain()
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections)


@pytest.fixture(scope="session")
def hotkey() -> Keypair:
    return Keypair.create_from_uri("//Alice")


@pytest.fixture
async def original(monkeypatch) -> AsyncIterator[Original]:
    """The original facilitator, asked often so that tests are short."""
    monkeypatch.setattr("compute_horde_sdk.v1._watch.FIRST_POLL_S", 0.01)
    monkeypatch.setattr("compute_horde_sdk.v1._watch.LAST_POLL_S", 0.02)
    facilitator = Original()
    async with serving(facilitator.handle) as facilitator.url:
        yield facilitator


@pytest.fixture
async def client(original: Original, hotkey: Keypair) -> AsyncIterator[ComputeHordeClient]:
    async with ComputeHordeClient(hotkey, VALIDATOR, facilitator_url=original.url) as client:
        yield client


@pytest.fixture
def spec() -> Callable[..., ComputeHordeJobSpec]:
    def make(**fields) -> ComputeHordeJobSpec:
        defaults = {
            "executor_class": ExecutorClass.always_on__test,
            "job_namespace": "SN123.0",
            "docker_image": "user/image:tag",
            "download_time_limit_sec": 1,
            "execution_time_limit_sec": 2,
            "upload_time_limit_sec": 3,
        }
        return ComputeHordeJobSpec(**{**defaults, **fields})

    return make
