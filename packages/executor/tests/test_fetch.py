"""Downloads, against servers that misbehave in every way that was met."""

import asyncio
import hashlib
import io
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pycurl
import pytest

from horde_core.outcomes import Reason, Stage
from horde_executor import hop
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import Fetched, fetch
from horde_executor.patience import Patience, pause, retry_after
from horde_executor.room import Room

CONTENT = bytes(range(256)) * 8192  # 2 MiB
HALF = len(CONTENT) // 2
HASTY = Patience(connect_s=5, stall_s=5, tries=3, pause_s=0.01)
Answer = Callable[[socket.socket, dict[str, str], int], None]


def plain(*lines: str, body: bytes = b"", status: str = "200 OK") -> Answer:
    """Always the same answer, then the connection is closed."""

    def answer(connection: socket.socket, _headers: dict[str, str], _count: int) -> None:
        send(connection, status, *lines, body=body)

    return answer


def send(connection: socket.socket, status: str, *lines: str, body: bytes = b"") -> None:
    head = "\r\n".join((f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""))
    connection.sendall(head.encode("latin-1") + body)


def whole(connection: socket.socket, _headers: dict[str, str], _count: int) -> None:
    send(connection, "200 OK", f"Content-Length: {len(CONTENT)}", 'ETag: "v1"', body=CONTENT)


def later(status: str, *lines: str) -> Answer:
    """First this status, then the file."""

    def answer(connection: socket.socket, headers: dict[str, str], count: int) -> None:
        if count == 1:
            send(connection, status, "Content-Length: 0", *lines)
        else:
            whole(connection, headers, count)

    return answer


def breaks(etag: str | None) -> Answer:
    """The first answer breaks in the middle; a range is served afterwards to who asks for the right version."""

    def answer(connection: socket.socket, headers: dict[str, str], count: int) -> None:
        lines = [f"Content-Length: {len(CONTENT)}", *([f"ETag: {etag}"] if etag else [])]
        if count == 1:
            send(connection, "200 OK", *lines, body=CONTENT[:HALF])
        elif "range" in headers and headers["if-range"] == etag:
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            rest = CONTENT[start:]
            where = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            send(connection, "206 Partial Content", f"Content-Length: {len(rest)}", where, body=rest)
        else:
            send(connection, "200 OK", *lines, body=CONTENT)

    return answer


def changes(connection: socket.socket, _headers: dict[str, str], count: int) -> None:
    """The file is replaced while it is fetched: the second answer is the new one, in full."""
    if count == 1:
        send(connection, "200 OK", f"Content-Length: {len(CONTENT)}", 'ETag: "old"', body=b"o" * HALF)
    else:
        whole(connection, {}, count)


def wrong_part(connection: socket.socket, headers: dict[str, str], count: int) -> None:
    """A part of the file from the wrong place, where the rest was asked for."""
    if "range" in headers:
        where = f"Content-Range: bytes 0-{HALF - 1}/{len(CONTENT)}"
        send(connection, "206 Partial Content", f"Content-Length: {HALF}", where, body=CONTENT[:HALF])
    else:
        breaks('"v1"')(connection, headers, 1 if count == 1 else 9)


def no_range(connection: socket.socket, headers: dict[str, str], count: int) -> None:
    """416 for the rest of a file that broke."""
    if "range" in headers:
        send(connection, "416 Range Not Satisfiable", "Content-Length: 0")
    else:
        breaks('"v1"')(connection, headers, count)


def endless(status: str) -> Answer:
    """A body without end."""

    def answer(connection: socket.socket, _headers: dict[str, str], _count: int) -> None:
        send(connection, status, "Transfer-Encoding: chunked")
        while True:
            connection.sendall(b"10000\r\n" + b"e" * 65536 + b"\r\n")

    return answer


def cut_chunks(connection: socket.socket, headers: dict[str, str], count: int) -> None:
    """A chunked answer without its end, then the file."""
    if count == 1:
        send(connection, "200 OK", "Transfer-Encoding: chunked", body=b"10\r\n" + b"c" * 16 + b"\r\n")
    else:
        whole(connection, headers, count)


