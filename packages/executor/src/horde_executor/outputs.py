"""The files that a job listed as outputs, opened when its container is gone.

Opened once, beneath the directory and through no link: what is sent comes from the descriptor that was judged,
whatever becomes of the name.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from horde_core.uploads import AnyUpload, logs_of
from horde_core.wire.executor import Stream
from horde_executor.beneath import open_beneath, open_root
from horde_executor.collect import why_not
from horde_executor.room import readable
from horde_executor.send import name_of

MOST_HOLES = 64 * 1024**2
"""Bytes that a file may claim without having written them."""

_HANDLE = os.O_PATH | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Output:
    """An output to send: an open descriptor, and how the file was when it was opened."""

    upload: AnyUpload
    file: int
    found: os.stat_result

    @property
    def size(self) -> int:
        """Bytes to send."""
        return self.found.st_size

    @property
    def has_changed(self) -> bool:
        """Whether somebody wrote to the file after it was opened."""
        now = os.fstat(self.file)
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            self.found.st_size,
            self.found.st_mtime_ns,
            self.found.st_ctime_ns,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """The outputs that can be sent, and why each of the others cannot, both in their order."""

    outputs: tuple[Output, ...]
    problems: tuple[tuple[AnyUpload, str], ...]


class _NotSendable(Exception):  # noqa: N818 - never leaves this module
    """Why a file is not sent; the message follows its name."""


def open_outputs(
    uploads: Sequence[AnyUpload],
    root: Path,
    scratch: Path,
    copy_log: Callable[[Stream, BinaryIO], None],
    files: ExitStack,
) -> Opened:
    """Open the outputs of a job whose container is gone; blocking.

    Args:
        uploads: what is to be sent.
        root: the directory behind `/output`.
        scratch: a directory of ours, for logs that are sent as files.
        copy_log: writes a log of the job; used where one is listed that the job did not write itself.
        files: closes the descriptors.

    Raises:
        WorkspaceError: this kernel cannot guard the reading.
        OSError: the directories of ours cannot be used.
    """
    outputs: list[Output] = []
    problems: list[tuple[AnyUpload, str]] = []
    top = open_root(root)
    files.callback(os.close, top)
    for upload in uploads:
        try:
            file = _open(top, upload.relative_path)
            if file is None:
                file = _open_log(upload, scratch, copy_log)
            files.callback(os.close, file)
            outputs.append(Output(upload, file, os.fstat(file)))
        except _NotSendable as why:
            problems.append((upload, f"{name_of(upload)} {why}"))
    return Opened(tuple(outputs), tuple(problems))


def _open(top: int, path: str) -> int | None:
    """A descriptor to read a file of the job from; None if there is no such name."""
    try:
        handle = open_beneath(top, path, _HANDLE)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise _NotSendable(_unopened(error)) from error
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise _NotSendable("is a directory; an output is one file: pack it, for example with tar")
        why = why_not(found)
        if why is not None:
            raise _NotSendable(f"is {why}")
        try:
            file = os.open(f"/proc/self/fd/{handle}", _READ)
        except OSError as error:
            words = f"cannot be read by the executor ({error.strerror}); make it readable for everybody"
            raise _NotSendable(words) from error
    finally:
        os.close(handle)
    try:
        _check_holes(file, found.st_size)
    except BaseException:
        os.close(file)
        raise
    return file


def _unopened(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return "cannot be reached: a directory on the way to it is a link, and links are not followed"
    if error.errno == errno.ENOTDIR:
        return "is not there: a directory on the way to it is a file"
    return f"cannot be opened ({error.strerror})"


def _check_holes(file: int, size: int) -> None:
    """Refuse what holds far less than it claims: a moment's work of a job could keep us sending zeros for days."""
    holes = place = 0
    while place < size:
        try:
            data = os.lseek(file, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data from here to the end
                raise
            data = size
        holes += data - place
        if holes > MOST_HOLES:
            raise _NotSendable(
                f"is a sparse file: it claims {readable(size)} and has never written more than"
                f" {readable(MOST_HOLES)} of that; write it in full, or pack it"
            )
        place = os.lseek(file, data, os.SEEK_HOLE) if data < size else size


def _open_log(upload: AnyUpload, scratch: Path, copy_log: Callable[[Stream, BinaryIO], None]) -> int:
    stream = logs_of(upload)
    if stream is None:
        raise _NotSendable("is not there: the job did not write it")
    with tempfile.TemporaryFile(dir=scratch) as file:
        copy_log(stream, file)
        file.flush()
        return os.dup(file.fileno())
