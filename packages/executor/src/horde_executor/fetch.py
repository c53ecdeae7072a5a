"""Download of one URL into a file: resumed where it broke, hashed on the way, tried again where that can help.

Bytes are stored as the server has them (no content coding is undone). A file is resumed only when the server
named it with a strong ETag, so two versions are never mixed; and only such a name can be asked for again later,
whether it is still the one. A date of last change vouches for nothing: a file that is replaced by an older one
looks unchanged.
"""

import asyncio
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import BinaryIO

from horde_core.outcomes import Reason, Stage
from horde_executor import threads
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.hop import Broken, Head, Line, Refused
from horde_executor.patience import Patience, is_for_later, pause, retry_after
from horde_executor.room import Room
from horde_executor.tree import disk_failure
from horde_executor.urls import Target

MAX_REDIRECTS = 5
Progress = Callable[[int, int | None], None]

_REDIRECTS = (301, 302, 303, 307, 308)
_PROGRESS_S = 0.2
_PROGRESS_BYTES = 1024**2  # a try that brought less than this counts as one without progress
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Version:
    """A file as a server names it: a strong ETag, and the identity of the URL that it belongs to."""

    etag: str
    url: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete file: its size in bytes and its sha256 in hexadecimal digits.

    `version` is there if the server gave one and does not forbid to keep the file.
    """

    size: int
    sha256: str
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The server says to this request that the version which was known is still the one."""