def drips(connection: socket.socket, _headers: dict[str, str], count: int) -> None:
    """Breaks after each quarter, so more often than there are tries without progress."""
    start = (count - 1) * (HALF // 2)
    status, where = ("200 OK", "X: y") if count == 1 else (
        "206 Partial Content", f"Content-Range: bytes {start}-{2 * HALF - 1}/{2 * HALF}")  # fmt: skip
    body = CONTENT[start : start + HALF // 2]
    send(connection, status, f"Content-Length: {2 * HALF - start}", 'ETag: "v1"', where, body=body)


class Server(socketserver.ThreadingTCPServer):
    """Answers each path by its own script and remembers what was asked."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True  # connections that just ended linger on the port

    def __init__(self, address: tuple[str | int, ...], context: ssl.SSLContext | None) -> None:
        super().__init__(address, socketserver.BaseRequestHandler)
        self.port = self.server_address[1]
        self.context = context
        self.connections = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.arrived = threading.Semaphore(0)
        self.released = threading.Event()
        self.answers: dict[str, Answer] = {
            "/file": whole,
            "/empty": plain("Content-Length: 0"),
            "/old": plain(body=b"no length, ends with the connection"),
            "/packed": plain("Content-Encoding: gzip", "Content-Length: 3", body=b"\x1f\x8b\x08"),
            "/long": plain("Content-Length: 4", body=b"more than promised"),
            "/silent": lambda *_: self._wait(),
            "/slow": self._slow,
            "/loop": lambda connection, *_: send(connection, "302 Found", "Location: /loop"),
            "/hops": lambda c, headers, _: self._hops(c, int(headers[":query"])),
            "/to": lambda c, h, _: send(c, "302 Found", f"Location: {parse_qs(h[':query'])['url'][0]}"),
            "/nowhere": plain("Content-Length: 0", status="302 Found"),
        }

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def _wait(self) -> None:
        self.released.wait(30)

    def _slow(self, connection: socket.socket, _headers: dict[str, str], _count: int) -> None:
        send(connection, "200 OK", f"Content-Length: {len(CONTENT)}", body=b"s" * 1000)
        self._wait()

    def _hops(self, connection: socket.socket, left: int) -> None:
        send(connection, "307 Temporary Redirect", f"Location: {f'/hops?{left - 1}' if left > 1 else '/file'}")

    def finish_request(self, request: socket.socket, _client: object) -> None:
        self.connections += 1
        try:
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
            with request:
                self._answer(request)
        except OSError:
            return

    def _answer(self, request: socket.socket) -> None:
        text = b""
        while b"\r\n\r\n" not in text:
            piece = request.recv(65536)
            if not piece:
                return
            text += piece
        first, *lines = text.decode("latin-1").strip().split("\r\n")
        target = urlsplit(first.split(" ")[1])
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        headers[":query"] = target.query
        self.requests.append((target.path, headers))
        self.arrived.release()
        count = sum(path == target.path for path, _ in self.requests)
        unknown = plain("Content-Length: 4", status="404 Not Found", body=b"gone")
        self.answers.get(target.path, unknown)(request, headers, count)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@contextmanager
def serving(*address: str | int, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(address or ("127.0.0.1", 0), context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@contextmanager
def neighbours(address: str) -> Iterator[tuple[Server, Server]]:
    """Two servers on one port: one on 127.0.0.1, one on another address of this machine."""
    with ExitStack() as stack:
        for _ in range(50):
            server = stack.enter_context(serving())
            try:
                pair = server, stack.enter_context(serving(address, server.port))
            except OSError:  # somebody else has this port there
                continue
            yield pair
            return
        pytest.fail("no port is free on both addresses")


async def download(server: Server, url: str, *, limit: int = 1 << 30, sha256: str | None = None) -> bytes:
    """The content behind the URL, when the operator opened the server's port on 127.0.0.1."""
    content = io.BytesIO()
    fetched = await fetch(
        url,
        content,
        name="/volume/in.bin",
        egress=Egress.parse([f"127.0.0.1:{server.port}"]),
        room=Room(limit),
        sha256=sha256,
        patience=HASTY,
    )
    data = content.getvalue()
    assert isinstance(fetched, Fetched)
    assert (fetched.size, fetched.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return data


async def failure(server: Server, url: str, *, limit: int = 1 << 30) -> JobFailure:
    with pytest.raises(JobFailure) as failed:
        await download(server, url, limit=limit)
    assert failed.value.stage is Stage.DOWNLOAD
    assert failed.value.message.startswith("/volume/in.bin ")
    return failed.value


@pytest.mark.parametrize(
    ("path", "answer", "content", "requests"),
    [
        ("/file", None, CONTENT, 1),
        ("/empty", None, b"", 1),
        ("/old", None, b"no length, ends with the connection", 1),
        ("/packed", None, b"\x1f\x8b\x08", 1),
        ("/long", None, b"more", 1),
        ("/503", later("503 Service Unavailable", "Retry-After: 0"), CONTENT, 2),
        ("/429", later("429 Too Many Requests"), CONTENT, 2),
        ("/408", later("408 Request Timeout"), CONTENT, 2),
        ("/425", later("425 Too Early"), CONTENT, 2),
        ("/500", later("500 Internal Server Error"), CONTENT, 2),
        ("/broken", breaks('"v1"'), CONTENT, 2),
        ("/weak", breaks('W/"v1"'), CONTENT, 2),
        ("/unnamed", breaks(None), CONTENT, 2),
        ("/changed", changes, CONTENT, 2),
        ("/wrong-part", wrong_part, CONTENT, 3),
        ("/no-range", no_range, CONTENT, 3),
        ("/cut", cut_chunks, CONTENT, 2),
        ("/drips", drips, CONTENT, 4),
        ("/hops?5", None, CONTENT, 6),
    ],
)
async def test_the_file_arrives_whole_whatever_happened_on_the_way(
    server: Server, path: str, answer: Answer | None, content: bytes, requests: int
) -> None:
    server.answers |= {path: answer} if answer else {}
    assert await download(server, server.url(path)) == content
    assert len(server.requests) == requests


async def test_only_the_rest_is_asked_for_when_the_version_is_named(server: Server) -> None:
    server.answers |= {"/named": breaks('"v1"'), "/weak": breaks('W/"v1"')}
    await download(server, server.url("/named"))
    await download(server, server.url("/weak"))
    asked = [(path, headers.get("range"), headers.get("if-range")) for path, headers in server.requests]
    assert asked == [
        ("/named", None, None),
        ("/named", f"bytes={HALF}-", '"v1"'),
        ("/weak", None, None),
        ("/weak", None, None),
    ]


@pytest.mark.parametrize(
    ("path", "answer", "reason", "requests", "says"),
    [
        ("/missing", None, Reason.DOWNLOAD_FAILED, 1, "404 Not Found. Check that the URL is right"),
        ("/403", plain(status="403 Forbidden"), Reason.DOWNLOAD_FAILED, 1, "presigned URL"),
        ("/401", plain(status="401 Unauthorized"), Reason.DOWNLOAD_FAILED, 1, "needs a login"),
        ("/410", plain(status="410 Gone"), Reason.DOWNLOAD_FAILED, 1, "410 Gone"),
        ("/416", plain(status="416 X"), Reason.DOWNLOAD_FAILED, 1, "416"),
        ("/204", plain(status="204 No Content"), Reason.DOWNLOAD_FAILED, 1, "204 No Content"),
        ("/600", plain(status="299 Odd"), Reason.DOWNLOAD_FAILED, 1, "299"),
        ("/nowhere", None, Reason.DOWNLOAD_FAILED, 1, "302 Found"),
        ("/loop", None, Reason.DOWNLOAD_FAILED, 6, "redirects too often"),
        ("/hops?6", None, Reason.DOWNLOAD_FAILED, 6, "redirects too often"),
        ("/endless", endless("200 OK"), Reason.DOWNLOAD_FAILED, 1, "too large: all volumes of a job may"),
        ("/wordy", endless("404 Not Found"), Reason.DOWNLOAD_FAILED, 1, "404 Not Found"),
        ("/huge", plain("Content-Length: 999999999999"), Reason.DOWNLOAD_FAILED, 1, "too large"),
        ("/502", plain(status="502 Bad Gateway"), Reason.DOWNLOAD_UNREACHABLE, 3, "502 Bad Gateway, 3 times"),
        ("/429", plain(status="429 Too Many Requests"), Reason.DOWNLOAD_UNREACHABLE, 3, "429"),
        ("/hour", plain("Retry-After: 3600", status="503 X"), Reason.DOWNLOAD_UNREACHABLE, 1, "503"),
        ("/hang-up", lambda *_: None, Reason.DOWNLOAD_UNREACHABLE, 3, "without an answer"),
        ("/short", plain("Content-Length: 99", body=b"short"), Reason.DOWNLOAD_UNREACHABLE, 3, "broke before"),
        ("/part", plain("Content-Range: bytes 0-1/2", body=b"ab", status="206 X"), Reason.DOWNLOAD_UNREACHABLE, 3, "parts"),  # noqa: E501
        ("/garbage", lambda c, *_: c.sendall(b"220 mail.example ESMTP\r\n"), Reason.DOWNLOAD_FAILED, 1, "in HTTP"),
    ],
)  # fmt: skip
async def test_what_cannot_be_fetched_fails_with_the_right_reason_and_advice(
    server: Server, path: str, answer: Answer | None, *, reason: Reason, requests: int, says: str
) -> None:
    server.answers |= {path: answer} if answer else {}
    url = server.url(path if "?" in path else f"{path}?sig=SECRET")
    failed = await failure(server, url, limit=4 * 1024**2)
    assert failed.reason is reason
    assert says in failed.message
    assert "SECRET" not in failed.message
    assert "sig=" not in failed.message
    assert len(server.requests) == requests


async def test_a_server_that_stalls_is_given_up_after_its_tries(server: Server) -> None:
    async def stalled(path: str) -> JobFailure:
        with pytest.raises(JobFailure) as failed:
            await fetch(
                server.url(path),
                io.BytesIO(),
                name="/volume/x",
                egress=Egress.parse([f"127.0.0.1:{server.port}"]),
                room=Room(1 << 30),
                patience=Patience(stall_s=0.3, tries=1),
            )
        return failed.value

    silent, slow = await asyncio.gather(stalled("/silent"), stalled("/slow"))
    assert silent.reason is slow.reason is Reason.DOWNLOAD_UNREACHABLE
    assert "no answer came in time" in silent.message
    assert "no data came for 0.3 s" in slow.message


async def test_a_port_where_nobody_listens_and_a_name_that_nobody_has_are_unreachable(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url, says in (
        (f"http://127.0.0.1:{port}/x", "did not accept the connection"),
        ("http://no-such-host.invalid/x", "no-such-host.invalid was not found"),
    ):
        with pytest.raises(JobFailure, match=says) as failed:
            await fetch(
                url,
                io.BytesIO(),
                name="/volume/x",
                egress=Egress.parse([f"127.0.0.1:{port}"]),
                room=Room(1),
                patience=HASTY,
            )
        assert failed.value.reason is Reason.DOWNLOAD_UNREACHABLE


async def test_a_wrong_hash_is_a_failure_and_the_right_one_passes(server: Server) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert await download(server, server.url("/file"), sha256=right.upper()) == CONTENT
    with pytest.raises(JobFailure, match="promised content") as failed:
        await download(server, server.url("/file"), sha256="0" * 64)
    assert failed.value.reason is Reason.DOWNLOAD_FAILED


async def test_room_is_counted_once_although_the_file_was_begun_anew(server: Server) -> None:
    server.answers["/unnamed"] = breaks(None)
    assert await download(server, server.url("/unnamed"), limit=len(CONTENT)) == CONTENT


@pytest.mark.parametrize("path", ["/silent", "/slow", "/503"])
async def test_cancelling_ends_the_download_within_a_moment(server: Server, path: str) -> None:
    server.answers["/503"] = plain("Retry-After: 60", status="503 X")
    task = asyncio.ensure_future(download(server, server.url(path)))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.25
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch") and _lingers(thread)]


def _lingers(thread: threading.Thread) -> bool:
    thread.join(1)
    return thread.is_alive()


async def test_progress_is_told_while_it_goes_on_and_at_the_end(server: Server) -> None:
    told: list[tuple[int, int | None]] = []
    started = asyncio.Event()

    def progress(done: int, total: int | None) -> None:
        told.append((done, total))
        if done:
            started.set()

    def halting(connection: socket.socket, _headers: dict[str, str], _count: int) -> None:
        send(connection, "200 OK", f"Content-Length: {len(CONTENT)}", body=CONTENT[:HALF])
        server.released.wait(10)
        connection.sendall(CONTENT[HALF:])

    server.answers["/halting"] = halting
    egress = Egress.parse([f"127.0.0.1:{server.port}"])
    task = asyncio.ensure_future(
        fetch(
            server.url("/halting"),
            io.BytesIO(),
            name="/volume/x",
            egress=egress,
            room=Room(1 << 30),
            progress=progress,
        )
    )
    async with asyncio.timeout(10):
        await started.wait()
        server.released.set()
        await task
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert any(0 < done < len(CONTENT) and total == len(CONTENT) for done, total in told)


# --- where a URL may lead --------------------------------------------------------------------------------

HOSTILE = [
    "http://127.0.0.1:{port}/file",
    "http://127.1:{port}/file",
    "http://127.0.0.1.:{port}/file",
    "http://2130706433:{port}/file",
    "http://0x7f000001:{port}/file",
    "http://0x7f.0.0.1:{port}/file",
    "http://017700000001:{port}/file",
    "http://0177.0.0.1:{port}/file",
    "http://0:{port}/file",
    "http://0.0.0.0:{port}/file",
    "http://localhost:{port}/file",
    "http://LOCALHOST:{port}/file",
    "http://localhost.:{port}/file",
    "http://sub.localhost:{port}/file",
    "http://[::1]:{port}/file",
    "http://[::]:{port}/file",
    "http://[0:0:0:0:0:0:0:1]:{port}/file",
    "http://[::ffff:127.0.0.1]:{port}/file",
    "http://[::ffff:7f00:1]:{port}/file",
    "http://[64:ff9b::7f00:1]:{port}/file",
    "http://[2002:7f00:1::]:{port}/file",
    "http://[fe80::1%25lo]:{port}/file",
    "http://ⓛocalhost:{port}/file",
    "http://\uff11\uff12\uff17.0.0.1:{port}/file",
    "http://127。0。0。1:{port}/file",
    "http://%31%32%37.0.0.1:{port}/file",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/metadata",
    "http://100.100.100.200/latest/",
    "http://[fd00:ec2::254]/latest/",
    "http://10.0.0.1/",
    "http://user:pass@127.0.0.1:{port}/file",
    "http://8.8.8.8@127.0.0.1:{port}/file",
    "http://8.8.8.8\\@127.0.0.1:{port}/file",
    "http://127.0.0.1:{port}\\.example.org/file",
    "http://127.0.0.1:{port} .example.org/file",
    "http:127.0.0.1:{port}/file",
    "http:///127.0.0.1:{port}/file",
    "https://127.0.0.1:{port}/file",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/file",
    "gopher://127.0.0.1:{port}/_x",
    "dict://127.0.0.1:{port}/x",
    "unix:/var/run/docker.sock",
    "http://127.0.0.1:{port}/file\r\nX: y",
    "//127.0.0.1:{port}/file",
    "",
]


@pytest.mark.parametrize("url", HOSTILE)
async def test_no_spelling_of_a_forbidden_place_is_ever_connected_to(server: Server, url: str) -> None:
    with pytest.raises(JobFailure) as failed:
        await fetch(
            url.format(port=server.port),
            io.BytesIO(),
            name="/volume/x",
            egress=Egress(),
            room=Room(1 << 30),
            patience=HASTY,
        )
    assert failed.value.reason is Reason.DOWNLOAD_FAILED
    assert server.connections == 0


@pytest.mark.parametrize("url", [url for url in HOSTILE if not url.startswith("//") and url])
async def test_no_redirect_leads_to_a_forbidden_place(url: str) -> None:
    """The first server is open to the job, on an address of its own; the second, on the same port, is not."""
    with neighbours("127.0.0.2") as (server, opened):
        location = url.format(port=server.port).encode().decode("latin-1").replace("\r\n", "")
        opened.answers["/to"] = plain(f"Location: {location}", status="301 Moved")
        with pytest.raises(JobFailure) as failed:
            await fetch(
                f"http://127.0.0.2:{opened.port}/to",
                io.BytesIO(),
                name="/volume/x",
                egress=Egress.parse([f"127.0.0.2:{opened.port}"]),
                room=Room(1 << 30),
                patience=HASTY,
            )
        assert failed.value.reason is Reason.DOWNLOAD_FAILED
        assert opened.requests
        assert server.connections == 0


async def test_a_refusal_names_the_kind_of_place_and_the_operators_option(server: Server) -> None:
    with pytest.raises(JobFailure) as failed:
        await fetch(
            "http://[fd00::7]:9000/key?X-Amz-Signature=SECRET",
            io.BytesIO(),
            name="/volume/x",
            egress=Egress(),
            room=Room(1),
        )
    assert failed.value.message == (
        "/volume/x cannot be fetched from http://[fd00::7]:9000/key: its host is a private network (RFC 4193),"
        " which jobs may not reach. Use a public URL, or ask the operator of the executor to allow it with"
        " --allow-egress [fd00::7]:9000"
    )


async def test_a_redirect_carries_no_query_into_messages(server: Server) -> None:
    server.answers["/to-missing"] = plain("Location: /missing?token=SECRET", status="302 Found")
    failed = await failure(server, server.url("/to-missing?token=SECRET"))
    assert "404" in failed.message
    assert "/missing" in failed.message
    assert "SECRET" not in failed.message


def resolving(monkeypatch: pytest.MonkeyPatch, *entries: str) -> None:
    """Let libcurl resolve names as the entries say (as with its own --resolve)."""

    class Resolving(pycurl.Curl):  # type: ignore[misc]
        def reset(self) -> None:
            super().reset()
            self.setopt(pycurl.RESOLVE, list(entries))

    monkeypatch.setattr(hop.pycurl, "Curl", Resolving)


async def test_a_name_that_the_operator_opened_opens_its_addresses_for_that_name_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, f"data.test:{server.port}:127.0.0.1", f"evil.test:{server.port}:127.0.0.1")

    async def get(host: str) -> Fetched:
        return await fetch(
            server.url("/file", host),
            io.BytesIO(),
            name="/volume/x",
            egress=Egress.parse([f"data.test:{server.port}"]),
            room=Room(1 << 30),
            patience=HASTY,
        )

    assert (await get("data.test")).size == len(CONTENT)
    assert (await get("DATA.test")).size == len(CONTENT)
    assert server.connections == 2
    with pytest.raises(JobFailure, match=r"--allow-egress evil\.test:"):
        await get("evil.test")
    assert server.connections == 2


async def test_of_several_addresses_only_the_open_one_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with neighbours("127.0.0.3") as (server, shut):
        resolving(monkeypatch, f"data.test:{server.port}:127.0.0.3,127.0.0.1")
        assert await download(server, server.url("/file", "data.test")) == CONTENT
        assert shut.connections == 0


PROLOGUE = """
import asyncio, io, os, pathlib, socket, struct, subprocess, sys, threading, time
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import fetch
from horde_executor.patience import Patience
from horde_executor.room import Room

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
conf = pathlib.Path(sys.argv[1])
conf.write_text("nameserver 127.0.0.1\\n")
subprocess.run(["mount", "--bind", conf, pathlib.Path("/etc/resolv.conf").resolve()], check=True)
"""

REBINDING = '''
answers = 0
inside = []

def name_server():
    """Answers each question with the other address: first the harmless one, then the one inside."""
    global answers
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 53))
    ready.set()
    while True:
        question, client = dns.recvfrom(512)
        name_end = question.index(0, 12) + 5
        is_a = question[name_end - 4 : name_end - 2] == b"\\0\\1"
        reply = question[:2] + b"\\x81\\x80\\0\\1" + struct.pack(">H", is_a) + bytes(4) + question[12:name_end]
        if is_a:
            address = "127.0.0.2" if answers % 2 == 0 else "127.0.0.3"
            answers += 1
            reply += b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4" + socket.inet_aton(address)
        dns.sendto(reply, client)

def web_server(address, seen):
    server = socket.create_server((address, 8080))
    while True:
        connection, _ = server.accept()
        seen.append(address)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        connection.close()

ready = threading.Event()
good = []
for target, args in ((name_server, ()), (web_server, ("127.0.0.2", good)), (web_server, ("127.0.0.3", inside))):
    threading.Thread(target=target, args=args, daemon=True).start()
assert ready.wait(5)

async def main():
    fetched = refused = 0
    for turn in range(10):
        try:
            await fetch("http://rebind.test:8080/", io.BytesIO(), name="/volume/x", room=Room(100),
                        egress=Egress.parse(["127.0.0.2:8080"]), patience=Patience(tries=2, pause_s=0.01))
            fetched += 1
        except JobFailure as failure:
            assert failure.reason == "download_failed", failure
            refused += 1
    assert (fetched, refused, len(good), inside) == (5, 5, 5, []), (fetched, refused, good, inside)

asyncio.run(main())
'''

UNRESOLVED = """
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 53))

async def main():
    task = asyncio.ensure_future(
        fetch("http://slow.test/", io.BytesIO(), name="/volume/x", room=Room(100), egress=Egress()))
    await asyncio.to_thread(dns.recv, 512)
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and time.monotonic() - began < 0.25, time.monotonic() - began
    os._exit(0)  # libcurl still waits for the name server, in a thread that nobody waits for

asyncio.run(main())
"""


def in_namespaces(script: str, *args: Path) -> None:
    """Run a Python script where it may have its own network and mounts."""
    if shutil.which("ip") is None:
        pytest.skip("this machine has no iproute2")
    inside = ["unshare", "--net", "--mount"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        inside = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
            pytest.skip("this machine gives no namespaces to this user")
    command = [*inside, sys.executable, "-c", PROLOGUE + script, *args]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_rebound_between_questions_never_leads_inside(tmp_path: Path) -> None:
    """A real name server, in namespaces of its own, alternates between an open and a shut address."""
    in_namespaces(REBINDING, tmp_path / "resolv.conf")


def test_cancelling_does_not_wait_for_a_name_server_that_never_answers(tmp_path: Path) -> None:
    in_namespaces(UNRESOLVED, tmp_path / "resolv.conf")


# --- TLS -------------------------------------------------------------------------------------------------


async def test_a_certificate_must_be_trusted_and_ssl_cert_file_says_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
        f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context=context) as server:
        url = f"https://127.0.0.1:{server.port}/file"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        failed = await failure(server, url)
        assert failed.reason is Reason.DOWNLOAD_FAILED
        assert "is not trusted" in failed.message
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await download(server, url) == CONTENT
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(JobFailure, match=r"cannot read its file of certificates.*none\.pem") as unusable:
            await download(server, url)
        assert unusable.value.reason is Reason.EXECUTOR_ERROR


# --- decisions -------------------------------------------------------------------------------------------


def test_pauses_grow_with_full_jitter_up_to_a_bound_and_end() -> None:
    patience = Patience(tries=9, pause_s=0.5, longest_pause_s=30)
    longest = [pause(failures, None, patience, 1.0) for failures in range(1, 10)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 30, 30, None]
    assert pause(5, None, patience, 0.0) == 0
    assert pause(1, 20.0, patience, 0.5) == 20.25
    assert pause(1, 121.0, patience, 0.5) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert retry_after(text, datetime(2026, 11, 1, 12, tzinfo=UTC)) == seconds
