"""The lines that a job writes, while it runs or afterwards."""

import base64
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._transport import Outage
from horde_core.wire.client import LogChunk


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


class Lines:
    """Puts lines together from pieces, which may come twice."""

    def __init__(self) -> None:
        self.attempt = 0
        self.offsets: dict[str, int] = {"stdout": 0, "stderr": 0}
        self._begun: dict[str, bytes] = {}

    def feed(self, chunk: LogChunk) -> Iterator[LogLine]:
        """The lines that this piece completes."""
        if chunk.attempt > self.attempt:
            yield from self.rest()
            self.attempt = chunk.attempt
            self.offsets = dict.fromkeys(self.offsets, 0)
        if not chunk.data or chunk.attempt < self.attempt:
            return
        data = base64.b64decode(chunk.data)
        known = max(0, self.offsets.get(chunk.stream, 0) - chunk.offset)
        if known >= len(data):
            return
        self.offsets[chunk.stream] = chunk.offset + len(data)
        *lines, begun = (self._begun.get(chunk.stream, b"") + data[known:]).split(b"\n")
        self._begun[chunk.stream] = begun
        for line in lines:
            yield self._line(chunk.stream, line)

    def rest(self) -> Iterator[LogLine]:
        """The last lines, if they have no end."""
        begun, self._begun = self._begun, {}
        for stream, line in begun.items():
            if line:
                yield self._line(stream, line)

    def _line(self, stream: str, line: bytes) -> LogLine:
        return LogLine(stream, line.decode(errors="replace"), self.attempt)


def lines_of_text(stdout: str, stderr: str, attempt: int) -> Iterator[LogLine]:
    """The lines of finished logs."""
    for stream, text in (("stdout", stdout), ("stderr", stderr)):
        for line in text.removesuffix("\n").split("\n") if text else ():
            yield LogLine(stream, line, attempt)


async def log_lines(api: Api, uuid: str, *, follow: bool) -> AsyncGenerator[LogLine]:
    """The lines of a job, from the first; `follow` goes on until the job has ended.

    Goes on where it was after a broken connection.

    Raises:
        ComputeHordeError: the facilitator refuses, or cannot be reached for minutes.
    """
    lines, outage = Lines(), Outage()
    while True:
        error: ComputeHordeError | None = None
        try:
            async with api.logs(uuid, follow=follow, attempt=lines.attempt, offsets=lines.offsets) as chunks:
                outage.connected()
                async for chunk in chunks:
                    outage.heard()
                    for line in lines.feed(chunk):
                        yield line
                    if chunk.end:
                        for line in lines.rest():
                            yield line
                        return
        except ComputeHordeError as broken:
            error = broken
        await outage.wait(error)