async def fetch(
    url: str,
    file: BinaryIO,
    *,
    name: str,
    egress: Egress,
    room: Room,
    sha256: str | None = None,
    token: str | None = None,
    known: Version | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Fetched | Unchanged:
    """Download `url` into the empty, writable and seekable `file`.

    Args:
        url: an http(s) URL; its query is never shown in messages.
        file: the caller's, who closes it.
        name: the path of the volume, which every message begins with.
        egress: the addresses that may be reached, also by redirects (five at most).
        room: what the file may take; it is counted there.
        sha256: what the content must hash to.
        token: a bearer's; only the host that the URL names ever gets it, no other that it redirects to.
        known: a version that need not be sent again.
        patience: waiting and retrying.
        progress: called in the event loop, about five times a second, with bytes done and total if known.

    Raises:
        JobFailure: at the stage `download`. `download_failed`: the URL, the server's refusal, the egress rules,
            the size or the hash; `download_unreachable`: server errors and broken connections, after retries;
            `executor_error`: this machine's disk.
    """
    loop = asyncio.get_running_loop()
    patience = patience or Patience()
    try:
        target = Target.parse(url)
    except ValueError as error:
        raise _failed(name, f"cannot be fetched: {error}") from None

    def report(done: int, total: int | None) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, done, total)

    ask = _Ask(target, token, known)
    download = _Download(ask, _Part(file, name, room), egress, patience, report)
    fetched = await threads.run(download.run, name=f"fetch {name}", afterwards=download.line.close)
    if isinstance(fetched, Unchanged):
        return fetched
    if sha256 is not None and fetched.sha256 != sha256.lower():
        raise _failed(name, f"does not have the promised content: its sha256 is {fetched.sha256}, not {sha256}")
    return fetched


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked for, and what is said along."""

    start: Target
    token: str | None
    known: Version | None

    def headers(self, target: Target) -> list[str]:
        """What one hop is told beyond the part that it is to send."""
        ours = self.token is not None and target.origin == self.start.origin
        return [f"Authorization: Bearer {self.token}"] if ours else []

    def condition(self, target: Target) -> list[str]:
        """Asks one hop to send nothing if the file is the version that is known there."""
        known = self.known
        return [f"If-None-Match: {known.etag}"] if known is not None and target.identity == known.url else []


class _Mismatch(Exception):  # noqa: N818 - never leaves this module
    """The answer does not continue the part that is there; begin anew."""


class _Part:
    """The part of the file that is there, and what the server said about the whole."""

    def __init__(self, file: BinaryIO, name: str, room: Room) -> None:
        self.file = file
        self.name = name
        self.size = 0
        self.total: int | None = None
        self.etag: str | None = None
        self.may_be_kept = True
        self._room = room
        self._hash = hashlib.sha256()
        self._head: Head | None = None

    def headers(self) -> list[str]:
        """The headers that ask for the rest, begun anew where the rest cannot be asked for."""
        self._head = None
        if self.size and self.etag is None:
            self.restart()
        return [f"Range: bytes={self.size}-", f"If-Range: {self.etag}"] if self.size else []

    def consume(self, head: Head, data: bytes) -> None:
        """Append what an answer brings; called with no bytes first."""
        if self._head is not head:
            self._head = head
            self._begin(head)
        self._room.take(len(data), self.name)
        try:
            self.file.write(data)
        except OSError as error:
            raise disk_failure(self.name, error) from error
        self._hash.update(data)
        self.size += len(data)

    def finish(self, target: Target) -> Fetched | Broken:
        """Judge the file after an answer of `target` that came to its end."""
        if self.total is not None and self.size != self.total:
            missing = f"{self.size} bytes came instead of {self.total}"
            self.restart()
            return Broken(missing)
        try:
            self.file.flush()
        except OSError as error:
            raise disk_failure(self.name, error) from error
        version = Version(self.etag, target.identity) if self.etag and self.may_be_kept else None
        return Fetched(self.size, self._hash.hexdigest(), version)

    def restart(self) -> None:
        """Forget everything."""
        self._room.give(self.size)
        self.file.seek(0)
        self.file.truncate()
        self._hash = hashlib.sha256()
        self.size, self.total, self.etag = 0, None, None

    def _begin(self, head: Head) -> None:
        if head.status == HTTPStatus.PARTIAL_CONTENT:
            self._continue(head)
            return
        if self.size:
            self.restart()
        length = head.headers.get("content-length", "")
        self.total = int(length) if length.isascii() and length.isdigit() else None
        etag = head.headers.get("etag", "")
        self.etag = etag if etag.startswith('"') else None  # a weak one, W/"...", does not vouch for each byte
        control = head.headers.get("cache-control", "").lower()
        self.may_be_kept = not any(word in control for word in ("no-store", "private"))
        self._room.check(self.total or 0, self.name)

    def _continue(self, head: Head) -> None:
        there = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        if there is None or not self.size or int(there[1]) != self.size:
            raise _Mismatch
        whole = None if there[3] == "*" else int(there[3])
        if self.total is not None and whole not in (None, self.total):
            raise _Mismatch
        self.total = self.total if whole is None else whole
        if self.total is not None:
            self._room.check(self.total - self.size, self.name)


class _Download:
    """The loop of tries, in its own thread."""

    def __init__(
        self,
        ask: _Ask,
        part: _Part,
        egress: Egress,
        patience: Patience,
        report: Callable[[int, int | None], None],
    ) -> None:
        self.line = Line(egress, patience)
        self._ask = ask
        self._start = ask.start
        self._part = part
        self._patience = patience
        self._report = report
        self._reported_at = 0.0

    def run(self, stop: threading.Event) -> Fetched | Unchanged:
        failures, mark = 0, 0
        while True:
            result, asked = self._try(stop)
            if isinstance(result, Unchanged):
                return result
            if isinstance(result, Fetched):
                self._report(result.size, result.size)
                return result
            if self._part.size - mark >= _PROGRESS_BYTES:
                failures, mark = 0, self._part.size
            failures += 1
            wait = pause(failures, asked, self._patience, random.random())  # noqa: S311 - spreads load only
            if wait is None:
                raise _unreachable(self._part.name, self._start, result.why, failures)
            stop.wait(wait)
            threads.check(stop)

    def _try(self, stop: threading.Event) -> tuple[Fetched | Unchanged | Broken, float | None]:
        """One request with its redirects: the file, or what broke and the pause that the server asked for."""
        target = self._start
        for _ in range(MAX_REDIRECTS + 1):
            try:
                part = self._part.headers()
                condition = [] if part else self._ask.condition(target)
                headers = [*self._ask.headers(target), *condition, *part]
                answer = self.line.get(target, headers, self._part.consume, stop, self._tick)
                if isinstance(answer, Head) and answer.has_body:
                    return self._part.finish(target), None
                if isinstance(answer, Head) and condition and answer.status == HTTPStatus.NOT_MODIFIED:
                    return Unchanged(), None
            except _Mismatch:
                self._part.restart()
                return Broken("the server's parts of the file do not fit together"), None
            if isinstance(answer, Broken):
                return answer, None
            if isinstance(answer, Refused):
                raise _failed(self._part.name, f"cannot be fetched from {target.shown}: {answer.why}")
            location = answer.headers.get("location")
            if answer.status in _REDIRECTS and location:
                target = self._follow(target, location)
                continue
            return self._judge(target, answer), retry_after(
                answer.headers.get("retry-after", ""), datetime.now(UTC)
            )
        raise _failed(self._part.name, f"cannot be fetched: {self._start.shown} redirects too often")

    def _follow(self, target: Target, location: str) -> Target:
        try:
            return target.redirected(location.encode("latin-1"))
        except ValueError as error:
            raise _failed(
                self._part.name, f"cannot be fetched: {target.shown} redirects to a URL that is of no use: {error}"
            ) from None

    def _judge(self, target: Target, answer: Head) -> Broken:
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._part.size:
            self._part.restart()
            return Broken("the server refused to continue the file")
        if is_for_later(answer.status):
            return Broken(f"the server answered {answer}")
        raise _failed(
            self._part.name, f"cannot be fetched: {target.shown} answered {answer}. {_advice(answer.status)}"
        )

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_S:
            self._reported_at = now
            self._report(self._part.size, self._part.total)


def _advice(status: int) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "It needs a login, or its signature has expired: use a presigned URL that outlasts the queue."
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return "Check that the URL is right and that the file is still there."
    return "Check that a plain GET of this URL brings the file."


def _failed(name: str, message: str) -> JobFailure:
    return JobFailure(Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED, f"{name} {message}")


def _unreachable(name: str, target: Target, why: str, tries: int) -> JobFailure:
    return JobFailure(
        Stage.DOWNLOAD,
        Reason.DOWNLOAD_UNREACHABLE,
        f"{name} could not be fetched from {target.shown}: {why}, {tries} times. Check that the server is up and"
        " can be reached from the internet, then run the job again.",
    )
