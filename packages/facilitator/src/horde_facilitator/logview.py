"""What readers see of a log stream: head, a mark where bytes were left out, tail.

The executor sends the first half of what the operator allows while the job runs. The rest, with the number of
bytes that had to be left out, is known at the end; so until then readers see the first half only, and no byte
that they have seen ever changes its offset.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what readers see: bytes `start` to `stop` of the stored log, or the mark itself."""

    start: int
    stop: int
    mark: bytes | None = None

    @property
    def length(self) -> int:
        """Its bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class LogView:
    """One log stream as readers see it: `head` stored bytes, the mark if bytes were `dropped`, the rest.

    `whole` has the stored bytes of a log so short that it is kept with the records.
    """

    stored: int
    head: int
    dropped: int = 0
    whole: bytes | None = None

    @classmethod
    def running(cls, arrived: int, log_bytes: int) -> "LogView":
        """The view while the attempt runs, or after it was lost: no more than the first half."""
        shown = min(arrived, log_bytes // 2)
        return cls(shown, shown)

    @property
    def mark(self) -> bytes:
        """What stands for the bytes that were left out."""
        return b"\n[... %d bytes left out ...]\n" % self.dropped if self.dropped else b""

    @property
    def length(self) -> int:
        """All that readers see, in bytes."""
        return self.stored + len(self.mark)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The parts of what readers see from byte `start` up to byte `stop`."""
        at = 0
        mark = self.mark
        parts = (Piece(0, self.head), Piece(0, len(mark), mark), Piece(self.head, self.stored))
        for part in parts:
            low, high = max(start - at, 0), min(stop - at, part.length)
            if low < high:
                yield Piece(part.start + low, part.start + high, part.mark[low:high] if part.mark else None)
            at += part.length
