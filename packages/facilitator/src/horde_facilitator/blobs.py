"""Where logs and artifacts lie: the port and its keys (`directory` implements it).

Keys are relative paths made by the functions here, of job ids, numbers and hashes alone: no name that a job or a
user chose ever becomes the name of a file.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


def attempt_prefix(job: str, attempt: int) -> str:
    """What the keys of all blobs of an attempt begin with."""
    return f"{job}/{attempt}/"


def log_key(job: str, attempt: int, stream: str) -> str:
    """The key of a log stream."""
    return f"{job}/{attempt}/{stream}"


def artifact_key(job: str, attempt: int, sha256: str) -> str:
    """The key of an artifact's bytes. Two artifacts with the same bytes share one blob."""
    return f"{job}/{attempt}/artifacts/{sha256}"


def input_prefix(blob: str) -> str:
    """What the key of an input blob begins with; `blob` is its id, not its hash, so that a new one is another."""
    return f"inputs/{blob}/"


def input_key(blob: str) -> str:
    """The key of an input blob."""
    return f"{input_prefix(blob)}content"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored: bytes and their hash."""

    size: int
    sha256: str


class Incoming(Protocol):
    """A blob that is being received; it exists under its key only after `keep`."""

    async def add(self, data: bytes) -> int:
        """Take further bytes; returns how many there are."""
        ...

    async def finish(self) -> Stored:
        """All bytes are there and on disk."""
        ...

    async def keep(self, key: str) -> None:
        """Make the finished blob visible under its key, at once and whole; replaces an equal one."""
        ...


class Blobs(Protocol):
    """A store of bytes.

    What was acknowledged is on disk. A blob that was put is complete or absent. A log only grows; appends to one
    key are serialised, and repeating one changes nothing. Deleting may be repeated and finds nothing the second
    time. Every method may raise StoreError.
    """

    def receive(self) -> AbstractAsyncContextManager[Incoming]:
        """Begin a blob whose key is not known yet; what is not kept is removed at the end of the context."""
        ...

    async def append(self, key: str, offset: int, data: bytes, *, sync: bool = True) -> int:
        """Append those of the bytes that lie beyond the end of the log; returns its size.

        Bytes that the log has already are skipped. When `offset` lies beyond the end nothing is written, and
        the size returned is smaller than `offset`. Without `sync` they are on disk only after `sync`.
        """
        ...

    async def sync(self, key: str) -> None:
        """All that was appended to a log, if there is one, is on disk."""
        ...

    async def size(self, key: str) -> int | None:
        """The size of a blob in bytes; None when there is none."""
        ...

    def read(self, key: str, start: int, stop: int, piece: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces of exactly `piece` bytes but the last."""
        ...

    async def delete(self, prefix: str) -> None:
        """Remove every blob whose key begins with the prefix, which ends with a slash."""
        ...
