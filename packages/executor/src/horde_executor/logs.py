"""What a job wrote to one of its output streams, kept as its beginning and its end.

The first half of the cap is delivered while the job runs; what follows goes round in a ring of the other half,
so that memory and disk stay bounded whatever a job writes and the reader never has to wait. The bytes lie in an
unnamed file, which the kernel removes with the process.
"""

import os
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import BinaryIO

from horde_core.wire.executor import SHORT_LOG, LogTotal

_PIECE = 1024 * 1024


class LogSpool:
    """One stream. Positions are those of the delivered bytes: the head, then (once it ended) the tail."""

    def __init__(self, directory: Path, cap: int) -> None:
        self._directory = directory
        self._head = cap // 2
        self._ring = cap - self._head
        self._fd: int | None = None
        self._written = 0
        self._ended = False
        self._sent = 0

    def write(self, data: bytes) -> None:
        """Take what the job wrote.

        Raises:
            OSError: the disk is full.
        """
        view = memoryview(data)
        room = self._head - self._written
        if room > 0:
            self._put(view[:room], self._written)
            self._written += len(view[:room])
            view = view[room:]
        if len(view) > self._ring:
            self._written += len(view) - self._ring
            view = view[len(view) - self._ring :]
        while view:
            place = (self._written - self._head) % self._ring
            piece = view[: self._ring - place]
            self._put(piece, self._head + place)
            self._written += len(piece)
            view = view[len(piece) :]

    def end(self) -> None:
        """The job will write no more: the tail may be delivered too."""
        self._ended = True

    @property
    def dropped(self) -> int:
        """Bytes between head and tail that are lost."""
        return max(0, self._written - self._head - self._ring)

    @property
    def pending(self) -> int:
        """Bytes that may be delivered now and were not."""
        ready = self._written - self.dropped if self._ended else min(self._written, self._head)
        return ready - self._sent

    @property
    def is_short(self) -> bool:
        """Whether it may go along with the outcome as it is."""
        return self._ended and not self._sent and not self.dropped and self._written <= SHORT_LOG

    def next_piece(self, size: int) -> tuple[int, bytes]:
        """The position and the bytes of what is to be delivered next, at most `size`; the same until `sent`."""
        return self._sent, self._read(self._sent, min(size, self.pending))

    def sent(self, count: int) -> None:
        """The next `count` bytes have arrived."""
        self._sent += count

    def last(self, size: int) -> bytes:
        """The end of what was written, at most `size` bytes. Only after `end`."""
        delivered = self._written - self.dropped
        return self._read(max(0, delivered - size), min(size, delivered))

    def total(self) -> LogTotal:
        """What there is to deliver in all, for the report. Only after `end`."""
        if self.is_short:
            return LogTotal(size=self._written, whole=b64encode(self._read(0, self._written)))
        size = self._written - self.dropped
        return LogTotal(size=size, dropped=self.dropped, head=self._head if self.dropped else 0)

    def copy(self, file: BinaryIO) -> None:
        """Write what was kept, with a mark where bytes were left out. Only after `end`; blocking.

        Raises:
            OSError: the disk is full.
        """
        kept = self._written - self.dropped
        self._copy(file, 0, min(self._head, kept))
        if self.dropped:
            file.write(b"\n[... %d bytes left out ...]\n" % self.dropped)
        self._copy(file, min(self._head, kept), kept)

    def _copy(self, file: BinaryIO, start: int, stop: int) -> None:
        while start < stop:
            data = self._read(start, min(_PIECE, stop - start))
            file.write(data)
            start += len(data)

    def close(self) -> None:
        """Give the disk space back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _put(self, data: memoryview, place: int) -> None:
        if self._fd is None:
            with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                self._fd = os.dup(file.fileno())
        while data:
            count = os.pwrite(self._fd, data, place)
            data, place = data[count:], place + count

    def _read(self, position: int, size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0 and self._fd is not None:
            if position < self._head:
                place, length = position, min(size, self._head - position)
            else:
                index = (position + self.dropped - self._head) % self._ring
                place, length = self._head + index, min(size, self._ring - index)
            pieces.append(os.pread(self._fd, length, place))
            position, size = position + length, size - length
        return b"".join(pieces)
