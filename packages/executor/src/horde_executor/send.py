"""Upload of one open file to one URL, begun anew from its first byte where that can help.

Presigned requests decide the rules: exactly the headers that were signed, a length, no redirects. A server that
refuses is heard before the file is sent, where it can be (`Expect: 100-continue`).
"""

import asyncio
import fcntl
import os
import random
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

import pycurl

from horde_core.outcomes import Reason, Stage
from horde_core.uploads import MOUNT, AnyUpload, SingleFilePost
from horde_core.wire.executor import ANSWER_BODY, UploadAnswer
from horde_executor import answers, threads
from horde_executor.content import Content, form
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.hop import Broken, Exchange, Head, Line, Refused
from horde_executor.patience import Patience, pause, retry_after
from horde_executor.presigned import expiry, secrets_of
from horde_executor.urls import Target

PATIENCE = Patience(stall_s=60, tries=6)
"""A server may take its time to store a large file after the last byte."""

_UNHEARD = 64 * 1024  # a file so small is sent without asking first
_BUFFER = 1024 * 1024
_PROGRESS_S = 0.2


@dataclass(frozen=True, slots=True)
class Sending:
    """What came of an upload: the server's last answer, if there was one, and why it failed, if it did."""

    answer: UploadAnswer | None
    problem: str | None = None


async def send(
    upload: AnyUpload,
    file: int,
    size: int,
    *,
    egress: Egress,
    patience: Patience = PATIENCE,
    progress: Callable[[int], None] | None = None,
) -> Sending:
    """Send the `size` bytes of an open file as the upload says.

    Args:
        upload: where to and how.
        file: a descriptor that can be read at any position; its own position is left alone.
        size: the bytes to send.
        egress: the addresses that may be reached.
        patience: waiting and retrying.
        progress: called in the event loop, about five times a second, with the bytes of the present try.

    Raises:
        JobFailure: `executor_error`, when this machine is to blame.
    """
    loop = asyncio.get_running_loop()

    def report(done: int) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, done)

    try:
        target = Target.parse(upload.url)
    except ValueError as error:
        return Sending(None, f"{name_of(upload)} cannot be sent: {error}")
    work = _Work(_Request.of(upload, target, file, size), Line(egress, patience), patience, report)
    return await threads.run(work.run, name=f"send {name_of(upload)}", afterwards=work.line.close)


def name_of(upload: AnyUpload) -> str:
    """The path of an output inside the container: its name in messages."""
    return f"{MOUNT}/{upload.relative_path}"


@dataclass(frozen=True, slots=True)
class _Request:
    """All that is sent, and what is known of it."""

    upload: AnyUpload
    target: Target
    method: str
    headers: tuple[bytes, ...]
    content: Content
    file_size: int
    expiry: datetime | None
    secrets: frozenset[str]

    @classmethod
    def of(cls, upload: AnyUpload, target: Target, file: int, size: int) -> Self:
        headers, fields = dict(upload.signed_headers or {}), dict[str, str]()
        if isinstance(upload, SingleFilePost):
            method, fields = "POST", dict(upload.form_fields or {})
            headers["Content-Type"], content = form(fields, upload.relative_path.rpartition("/")[2], file, size)
        else:
            method, content = "PUT", Content(file, size)
        return cls(
            upload=upload,
            target=target,
            method=method,
            headers=tuple(_header(name, value) for name, value in headers.items()),
            content=content,
            file_size=size,
            expiry=expiry(target.query, fields),
            secrets=secrets_of(target.query, upload.signed_headers or {}, fields),
        )


def _header(name: str, value: str) -> bytes:
    """A line for libcurl, which takes "Name:" for the wish to send no such header."""
    return (f"{name}: {value}" if value.strip() else f"{name};").encode()


