"""What a job left in its artifacts directory, read after its container is gone.

Only regular files with a single link are taken; whatever else is there is listed with the reason, never
dropped silently. Names are those of `horde_core.paths`, so that every client can ask for what is listed.
"""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from horde_core import paths
from horde_core.wire.executor import LeftOut
from horde_executor.beneath import open_beneath, open_root
from horde_executor.room import readable
from horde_executor.workspace import Place

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_HANDLE = os.O_PATH | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
_ONLY_FILES = "; only plain files are taken"


@dataclass(frozen=True, slots=True)
class Caps:
    """The operator's limits. `listed` bounds what is told of things left out."""

    count: int = 100_000
    size: int = 10 * 1024**3
    listed: int = 1000


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file to deliver: `path` is the full path inside the container, `size` is in bytes."""

    path: str
    size: int
    root: Path = field(repr=False)
    below: str = field(repr=False)

    @contextmanager
    def open(self) -> Generator[int, None, None]:
        """A descriptor to read it from.

        Raises:
            OSError: it is not the file any more that was collected.
        """
        root = open_root(self.root)
        try:
            file = open_beneath(root, self.below, _READ)
        finally:
            os.close(root)
        try:
            found = os.fstat(file)
            if why_not(found) is not None or found.st_size != self.size:
                raise OSError(f"{self.path} changed after it was collected")
            yield file
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class Collected:
    """All that was found: sorted by path."""

    artifacts: tuple[Artifact, ...]
    left_out: tuple[LeftOut, ...]


def collect(place: Place, artifacts_dir: str, caps: Caps | None = None) -> Collected:
    """Find the artifacts of a job whose container is gone; blocking.

    Args:
        place: where the artifacts directory is on the host. A missing directory is an empty one.
        artifacts_dir: its path inside the container, in normal form.
        caps: the operator's limits; files are taken in order of their paths while they fit.

    Raises:
        WorkspaceError: this kernel cannot guard the reading.
    """
    root = open_root(place.root)
    try:
        walk = _Walk(root, place, artifacts_dir, caps or Caps())
        walk.run()
    finally:
        os.close(root)
    return Collected(tuple(walk.artifacts), walk.summary())


def why_not(found: os.stat_result) -> str | None:
    """Why something is no artifact; None when it is one."""
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        return _KINDS.get(kind, "a special file") + _ONLY_FILES
    if found.st_nlink != 1:
        return "a hard link (the file has several names); copy it instead"
    return None


def _unreadable(handle: int) -> str | None:
    """Why a plain file cannot be read, where the executor is not root."""
    try:
        os.close(os.open(f"/proc/self/fd/{handle}", _READ | os.O_CLOEXEC))
    except OSError as error:
        return f"cannot be read by the executor ({error.strerror}); make it readable for everybody"
    return None


class _Walk:
    """One walk through the tree, depth first, in order of names."""

    def __init__(self, root: int, place: Place, artifacts_dir: str, caps: Caps) -> None:
        self.artifacts: list[Artifact] = []
        self._left_out: list[LeftOut] = []
        self._not_listed = 0
        self._root = root
        self._place = place
        self._artifacts_dir = artifacts_dir
        self._caps = caps
        self._seen = 0
        self._size = 0

    def run(self) -> None:
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            directories = [path for name in self._names(inside) if (path := self._visit(inside, name)) is not None]
            waiting.extend(reversed(directories))
        self.artifacts.sort(key=lambda artifact: artifact.path)

    def summary(self) -> tuple[LeftOut, ...]:
        if not self._not_listed:
            return tuple(self._left_out)
        more = LeftOut(
            path=self._artifacts_dir, why=f"{self._not_listed} more were left out, for reasons like these"
        )
        return (*self._left_out, more)

    def _names(self, inside: str) -> list[str]:
        """The sorted names in a directory, no more of them than may be looked at."""
        below = self._below(inside)
        try:
            directory = open_beneath(self._root, below, _DIRECTORY)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._leave(inside, None, f"no directory that can be read ({error.strerror})")
            return []
        try:
            with os.scandir(directory) as entries:
                room = self._caps.count - self._seen
                names = [entry.name for entry in islice(entries, max(0, room) + 1)]
        finally:
            os.close(directory)
        if len(names) > room:
            self._leave(inside, None, f"holds more than the {self._caps.count} files and directories allowed")
            names = names[: max(0, room)]
        self._seen += len(names)
        return sorted(names)

    def _visit(self, inside: str, name: str) -> str | None:
        """Judge one entry. The path is returned when it is a directory to look into."""
        path = f"{inside}/{name}" if inside else name
        try:
            paths.components(self._full(path)[1:])
        except ValueError as error:
            self._leave(path, None, f"a name that cannot be delivered: {error}")
            return None
        try:
            handle = open_beneath(self._root, self._below(path), _HANDLE)
        except OSError as error:
            self._leave(path, None, f"cannot be read ({error.strerror})")
            return None
        try:
            found = os.fstat(handle)
            if stat.S_ISDIR(found.st_mode):
                return path
            self._judge_file(path, found, why_not(found) or _unreadable(handle))
        finally:
            os.close(handle)
        return None

    def _judge_file(self, path: str, found: os.stat_result, why: str | None) -> None:
        if why is None and self._size + found.st_size > self._caps.size:
            why = f"over the limit of {readable(self._caps.size)} for all artifacts; use an output volume instead"
        if why is not None:
            self._leave(path, found.st_size, why)
            return
        self._size += found.st_size
        self.artifacts.append(Artifact(self._full(path), found.st_size, self._place.root, self._below(path)))

    def _below(self, path: str) -> str:
        return "/".join((*self._place.below, path) if path else self._place.below) or "."

    def _full(self, path: str) -> str:
        return f"{self._artifacts_dir}/{path}" if path else self._artifacts_dir

    def _leave(self, path: str, size: int | None, why: str) -> None:
        if len(self._left_out) >= self._caps.listed:
            self._not_listed += 1
            return
        shown = os.fsencode(self._full(path)).decode(errors="backslashreplace")
        self._left_out.append(LeftOut(path=shown, size=size, why=why))
