"""Room on the disk: what the volumes of a job may still take, across all that are written at once, and budgets."""

import shutil
import threading
from pathlib import Path

from horde_core.outcomes import Reason, Stage
from horde_executor.errors import JobFailure

_STEP = 1024


def readable(size: float) -> str:
    """A number of bytes for people, for example ``"1.5 GiB"``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} TiB"


class Room:
    """A budget in bytes. Threads may take from it and give back at the same time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left = limit
        self._lock = threading.Lock()

    def check(self, size: int, name: str) -> None:
        """Refuse early what will not fit.

        Raises:
            JobFailure: `size` bytes more are more than the job may have.
        """
        if size > self._left:
            raise self._full(name)

    def take(self, size: int, name: str) -> None:
        """Count `size` bytes of the volume `name`.

        Raises:
            JobFailure: the job's volumes are larger together than the operator allows.
        """
        with self._lock:
            if size > self._left:
                raise self._full(name)
            self._left -= size

    def give(self, size: int) -> None:
        """Take back a count, of bytes that were thrown away."""
        with self._lock:
            self._left += size

    def _full(self, name: str) -> JobFailure:
        return JobFailure(
            Stage.DOWNLOAD,
            Reason.DOWNLOAD_FAILED,
            f"{name} is too large: all volumes of a job may hold {readable(self.limit)} together on this"
            " executor. Use less data, or ask its operator for a higher limit.",
        )


def share_of_disk(directory: Path, held: int) -> int:
    """The budget in bytes of an operator who named none: a quarter of the disk, and at most half of what is free.

    Args:
        directory: where on the disk.
        held: bytes that it has now; they count as free.
    """
    disk = shutil.disk_usage(directory)
    return min(disk.total // 4, (disk.free + held) // 2)
