"""The files of the cache: whole contents, each by its sha256, and the names under which they are looked for.

    cache/
      public/  owner-<hash>/        what is private to one owner lies apart, and is never seen by another
          blobs/<sha256>            a content
          names/<hash of a name>    what was found under that name when it was last asked for
      tmp/                          contents on their way in, and on their way out

The tree is the only truth: what is known of it is read from it at the start. A name is written when its content
is safe on the disk, so that after a power cut no name leads to half a content; a content without a name is of an
agent that died in between, and is removed. `open` and `seal` wait for the disk and belong in a thread; everything
else belongs to the event loop's thread alone.
"""

import ctypes
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from horde_executor import tree
from horde_executor.fetch import Version
from horde_executor.removal import remove_tree

PUBLIC = "public"

log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Name:
    """Under what a content is looked for: whose it is (`PUBLIC`, or an owner), and what tells it from others."""

    scope: str
    text: str

    @property
    def directory(self) -> str:
        """The directory of its scope."""
        return PUBLIC if self.scope == PUBLIC else f"owner-{_hash(self.scope)[:32]}"


@dataclass(eq=False, slots=True)
class Blob:
    """A content on the disk. `holds` counts who is about to use `path`; who has linked it needs it no more.

    One that is not `kept` is of no use to anybody who does not hold it.
    """

    path: Path
    size: int
    mtime_ns: int
    kept: bool
    holds: int = 0
    names: set[Path] = field(default_factory=set[Path])

    @property
    def is_sound(self) -> bool:
        """Whether nobody changed it since it came."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)

    @property
    def is_in_use(self) -> bool:
        """Whether its room would not come back if it went: it is held, or lies in the tree of a job."""
        try:
            return self.holds > 0 or self.path.stat().st_nlink > 1
        except FileNotFoundError:
            return False


@dataclass(frozen=True, slots=True)
class Entry:
    """What was found under a name: the content, and as which version of what the server gave it."""

    blob: Blob
    version: Version | None


class Shelf:
    """All contents and names of one directory, which belongs to one process. `size` is in bytes."""

    def __init__(self, root: Path) -> None:
        self.size = 0
        self.tmp = root / "tmp"
        self._root = root
        self._entries: dict[Path, Entry] = {}
        self._blobs: dict[Path, Blob] = {}  # in the order of their last use, the oldest first
        self._unsealed: list[tuple[Path, Entry]] = []

    @classmethod
    def open(cls, root: Path) -> Self:
        """Read the tree and remove what a dead agent left half done; blocking.

        Raises:
            OSError: the directory cannot be used.
            WorkspaceError: something in it cannot be removed.
        """
        shelf = cls(root)
        remove_tree(shelf.tmp)
        for directory in (root, shelf.tmp):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        for _, path in sorted((path.stat().st_mtime_ns, path) for path in root.glob("*/names/*")):
            entry = shelf._read(path)
            if entry is None:
                path.unlink()
            else:
                shelf._enter(path, entry)
        for path in root.glob("*/blobs/*"):
            if path not in shelf._blobs:
                path.unlink()
        return shelf

    def find(self, name: Name) -> Entry | None:
        """What is known under a name; this counts as a use. A content that was changed is forgotten."""
        path = self._path(name)
        entry = self._entries.get(path)
        if entry is None:
            return None
        if not entry.blob.is_sound:
            log.warning("the cached file %s is not as it was; it is fetched again", entry.blob.path)
            self._forget(entry.blob)
            return None
        self._blobs[entry.blob.path] = self._blobs.pop(entry.blob.path)
        with suppress(FileNotFoundError):  # it is not sealed yet
            os.utime(path)
        return entry

    def take_in(self, file: Path, sha256: str, name: Name | None, version: Version | None) -> Blob:
        """Make a complete file in `tmp` a content; without a name, for those alone who hold it.

        The same content under a further name in the same scope takes no further room.
        """
        file.chmod(tree.mode(executable=False))  # what its users may do with it; the directories shut others out
        status = file.stat()
        if name is None:
            whole = file.rename(file.with_name(f"{file.name}-whole"))
            return Blob(whole, status.st_size, status.st_mtime_ns, kept=False)
        place, path = self._root / name.directory / "blobs" / sha256, self._path(name)
        blob = self._blobs.get(place)
        if blob is not None and blob.is_sound:
            file.unlink()
        else:
            if blob is not None:
                self._forget(blob)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.replace(place)
            blob = Blob(place, status.st_size, status.st_mtime_ns, kept=True)
        before = self._entries.pop(path, None)
        if before is not None:  # a content that has no name left waits for its turn to go
            before.blob.names.discard(path)
        entry = Entry(blob, version)
        self._enter(path, entry)
        self._unsealed.append((path, entry))
        return blob

    def unsealed(self) -> list[tuple[Path, Entry]]:
        """What came since this was last asked, for `seal`."""
        found, self._unsealed = self._unsealed, []
        return [(path, entry) for path, entry in found if self._entries.get(path) is entry]

    def seal(self, entries: Iterable[tuple[Path, Entry]]) -> None:
        """Bring contents to the disk, then their names; blocking. What is not sealed is gone at the next start.

        Raises:
            OSError: the disk does not do it.
        """
        _sync(self._root)
        for path, entry in entries:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            draft = self.tmp / f"name-{path.parent.parent.name}-{path.name}"
            draft.write_text(_printed(entry))
            draft.replace(path)

    def spare(self) -> Iterator[Blob]:
        """Contents that may go, the one that was not used for the longest time first."""
        for blob in list(self._blobs.values()):
            if not blob.is_in_use:
                yield blob

    def drop(self, blob: Blob) -> Path | None:
        """Forget a content. What is left of it is to be unlinked, which may take long."""
        if self._blobs.get(blob.path) is blob:
            self._forget(blob)
        doomed = self.tmp / f"gone-{os.urandom(8).hex()}"
        try:
            return blob.path.rename(doomed)
        except FileNotFoundError:
            return None

    def _enter(self, path: Path, entry: Entry) -> None:
        blob = entry.blob
        self._entries[path] = entry
        blob.names.add(path)
        if self._blobs.pop(blob.path, None) is None:
            self.size += blob.size
        self._blobs[blob.path] = blob

    def _forget(self, blob: Blob) -> None:
        del self._blobs[blob.path]
        self.size -= blob.size
        for path in blob.names:
            del self._entries[path]
            path.unlink(missing_ok=True)
        blob.names.clear()

    def _read(self, path: Path) -> Entry | None:
        """The entry in a file of `names`, if it can be read and its content is there."""
        try:
            noted = json.loads(path.read_text())
            place = path.parent.parent / "blobs" / noted["blob"]
            blob = self._blobs.get(place) or Blob(place, noted["size"], noted["mtime_ns"], kept=True)
            version = Version(**noted["version"]) if noted["version"] else None
        except (ValueError, TypeError, KeyError):  # written in the moment of a power cut, or by another release
            return None
        return Entry(blob, version) if blob.is_sound else None

    def _path(self, name: Name) -> Path:
        return self._root / name.directory / "names" / _hash(name.text)


def _printed(entry: Entry) -> str:
    return json.dumps(
        {
            "blob": entry.blob.path.name,
            "size": entry.blob.size,
            "mtime_ns": entry.blob.mtime_ns,
            "version": asdict(entry.version) if entry.version else None,
        }
    )


def _sync(directory: Path) -> None:
    """Bring everything of a file system to its disk: for many files this is one wait instead of many."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(directory))
    finally:
        os.close(handle)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
