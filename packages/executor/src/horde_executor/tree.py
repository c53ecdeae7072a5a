"""Files and directories below a directory descriptor, made so that nothing can lead outside.

Every step goes through a descriptor and follows no symlink. What is made can be read and written by any user
of the container, whatever the agent's umask: files 0666 (0777 when executable), directories 0777.
"""

import errno
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from horde_core.outcomes import Reason, Stage
from horde_executor.errors import JobFailure

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CLASH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)


@contextmanager
def directory(root: int, parts: Sequence[str]) -> Generator[int, None, None]:
    """A descriptor of the directory `parts` below `root`; what is missing is made.

    Raises:
        OSError: a part is no directory, or cannot be made.
    """
    current = os.dup(root)
    try:
        for part in parts:
            try:
                os.mkdir(part, 0o777, dir_fd=current)
                made = True
            except FileExistsError:
                made = False
            inner = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
            if made:
                os.fchmod(current, 0o777)
        yield current
    finally:
        os.close(current)


@contextmanager
def new_file(directory: int, name: str, *, executable: bool = False) -> Generator[int, None, None]:
    """A descriptor of a new, empty file, which replaces an older file of that name.

    Raises:
        OSError: a directory has that name, or the file cannot be made.
    """
    remove_file(directory, name)
    made = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        os.fchmod(made, mode(executable=executable))
        yield made
    finally:
        os.close(made)


def move_in(source: Path, directory: int, name: str) -> None:
    """Move a file of ours, on the same file system, to `name`; it replaces an older file of that name.

    Raises:
        OSError: a directory has that name.
    """
    source.chmod(mode(executable=False))
    os.rename(source, name, dst_dir_fd=directory)


def remove_file(directory: int, name: str) -> None:
    """Remove a file if there is one.

    Raises:
        OSError: a directory has that name.
    """
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def mode(*, executable: bool) -> int:
    """The mode of an input file."""
    return 0o777 if executable else 0o666


def write_all(file: int, data: bytes | memoryview) -> None:
    """Write everything, however small the kernel's bites are."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def disk_failure(name: str, error: OSError) -> JobFailure:
    """What an error while the volume `name` was written means: the user's names clash, or our disk failed."""
    if error.errno in _CLASH:
        return JobFailure(
            Stage.DOWNLOAD,
            Reason.DOWNLOAD_FAILED,
            f"{name} cannot be placed: a file and a directory would have the same name. Another volume, or the"
            " artifacts directory, put the one there already; give them different paths.",
        )
    if error.errno == errno.ENAMETOOLONG:
        return JobFailure(
            Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED, f"{name} holds a name that is too long for a file"
        )
    what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"failed ({error.strerror})"
    return JobFailure(
        Stage.DOWNLOAD, Reason.EXECUTOR_ERROR, f"the executor's disk {what} while {name} was written there"
    )
