"""Opening files in a tree that a job made: beneath a directory, through no link, into no other file system.

Only `openat2` with RESOLVE flags does this without a race (O_NOFOLLOW guards the last component alone).
Linux has it since 5.6; its number is the same on all architectures that Docker runs on.
"""

import ctypes
import errno
import os
from pathlib import Path

from horde_executor.errors import WorkspaceError

_OPENAT2 = 437
# linux/openat2.h
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open `path`, relative to the directory descriptor `root`.

    Raises:
        OSError: it is not there, or (ELOOP, EXDEV) the way leads through a link or out of the tree.
        WorkspaceError: this kernel cannot do it.
    """
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE)
    name = os.fsencode(path)
    while True:
        opened = int(_libc.syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how)))
        if opened >= 0:
            return opened
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):
            raise WorkspaceError(
                "this kernel, or the sandbox that the executor runs in, refuses openat2, without which a job's"
                " files cannot be read safely. Linux 5.6 or newer is needed"
            )
        if code not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: somebody renamed on the way
            raise OSError(code, os.strerror(code), path)


def open_root(root: Path) -> int:
    """A descriptor of a directory of ours, to open things beneath."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
