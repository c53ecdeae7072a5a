"""Acts on what time brings. Driven by the clock, idempotent: it may stop and start anew at any moment."""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from horde_core.outcomes import Stage
from horde_facilitator.blobs import Blobs, attempt_prefix, input_prefix
from horde_facilitator.clock import Clock, Now, microseconds
from horde_facilitator.database import Database, Transaction
from horde_facilitator.decisions import deadline_exceeded, executor_lost
from horde_facilitator.errors import StoreError
from horde_facilitator.reconcile import (
    Action,
    Dismiss,
    Lapse,
    Lose,
    Overdue,
    Rules,
    describe,
    due,
    served_lanes,
)
from horde_facilitator.records import endings, executors, inputs, jobs, people, sweep
from horde_facilitator.records.values import End
from horde_facilitator.settings import Settings

log = logging.getLogger(__name__)


class Reconciler:
    """Ends what has run out of time, and clears away what nobody needs."""

    def __init__(self, settings: Settings, clock: Clock, database: Database, blobs: Blobs) -> None:
        self._settings = settings
        self._rules = Rules(no_executor_s=settings.no_executor_s)
        self._clock = clock
        self._database = database
        self._blobs = blobs
        self._back = clock.now()

    async def run(self) -> None:
        """Tick until cancelled. Call `begin` first."""
        last = self._clock.now()
        outages = self._database.outages
        swept = last
        while True:
            await asyncio.sleep(self._settings.tick_s)
            now = self._clock.now()
            try:
                if self._was_away(last, now) or outages != self._database.outages:
                    outages = self._database.outages
                    await self.begin()
                await self.tick()
                if now.boot_us - swept.boot_us >= microseconds(self._settings.sweep_s):
                    await self._sweep(now)
                    swept = now
                last = self._clock.now()
            except StoreError:
                log.exception("the reconciler could not work; it tries again")
            except Exception:
                log.exception("a defect: the reconciler could not work; it tries again")

    async def begin(self) -> None:
        """Give every running attempt a full period, and every executor time to come back.

        While the facilitator was away nobody could renew a lease or be seen.
        """
        lease_us, confirm_us = microseconds(self._settings.lease_s), microseconds(self._settings.confirm_s)
        self._back = self._clock.now()
        await self._database.write(lambda tx: sweep.regrant(tx, self._back, lease_us, confirm_us))

    async def tick(self) -> None:
        """Do once what is due."""
        now = self._clock.now()
        actions, gone = await self._database.read(lambda c: (self._due(c, now), sweep.dropped(c)))
        if actions:
            for action in await self._database.write(lambda tx: self._act(tx, now)):
                log.info("%s", describe(action))
        if gone:
            await self._clear_blobs(gone)

    def _was_away(self, last: Now, now: Now) -> bool:
        """Whether so long a time passed between two ticks that leases may have run out unheard."""
        return now.boot_us - last.boot_us > microseconds(self._settings.lease_s / 2)

    def _due(self, connection: Connection, now: Now) -> list[Action]:
        seen, back = executors.last_seen(connection), self._back.boot_us
        waiting = sweep.waiting(
            connection,
            now,
            microseconds(self._rules.no_executor_s),
            served_lanes(now, seen, back, self._rules),
        )
        running = sweep.running(connection, now)
        refused = executors.refusals(connection) if waiting else {}
        return due(
            now, self._rules, running=running, waiting=waiting, seen=seen, back_boot_us=back, refused=refused
        )

    def _act(self, tx: Transaction, now: Now) -> Sequence[Action]:
        """Decide again, on what is true now, and do it."""
        actions = self._due(tx.connection, now)
        for action in actions:
            match action:
                case Dismiss(uuid, outcome):
                    job = jobs.find(tx.connection, uuid)
                    if job is not None:
                        endings.end(tx, job, outcome, now, reported_by="facilitator")
                case Lapse(running) | Lose(running) | Overdue(running):
                    self._end_attempt(tx, action, sweep.held(tx.connection, running), now)
        return actions

    def _end_attempt(self, tx: Transaction, action: Lapse | Lose | Overdue, held: sweep.Held, now: Now) -> None:
        lost = executor_lost(held.job)
        match action:
            case Lapse():
                endings.give_up(tx, held, End.LAPSED, lost, now, counts=False, reported_by="facilitator")
            case Lose():
                endings.give_up(tx, held, End.LOST, lost, now, counts=True, reported_by="facilitator")
            case Overdue():
                outcome = deadline_exceeded(Stage.EXECUTION)
                endings.end_held(tx, held, End.ENDED, outcome, now, reported_by="facilitator")

    async def _sweep(self, now: Now) -> None:
        """Forget what has expired. Bytes go after the record of them, so that nothing names what is not there."""
        drafts = now.wall_us - microseconds(self._settings.draft_s)
        unused = now.wall_us - microseconds(self._settings.unused_blob_s)

        def forget(tx: Transaction) -> None:
            people.forget_expired(tx, now.wall_us)
            inputs.expire(tx, drafts, unused)

        await self._database.write(forget)
        while gone := await self._database.read(inputs.gone):
            for blob in gone:
                await self._blobs.delete(input_prefix(blob))
            await self._database.write(lambda tx, gone=gone: inputs.forget(tx, gone))

    async def _clear_blobs(self, gone: Sequence[tuple[str, int]]) -> None:
        for job, attempt in gone:
            await self._blobs.delete(attempt_prefix(job, attempt))
        await self._database.write(lambda tx: sweep.forget_blobs(tx, gone))
