"""A log that cannot grow without bound: when it is full it is kept once as `.1` and begun anew."""

from contextlib import suppress
from pathlib import Path

LIMIT_BYTES = 2 * 1024**2


class LogFile:
    """An append-only file of bytes, at most twice `limit` on disk with its predecessor."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        self.path = path
        self.last_line = ""
        self._limit = limit
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append; the log is turned over between two calls only, so lines written at once stay whole."""
        with suppress(OSError):  # a full disk must not end what is logged
            if self._file.tell() + len(data) > self._limit:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab", buffering=0)
            self._file.write(data)
        lines = data.decode(errors="replace").split("\n")
        self.last_line = next((line.strip() for line in reversed(lines) if line.strip()), self.last_line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
