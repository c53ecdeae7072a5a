"""Removal of a tree that a job had in its hands.

It may hold any mode bits, foreign owners, names of any bytes, directories thousands deep, and links that lead
elsewhere. So: by descriptors, following nothing, without recursion. A directory that is not empty is moved up
to the top and emptied there; however deep the tree, three descriptors are open at a time.
"""

import array
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from horde_executor.errors import WorkspaceError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC

# linux/fs.h: requests for a file's attributes, and those that forbid its removal (immutable, append only).
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FROZEN = 0x10 | 0x20

_SHOWN = 5  # problems that a message names


def remove_tree(path: Path) -> None:
    """Remove a directory and all that is in it; one that is not there is fine; blocking.

    Raises:
        WorkspaceError: something could not be removed; everything else was.
    """
    try:
        parent = os.open(path.parent, _DIRECTORY)
    except FileNotFoundError:
        return
    removal = _Removal()
    try:
        removal.remove(parent, path.name)
    finally:
        os.close(parent)
    if removal.problems:
        more = len(removal.problems) - _SHOWN
        shown = "; ".join(removal.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise WorkspaceError(f"{path} could not be removed: {shown}")


class _Removal:
    """One removal and what went wrong in it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._prefix = f".{secrets.token_hex(8)}-"  # the job cannot have used these names
        self._moved = 0

    def remove(self, parent: int, name: str) -> None:
        """Empty the directory, then remove it."""
        try:
            top = _open(parent, name)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            self._delete(parent, name, is_directory=False)
            return
        try:
            waiting = self._clear(top, top)
            while waiting:
                waiting.extend(self._empty(top, waiting.pop()))
        finally:
            os.close(top)
        self._delete(parent, name, is_directory=True)

    def _empty(self, top: int, name: str) -> list[str]:
        """Remove a directory at the top; returns the names at the top of what was inside and is not empty."""
        try:
            directory = _open(top, name)
        except OSError as error:
            self._note(name, error)
            return []
        try:
            lifted = self._clear(directory, top)
        finally:
            os.close(directory)
        self._delete(top, name, is_directory=True)
        return lifted

    def _clear(self, directory: int, top: int) -> list[str]:
        """Remove all entries; directories that are not empty are moved to the top, their names there returned."""
        kept: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    self._delete(directory, entry.name, is_directory=False)
                    continue
                try:
                    os.rmdir(entry.name, dir_fd=directory)
                except OSError:
                    kept.append(entry.name)
        lifted = [self._lift(directory, name, top) for name in kept]
        return [name for name in lifted if name is not None]

    def _lift(self, directory: int, name: str, top: int) -> str | None:
        """Move a directory to the top; its name there. A mount cannot be moved, so none is ever emptied."""
        self._moved += 1
        target = f"{self._prefix}{self._moved}"
        try:
            os.close(_open(directory, name))  # makes it ours to move
            _insist(directory, name, lambda: os.rename(name, target, src_dir_fd=directory, dst_dir_fd=top))
        except OSError as error:
            self._note(name, error)
            return None
        return target

    def _delete(self, directory: int, name: str, *, is_directory: bool) -> None:
        remove = os.rmdir if is_directory else os.unlink
        try:
            _insist(directory, name, lambda: remove(name, dir_fd=directory))
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(name, error)

    def _note(self, name: str, error: OSError) -> None:
        if error.errno != errno.ENOTEMPTY or not self.problems:  # what stays in it was noted already
            self.problems.append(f"{name!r}: {error.strerror}")


def _open(parent: int, name: str) -> int:
    """A descriptor of a directory that we may then read and change, whatever its mode was."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    itself = Path(f"/proc/self/fd/{handle}")
    try:
        with suppress(OSError):  # a foreign owner: then it works without, or opening tells why not
            itself.chmod(0o700)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _insist(directory: int, name: str, action: Callable[[], None]) -> None:
    """Do it; where attributes forbid it, take those away and do it again."""
    try:
        action()
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        _thaw(directory)
        with suppress(OSError):
            kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISREG(kind) or stat.S_ISDIR(kind):  # opening a device would do something
                entry = os.open(name, _ANY, dir_fd=directory)
                try:
                    _thaw(entry)
                finally:
                    os.close(entry)
        action()


def _thaw(file: int) -> None:
    attributes = array.array("l", [0])
    with suppress(OSError):  # a file system without attributes
        fcntl.ioctl(file, _GETFLAGS, attributes)
        if attributes[0] & _FROZEN:
            attributes[0] &= ~_FROZEN
            fcntl.ioctl(file, _SETFLAGS, attributes)
