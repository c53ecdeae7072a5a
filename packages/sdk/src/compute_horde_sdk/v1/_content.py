"""Bytes for a job that are too many for memory: in files, with their size and hash, and packed as archives."""

import hashlib
import io
import os
import stat
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Self, cast

from pydantic import JsonValue

INLINE_BYTES = 4 * 1024**2
"""Content up to this size travels inside the job; a larger one is uploaded before it."""
PIECE = 1024**2

# A fixed time (the earliest that zip knows) makes equal content equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_LARGE_FILES = "/var/tmp"  # noqa: S108 - as tempfile does, it is given names that nobody can guess


@dataclass(frozen=True)
class Content:
    """Bytes that can be read from any place on, by several threads. Equal bytes are equal contents.

    `unpack`: they are a zip archive, which becomes the content of a directory.
    """

    size: int
    sha256: str
    unpack: bool
    file: BinaryIO = field(compare=False, repr=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @classmethod
    def of_bytes(cls, data: bytes, *, unpack: bool) -> Self:
        """What is in memory already."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), unpack, io.BytesIO(data))

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """A file as it is now; it is read again when it is uploaded.

        Raises:
            OSError: it cannot be read.
        """
        # Without a buffer, which would show bytes that are not in the file any more.
        file, digest, size = path.open("rb", buffering=0), hashlib.sha256(), 0
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
        return cls(size, digest.hexdigest(), False, cast(BinaryIO, file))

    def __post_init__(self) -> None:
        weakref.finalize(self, self.file.close)

    def __deepcopy__(self, _: object) -> Self:
        return self

    def read(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on, or fewer at the end."""
        with self._reading:
            self.file.seek(start)
            pieces = [self.file.read(length)]
            while pieces[-1] and (rest := length - sum(map(len, pieces))):
                pieces.append(self.file.read(rest))
        return b"".join(pieces)

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume that names this content, which has to be uploaded before the job."""
        return {
            "volume_type": "blob",
            "sha256": self.sha256,
            "size": self.size,
            "relative_path": relative_path,
            "unpack": self.unpack,
        }


class Archive:
    """A zip archive in the making: in memory while it is small, then in a temporary file without a name.

    An error in its context throws it away.
    """

    def __init__(self, compress: bool) -> None:
        self._method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        file = tempfile.SpooledTemporaryFile(INLINE_BYTES, dir=_directory_for_large_files())  # noqa: SIM115 - it stays open
        self._stream = _Hashed(file)
        self._zip = zipfile.ZipFile(cast(IO[bytes], self._stream), "w")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self._zip.close()
            self._stream.file.close()

    def add(self, name: str, contents: bytes, mode: int = 0o644) -> None:
        """A file with these bytes."""
        self._zip.writestr(self._member(name, mode), contents)

    def add_file(self, name: str, source: Path) -> None:
        """A local file, read piece by piece.

        Raises:
            OSError: it cannot be read, or there is no room for the archive.
        """
        with source.open("rb") as file:
            found = os.fstat(file.fileno())
            member = self._member(name, found.st_mode)
            member.file_size = found.st_size  # whether the member needs the form for large ones is decided by it
            with self._zip.open(member, "w") as packed:
                while piece := file.read(PIECE):
                    packed.write(piece)

    def add_directory(self, name: str) -> None:
        """An empty directory."""
        member = zipfile.ZipInfo(f"{name}/", _ZIP_TIME)
        member.external_attr = (stat.S_IFDIR | 0o755) << 16
        self._zip.writestr(member, b"")

    def finish(self) -> Content:
        """All is in it."""
        self._zip.close()
        return Content(self._stream.size, self._stream.digest.hexdigest(), True, cast(BinaryIO, self._stream.file))

    def _member(self, name: str, mode: int) -> zipfile.ZipInfo:
        member = zipfile.ZipInfo(name, _ZIP_TIME)
        member.external_attr = (stat.S_IFREG | stat.S_IMODE(mode)) << 16
        member.compress_type = self._method
        return member


class _Hashed:
    """What an archive is written to. It cannot seek, so nothing changes behind the hash."""

    def __init__(self, file: "tempfile.SpooledTemporaryFile[bytes]") -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """What is below a directory, in a stable order, each with its name relative to the directory.

    Raises:
        ValueError: there is something that is neither file nor directory, or a link to a directory.
        OSError: something cannot be read.
    """
    for directory, inner, files in os.walk(root, onerror=_raise):
        inner.sort()
        for name in sorted([*inner, *files]):
            source = Path(directory, name)
            if name in inner and source.is_symlink():
                raise ValueError(f"{source} is a link to a directory; name that directory as a volume of its own")
            if name in files and not source.is_file():
                raise ValueError(f"{source} is neither a file nor a directory")
            yield source.relative_to(root).as_posix(), source


def _raise(error: OSError) -> None:
    raise error


def _directory_for_large_files() -> str | None:
    """Where temporary files of gigabytes belong: /tmp is in memory on many machines."""
    usable = "TMPDIR" not in os.environ and os.access(_LARGE_FILES, os.W_OK)
    return _LARGE_FILES if usable else None
