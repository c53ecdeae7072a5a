"""Servers that take uploads: nginx, S3, and one that misbehaves as it is told."""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import boto3
import botocore
import pytest
from botocore.config import Config

from servers import S3, Nginx, nginx, seaweed


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with nginx(tmp_path_factory.mktemp("nginx")) as served:
        yield served


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3, object]]:
    """A bucket that takes files, and boto3's client for it."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as served:
        client = boto3.client(
            "s3",
            endpoint_url=served.url,
            aws_access_key_id=served.key,
            aws_secret_access_key=served.secret,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
        )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                client.create_bucket(Bucket=served.bucket)
                client.put_object(Bucket=served.bucket, Key="ready", Body=b"ready")
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield served, client


@dataclass
class Asked:
    """A request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Answer = Callable[[socket.socket, Asked, int], None]


def reply(connection: socket.socket, status: str, *lines: str, body: bytes = b"") -> None:
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *lines, "", ""))
    connection.sendall(head.encode("latin-1") + body)


def take(connection: socket.socket, asked: Asked, size: int | None = None) -> None:
    """Read the body of a request, or its beginning."""
    if asked.header("expect") and not asked.body:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    wanted = int(asked.header("content-length")) if size is None else size
    while len(asked.body) < wanted:
        piece = connection.recv(min(65536, wanted - len(asked.body)))
        if not piece:
            return
        asked.body += piece


def cut_off(connection: socket.socket) -> None:
    """Break a connection as a crash does: with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@dataclass
class Taker:
    """Answers each path by its own script; what is not scripted is taken with 200."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    released: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        text = b""
        while b"\r\n\r\n" not in text:
            piece = connection.recv(1)
            if not piece:
                return
            text += piece
        line, *lines = text.decode("utf-8").strip().split("\r\n")
        asked = Asked(line, [tuple(each.split(":", 1)) for each in lines])  # type: ignore[misc]
        asked.headers = [(name, value.strip()) for name, value in asked.headers]
        self.asked.append(asked)
        self.arrived.release()
        path = line.split(" ")[1].split("?")[0]
        count = sum(each.line.split(" ")[1].split("?")[0] == path for each in self.asked)
        self.answers.get(path, accept)(connection, asked, count)


def accept(connection: socket.socket, asked: Asked, _count: int = 0) -> None:
    take(connection, asked)
    reply(connection, "200 OK")


@pytest.fixture
def taker() -> Iterator[Taker]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                served.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        served = Taker(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            served.released.set()
            server.shutdown()
            thread.join()
