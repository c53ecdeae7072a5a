"""The data directory: made private, and locked by one facilitator at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from horde_facilitator.errors import StartError


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
        """The keys of nonces and tokens; see `keyring`."""
        return self.root / "keys" / "tokens"

    @property
    def sealing_keys(self) -> Path:
        """The keys of what is sealed in the records; see `sealing`."""
        return self.root / "keys" / "sealing"

    @property
    def tls(self) -> Path:
        """The directory of certificates; see `tls.certificate`."""
        return self.root / "tls"


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
