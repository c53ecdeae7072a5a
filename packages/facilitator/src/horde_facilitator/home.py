"""The data directory: made private, locked by one facilitator at a time, with the keys that sign tokens."""

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from horde_facilitator.errors import StartError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Home:
    """The places below the data directory."""

    root: Path

    @property
    def database(self) -> Path:
        """The records."""
        return self.root / "db.sqlite3"

    @property
    def blobs(self) -> Path:
        """The directory of logs and artifacts."""
        return self.root / "blobs"

    @property
    def token_keys(self) -> Path:
        """The keys of nonces and tokens, one a line: the first one signs, all are accepted."""
        return self.root / "keys" / "tokens"


@contextmanager
def occupied(root: Path) -> Generator[Home]:
    """Make and lock the data directory while the context lasts.

    Raises:
        StartError: it cannot be used, or another facilitator uses it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the data directory {root} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Home(root)
    except BlockingIOError as error:
        raise StartError(f"another facilitator uses the data directory {root}") from error
    finally:
        os.close(lock)


def token_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in the file, which is made with a first one if it is missing.

    Raises:
        StartError: the file holds no usable keys, or others may read it.
    """
    if not path.exists():
        _make_keys(path)
    if path.stat().st_mode & 0o077:
        raise StartError(f"{path} can be read by others; set its mode to 0600")
    try:
        keys = tuple(bytes.fromhex(line) for line in path.read_text().split())
    except ValueError as error:
        raise StartError(f"{path} must hold one hexadecimal key a line") from error
    if not keys or any(len(key) < KEY_BYTES for key in keys):
        raise StartError(f"{path} must hold keys of at least {KEY_BYTES} bytes")
    return keys


def _make_keys(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
