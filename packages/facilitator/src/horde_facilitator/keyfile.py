"""Files of keys: one a line, in hexadecimal, the newest first; for their owner alone."""

import os
from collections.abc import Iterable
from pathlib import Path

from horde_facilitator.errors import StartError

KEY_BYTES = 32


def read(path: Path) -> list[str]:
    """The lines that are not empty.

    Raises:
        StartError: others may read the file.
    """
    if path.stat().st_mode & 0o077:
        raise StartError(f"{path} can be read by others; set its mode to 0600")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def write(path: Path, lines: Iterable[str]) -> None:
    """Put these lines in the place of the file; once this returns they outlast a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for directory in (path.parent, path.parent.parent):
        _sync(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
