"""What a job writes, while it runs or afterwards: as bytes, or line by line."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._transport import Outage
from horde_core.wire.client import LogChunk


@dataclass(frozen=True)
class LogPiece:
    """Some bytes of a job's output, exactly as they were written.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``. Each keeps its order; between the two it is only roughly right.
        data: the bytes; the pieces of a stream put together are the stream.
        attempt: the number of the attempt that wrote them. When an attempt is lost, the next begins anew.
    """

    stream: str
    data: bytes
    attempt: int


@dataclass(frozen=True)
class LogLine:
    """One line of a job's output.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``. Each keeps its order; between the two it is only roughly right.
        text: the line without its end; bytes that are no UTF-8 are replaced.
        attempt: the number of the attempt that wrote it. When an attempt is lost, the next begins anew.
    """

    stream: str
    text: str
    attempt: int


class Pieces:
    """Puts streams together from chunks, which may come twice."""

    def __init__(self) -> None:
        self.attempt = 0
        self.offsets: dict[str, int] = {"stdout": 0, "stderr": 0}

    def feed(self, chunk: LogChunk) -> LogPiece | None:
        """What is new in this chunk, if anything is."""
        if chunk.attempt > self.attempt:
            self.attempt = chunk.attempt
            self.offsets = dict.fromkeys(self.offsets, 0)
        if not chunk.data or chunk.attempt < self.attempt:
            return None
        data = base64.b64decode(chunk.data)
        known = max(0, self.offsets.get(chunk.stream, 0) - chunk.offset)
        if known >= len(data):
            return None
        self.offsets[chunk.stream] = chunk.offset + len(data)
        return LogPiece(chunk.stream, data[known:], self.attempt)


class Lines:
    """Puts lines together from pieces."""

    def __init__(self) -> None:
        self._attempt = 0
        self._begun: dict[str, bytes] = {}

    def feed(self, piece: LogPiece) -> Iterator[LogLine]:
        """The lines that this piece completes."""
        if piece.attempt > self._attempt:
            yield from self.rest()
            self._attempt = piece.attempt
        *lines, begun = (self._begun.get(piece.stream, b"") + piece.data).split(b"\n")
        self._begun[piece.stream] = begun
        for line in lines:
            yield self._line(piece.stream, line)

    def rest(self) -> Iterator[LogLine]:
        """The last lines, if they have no end."""
        begun, self._begun = self._begun, {}
        for stream, line in begun.items():
            if line:
                yield self._line(stream, line)

    def _line(self, stream: str, line: bytes) -> LogLine:
        return LogLine(stream, line.decode(errors="replace"), self._attempt)


def pieces_of_text(stdout: str, stderr: str, attempt: int) -> Iterator[LogPiece]:
    """Finished logs, as far as their text still shows the bytes."""
    for stream, text in (("stdout", stdout), ("stderr", stderr)):
        if text:
            yield LogPiece(stream, text.encode(errors="replace"), attempt)


async def lines_of(pieces: AsyncIterator[LogPiece]) -> AsyncGenerator[LogLine]:
    """Pieces as lines; the last one may have no end."""
    lines = Lines()
    async for piece in pieces:
        for line in lines.feed(piece):
            yield line
    for line in lines.rest():
        yield line


async def log_pieces(api: Api, uuid: str, *, follow: bool) -> AsyncGenerator[LogPiece]:
    """What a job writes, from the beginning; `follow` goes on until the job has ended.

    Goes on where it was after a broken connection.

    Raises:
        ComputeHordeError: the facilitator refuses, or cannot be reached for minutes.
    """
    pieces, outage = Pieces(), Outage()
    while True:
        error: ComputeHordeError | None = None
        try:
            async with api.logs(uuid, follow=follow, attempt=pieces.attempt, offsets=pieces.offsets) as chunks:
                outage.connected()
                async for chunk in chunks:
                    outage.heard()
                    piece = pieces.feed(chunk)
                    if piece:
                        yield piece
                    if chunk.end:
                        return
        except ComputeHordeError as broken:
            error = broken
        await outage.wait(error)
