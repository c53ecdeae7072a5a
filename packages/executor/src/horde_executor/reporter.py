"""What an attempt says while it runs: events in order and log pieces, sent beside the stages.

The stages only put things down here and go on; nothing that the network does holds them up. Events are numbered
in the order of their arrival and travel in batches of whatever is waiting. What was not acknowledged when the
attempt ends goes along with the outcome.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, get_args

from horde_core.outcomes import Stage
from horde_core.wire.executor import Event, LogTotal, ProgressEvent, Stream
from horde_executor.clock import now
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.logs import LogSpool
from horde_executor.meter import Moved, Report

GATHER_S = 0.005
FLUSH_S = 0.2
FLUSH_BYTES = 256 * 1024
LARGEST_PIECE = 1024 * 1024
LARGEST_BATCH = 200
PROGRESS_S = 0.25
STREAMS: tuple[Stream, ...] = get_args(Stream)


class Reporter:
    """The outbox of one attempt. `send_events` and `send_logs` run beside the stages."""

    def __init__(self, facilitator: Facilitator, attempt: Attempt, *, log_cap: int, spool: Path) -> None:
        self._facilitator = facilitator
        self._attempt = attempt
        self._acknowledged = 0
        self._waiting: list[Event] = []
        self._in_flight = 0
        self._news = asyncio.Event()
        self._delivered = asyncio.Event()
        self._spools: Mapping[Stream, LogSpool] = {s: LogSpool(spool, log_cap) for s in STREAMS}
        self._written = asyncio.Event()
        self._flush = asyncio.Event()
        self._ended = False

    def event(self, event: Event, *, hold: bool = False) -> None:
        """Say something. With `hold` it waits for the next event, or goes along with the outcome."""
        waiting = len(self._waiting) > self._in_flight
        if waiting and isinstance(event, ProgressEvent) and isinstance(self._waiting[-1], ProgressEvent):
            self._waiting[-1] = event  # only the latest progress is of interest
        else:
            self._waiting.append(event)
        if not hold:
            self._news.set()

    def transfers(self, stage: Stage, message: str) -> Report:
        """What a meter of transfers reports to: said a few times a second, and when all is there."""
        said_at = -PROGRESS_S

        def report(moved: Moved) -> None:
            nonlocal said_at
            if now() - said_at >= PROGRESS_S or moved.done == moved.total:
                said_at = now()
                speed = round(moved.speed)
                self.event(
                    ProgressEvent(stage=stage, message=message, done=moved.done, total=moved.total, speed=speed)
                )

        return report

    def release(self) -> None:
        """Send what is held."""
        self._news.set()

    async def heard(self) -> None:
        """Send everything that was said so far, and wait until it was acknowledged."""
        said = self._acknowledged + len(self._waiting)
        self._news.set()
        while self._acknowledged < said:
            self._delivered.clear()
            await self._delivered.wait()

    def log(self, stream: Stream, data: bytes) -> None:
        """Take bytes of an output stream."""
        spool = self._spools[stream]
        spool.write(data)
        if spool.pending:
            self._written.set()
        if spool.pending >= FLUSH_BYTES:
            self._flush.set()

    def end_logs(self) -> None:
        """No more output comes: deliver the rest, then `send_logs` returns."""
        self._ended = True
        for spool in self._spools.values():
            spool.end()
        self._flush.set()
        self._written.set()

    def last_output(self, stream: Stream, size: int) -> bytes:
        """The end of an output stream, after `end_logs`."""
        return self._spools[stream].last(size)

    def copy_log(self, stream: Stream, file: BinaryIO) -> None:
        """Write what was kept of an output stream, after `end_logs`; blocking."""
        self._spools[stream].copy(file)

    def log_totals(self) -> dict[Stream, LogTotal]:
        """What was delivered of each stream, after `end_logs`."""
        return {stream: spool.total() for stream, spool in self._spools.items()}

    def unsent(self) -> tuple[int, list[Event]]:
        """The events that nobody acknowledged, with the number of the first."""
        return self._acknowledged, list(self._waiting)

    def close(self) -> None:
        """Give back what the log took of the disk."""
        for spool in self._spools.values():
            spool.close()

    async def send_events(self) -> None:
        """Deliver events for ever.

        Raises:
            Fenced: the attempt is no longer ours.
            FacilitatorError: the facilitator refuses them.
        """
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_S)  # statuses often come in pairs, and each request costs a commit
            self._news.clear()
            while self._waiting:
                batch = self._waiting[:LARGEST_BATCH]
                self._in_flight = len(batch)
                await self._facilitator.send_events(self._attempt, self._acknowledged, batch)
                del self._waiting[: len(batch)]
                self._acknowledged += len(batch)
                self._in_flight = 0
                self._delivered.set()

    async def send_logs(self) -> None:
        """Deliver output until all of it is there after `end_logs`, or short enough to go along with the outcome.

        Errors as in `send_events`.
        """
        while not (self._ended and not any(_is_due(spool) for spool in self._spools.values())):
            await self._written.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._flush.wait(), FLUSH_S)
            if not self._ended:
                self._written.clear()
                self._flush.clear()
            async with asyncio.TaskGroup() as group:
                for stream in STREAMS:
                    group.create_task(self._send_log(stream))

    async def _send_log(self, stream: Stream) -> None:
        spool = self._spools[stream]
        while _is_due(spool):
            offset, data = spool.next_piece(LARGEST_PIECE)
            await self._facilitator.send_log(self._attempt, stream, offset, data)
            spool.sent(len(data))
            if not self._ended and spool.pending < FLUSH_BYTES:
                return  # a trickle waits for the next round


def _is_due(spool: LogSpool) -> bool:
    return spool.pending > 0 and not spool.is_short
