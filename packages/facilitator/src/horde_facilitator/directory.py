"""Blobs in a directory of this machine. File work runs in threads of its own, and is synced before it counts."""

import asyncio
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from horde_facilitator.blobs import Incoming, Stored
from horde_facilitator.errors import StoreError

T = TypeVar("T")

THREADS = 4
STRIPES = 64
BUFFER = 1024**2


class _Incoming:
    def __init__(self, store: "DirectoryBlobs", path: Path) -> None:
        self._store = store
        self._path = path
        self._file = path.open("xb", buffering=BUFFER)
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._unwritten = 0
        self._size = 0

    async def add(self, data: bytes) -> int:
        self._waiting.append(data)
        self._unwritten += len(data)
        self._size += len(data)
        if self._unwritten >= BUFFER:
            await self._store.do(self._write)
        return self._size

    async def finish(self) -> Stored:
        await self._store.do(self._sync)
        return Stored(self._size, self._hash.hexdigest())

    async def keep(self, key: str) -> None:
        await self._store.do(lambda: self._store.place(self._path, key))

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        data = b"".join(self._waiting)
        self._waiting, self._unwritten = [], 0
        self._hash.update(data)
        self._file.write(data)

    def _sync(self) -> None:
        self._write()
        self._file.flush()
        os.fsync(self._file.fileno())


class DirectoryBlobs:
    """Implements `blobs.Blobs` below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._threads = ThreadPoolExecutor(THREADS, "blobs")
        self._stripes = [threading.Lock() for _ in range(STRIPES)]

    @classmethod
    @asynccontextmanager
    async def opened(cls, root: Path) -> AsyncGenerator["DirectoryBlobs"]:
        """Use the directory while the context lasts; what an earlier run left half received is removed."""
        store = cls(root)
        shutil.rmtree(store._incoming, ignore_errors=True)
        store._incoming.mkdir(parents=True, mode=0o700)
        try:
            yield store
        finally:
            store._threads.shutdown()

    async def do(self, work: Callable[[], T]) -> T:
        """Run file work in a thread of the store."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise StoreError(f"the blobs cannot be used: {error}") from error

    @asynccontextmanager
    async def receive(self) -> AsyncGenerator[Incoming]:
        """Begin a blob whose key is not known yet."""
        incoming = await self.do(lambda: _Incoming(self, self._incoming / uuid.uuid4().hex))
        try:
            yield incoming
        finally:
            await asyncio.shield(self.do(incoming.discard))

    async def append(self, key: str, offset: int, data: bytes, *, sync: bool = True) -> int:
        """Append what the log has not yet."""
        return await self.do(lambda: self._append(self._root / key, offset, data, sync=sync))

    async def sync(self, key: str) -> None:
        """Bring all of a log to disk."""
        await self.do(lambda: _sync_file(self._root / key))

    async def size(self, key: str) -> int | None:
        """The size of a blob."""
        return await self.do(lambda: _size(self._root / key))

    async def read(self, key: str, start: int, stop: int, piece: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`."""
        path = self._root / key
        for at in range(start, stop, piece):
            yield await self.do(lambda at=at: _read(path, at, min(piece, stop - at)))

    async def delete(self, prefix: str) -> None:
        """Remove every blob below the prefix."""
        await self.do(lambda: self._delete(self._root / prefix))

    def place(self, source: Path, key: str) -> None:
        """Give a finished file its name."""
        target = self._root / key
        _make_directory(target.parent)
        source.replace(target)
        _sync_directory(target.parent)

    def _append(self, path: Path, offset: int, data: bytes, *, sync: bool) -> int:
        with self._locked(path):
            size = _size(path)
            known = size or 0
            new = data[known - offset :] if offset <= known else b""
            if not new:
                return known
            if size is None:
                _make_directory(path.parent)
            with path.open("ab") as file:
                file.write(new)
                file.flush()
                if sync:
                    os.fdatasync(file.fileno())
            if size is None:
                _sync_directory(path.parent)
            return known + len(new)

    def _delete(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()  # the job's own directory, if this was the last of its attempts

    @contextmanager
    def _locked(self, path: Path) -> Generator[None]:
        with self._stripes[hash(path) % STRIPES]:
            yield


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        data = os.pread(file.fileno(), length, start)
    if len(data) != length:
        raise OSError(f"{path.name} ends before byte {start + length}")
    return data


def _make_directory(path: Path) -> None:
    """Make a directory and its parents, each synced into the one above."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True, mode=0o700)
    _sync_directory(path.parent)


def _sync_file(path: Path) -> None:
    with suppress(FileNotFoundError), path.open("ab") as file:
        os.fdatasync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