class _Put(Exchange):
    """A request with a body of our own."""

    stage = Stage.UPLOAD

    def __init__(self, request: _Request, egress: Egress) -> None:
        super().__init__(request.target, egress)
        self.body = b""
        self._method = request.method
        self._content = request.content

    def set_up(self, curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.UPLOAD, 1)
        curl.setopt(pycurl.CUSTOMREQUEST, self._method)
        curl.setopt(pycurl.INFILESIZE_LARGE, self._content.size)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.FRESH_CONNECT, 1)  # so that the connection is one of `sockets`
        curl.setopt(pycurl.READFUNCTION, self._read)
        curl.setopt(pycurl.SEEKFUNCTION, self._seek)

    def take(self, data: bytes) -> None:
        self.body += data[: ANSWER_BODY - len(self.body)]
        self.cut = len(self.body) == ANSWER_BODY

    @property
    def is_answered(self) -> bool:
        # A server that refuses may hang up while the file is still being sent.
        return self.cut or (self.head.complete and self.head.status >= HTTPStatus.MULTIPLE_CHOICES)

    @property
    def is_taken(self) -> bool:
        """Whether the server has taken the file."""
        return HTTPStatus.OK <= self.head.status < HTTPStatus.MULTIPLE_CHOICES

    def slowness(self, seconds: float) -> str:
        what = "the server took no more data" if not self._content.is_complete else "no answer came"
        return f"{what} for {seconds:g} s"

    def moved(self) -> object:
        # On a slow line what libcurl has read lies in the kernel for minutes; there it shrinks as it is received.
        return self._content.at, sum(_unacknowledged(opened) for opened in self.sockets)

    def _read(self, count: int) -> bytes | int:
        try:
            return self._content.read(count)
        except OSError as error:
            self.error = JobFailure(
                Stage.UPLOAD, Reason.EXECUTOR_ERROR, f"the executor cannot read an output: {error}"
            )
            return pycurl.READFUNC_ABORT

    def _seek(self, place: int, origin: int) -> int:
        if origin != os.SEEK_SET:
            return pycurl.SEEKFUNC_FAIL
        self._content.seek(place)
        return pycurl.SEEKFUNC_OK


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the other side has not received yet (tcp(7), SIOCOUTQ)."""
    try:
        return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # not connected yet, or not any more
        return 0


class _Work:
    """The loop of tries, in its own thread."""

    def __init__(self, request: _Request, line: Line, patience: Patience, report: Callable[[int], None]) -> None:
        self.line = line
        self._request = request
        self._patience = patience
        self._report = report
        self._reported_at = 0.0
        self._asks_first = request.content.size > _UNHEARD
        self._answer: UploadAnswer | None = None

    def run(self, stop: threading.Event) -> Sending:
        failures = 0
        while True:
            result, asked = self._try(stop)
            if isinstance(result, Sending):
                return result
            failures += 1
            wait = pause(failures, asked, self._patience, random.random())  # noqa: S311 - spreads load only
            if wait is None:
                return self._failed(
                    f"could not be sent to {self._request.target.shown}: {result.why}, {failures} times. Check"
                    " that the server is up and can be reached from the internet, then run the job again."
                )
            stop.wait(wait)
            threads.check(stop)

    def _try(self, stop: threading.Event) -> tuple[Sending | Broken, float | None]:
        """One request: what came of it, or what broke and the pause that the server asked for."""
        request = self._request
        request.content.seek(0)
        exchange = _Put(request, self.line.egress)
        expect = b"Expect: 100-continue" if self._asks_first else b"Expect:"
        heard = self.line.run(exchange, [*request.headers, expect], stop, self._tick)
        if isinstance(heard, Broken):
            return heard, None
        if isinstance(heard, Refused):
            return self._failed(f"cannot be sent to {request.target.shown}: {heard.why}"), None
        self._answer = answers.kept(request.upload.relative_path, heard, exchange.body, request.secrets)
        if exchange.is_taken and request.content.is_complete:
            self._report(request.file_size)
            return Sending(self._answer), None
        asked = retry_after(heard.headers.get("retry-after", ""), datetime.now(UTC))
        return self._judge(heard, exchange), asked

    def _judge(self, head: Head, exchange: _Put) -> Sending | Broken:
        request, code = self._request, answers.s3_code(exchange.body)
        said = f"{head} ({code})" if code else str(head)
        if exchange.is_taken:
            return Broken(f"the server answered {said} before it had the whole file")
        if head.status == HTTPStatus.EXPECTATION_FAILED and self._asks_first:
            self._asks_first = False
            return Broken("the server takes no question before the file")
        if answers.is_passing(head, code):
            return Broken(f"the server answered {said}")
        hint = answers.advice(
            head.status, code, method=request.method, size=request.file_size, expiry=request.expiry
        )
        return self._failed(f"was refused by {request.target.shown}: {said}. {hint}")

    def _failed(self, why: str) -> Sending:
        return Sending(self._answer, f"{name_of(self._request.upload)} {why}")

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_S:
            self._reported_at = now
            self._report(self._request.content.file_bytes)
