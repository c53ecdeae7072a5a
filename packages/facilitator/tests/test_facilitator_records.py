"""The records: every history is a path of the table, one writer loses nothing, migrations make the tables."""

import asyncio
import contextlib
import shutil
import tempfile
import threading
import uuid
from itertools import pairwise
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import insert, select, text

from horde_core.lifecycle import TABLE, Status
from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.wire.executor import Event, OutcomeReport, ProgressEvent, StatusEvent
from horde_facilitator import database
from horde_facilitator.bus import LocalBus
from horde_facilitator.clock import SECOND, Now
from horde_facilitator.database import Database, Transaction
from horde_facilitator.decisions import executor_lost
from horde_facilitator.errors import Refused, StoreError
from horde_facilitator.migrations import bring_up_to_date
from horde_facilitator.records import claims, endings, holds, jobs, outcomes, sweep
from horde_facilitator.records.claims import Offer
from horde_facilitator.records.jobs import NewJob
from horde_facilitator.records.values import End
from horde_facilitator.tables import history, hotkeys, metadata

STEPS = {(move.source, move.target) for move in TABLE}
REPORTED = [Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.STREAMING_READY, Status.EXECUTION_DONE]
OUTCOMES = [
    Succeeded(exit_code=0),
    Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="1", exit_code=1),
    Failed(stage=Stage.PREPARE, reason=Reason.EXECUTOR_ERROR, message="no engine"),
]
LEASE_US = 30 * SECOND


class Records(RuleBasedStateMachine):
    """Users, executors and time do what they like, in any order, stale and repeated included."""

    created = Bundle("created")
    claimed = Bundle("claimed")

    @initialize()
    def open(self):
        self.directory = Path(tempfile.mkdtemp())
        shutil.copy(type(self).template, self.directory / "db")
        self.engine = database.engine(self.directory / "db")
        self.seconds = 1000
        self.ended: dict[str, tuple] = {}
        self.outcomes: dict[str, str] = {}

    def teardown(self):
        self.engine.dispose()
        shutil.rmtree(self.directory)

    @property
    def now(self) -> Now:
        return Now(self.seconds * SECOND, self.seconds * SECOND)

    @contextlib.contextmanager
    def transaction(self):
        with contextlib.suppress(Refused), self.engine.begin() as connection:
            yield Transaction(connection)

    @rule(target=created, attempts=st.integers(1, 3))
    def create(self, attempts):
        job = str(uuid.uuid4())
        new = NewJob(job, "me", "c", "", attempts, 600 * SECOND, 3600 * SECOND, b"{}", b"{}")
        with self.transaction() as tx:
            jobs.create(tx, new, self.now)
        return job

    @rule(target=claimed, executor=st.sampled_from("ab"), claim=st.integers(0, 3))
    def claim(self, executor, claim):
        offer = Offer(str(claim), executor, ["c", "d"], 5 * SECOND, 60 * SECOND, 60 * SECOND)
        with self.transaction() as tx:
            found = claims.claim(tx, offer, self.now)
            return (found.held.job.uuid, found.held.attempt.attempt, executor) if found else multiple()

    @rule(attempt=claimed)
    def renew(self, attempt):
        with self.transaction() as tx:
            holds.renew(tx, holds.hold(tx.connection, *attempt), self.now, LEASE_US)

    @rule(attempt=claimed, first=st.integers(0, 4), statuses=st.lists(st.sampled_from(REPORTED), max_size=4))
    def report(self, attempt, first, statuses):
        events: list[Event] = [ProgressEvent(stage=Stage.PREPARE, done=1)]
        events += [StatusEvent(status=status, at_ns=0) for status in statuses]
        with self.transaction() as tx:
            holds.apply_events(tx, holds.hold(tx.connection, *attempt), first, events, self.now)

    @rule(attempt=claimed)
    def report_in_order(self, attempt):
        with self.transaction() as tx:
            held = holds.hold(tx.connection, *attempt)
            order = (Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE)
            events = [StatusEvent(status=status, at_ns=0) for status in order]
            holds.apply_events(tx, held, held.attempt.next_seq, events, self.now)

    @rule(attempt=claimed, outcome=st.sampled_from(OUTCOMES))
    def settle(self, attempt, outcome):
        with self.transaction() as tx:
            found = holds.find_attempt(tx.connection, *attempt)
            report = OutcomeReport(outcome=outcome, first_seq=found.next_seq)
            outcomes.settle(tx, found, report, {}, self.now)

    @rule(attempt=claimed)
    def give_back(self, attempt):
        with self.transaction() as tx:
            outcomes.hand_back(tx, holds.find_attempt(tx.connection, *attempt), self.now)

    @rule(job=created)
    def cancel(self, job):
        with self.transaction() as tx:
            found = jobs.find(tx.connection, job)
            jobs.cancel(tx, found, self.now)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds):
        self.seconds += seconds
        with self.transaction() as tx:
            for run in sweep.running(tx.connection, self.now):
                held, lost = sweep.held(tx.connection, run), End.LOST if run.confirmed else End.LAPSED
                failure = executor_lost(held.job)
                endings.give_up(tx, held, lost, failure, self.now, counts=run.confirmed, reported_by="facilitator")

    @invariant()
    def every_history_is_a_path_of_the_table(self):
        with self.engine.connect() as connection:
            rows = connection.execute(select(history).order_by(history.c.job, history.c.seq)).all()
            found = {row.job: jobs.find(connection, row.job) for row in rows}
        paths: dict[str, list] = {}
        for row in rows:
            assert row.seq == len(paths.setdefault(row.job, []))
            paths[row.job].append((Status(row.status), row.attempt))
        for job, path in paths.items():
            statuses = [status for status, _ in path]
            assert statuses[0] is Status.SENT
            assert all(step in STEPS for step in pairwise(statuses))
            numbers = [number for _, number in path]
            assert numbers == sorted(numbers)
            begun = [number for status, number in path if status is Status.ACCEPTED]
            assert begun == list(range(1, len(begun) + 1))
            assert (found[job].status, found[job].attempt) == path[-1]
            assert found[job].entries == len(path)
            assert found[job].losses <= found[job].max_attempts
            assert (found[job].outcome is not None) == found[job].status.is_end
            if job in self.ended:
                assert self.ended[job] == (path, found[job].outcome)
            elif found[job].status.is_end:
                self.ended[job] = (path, found[job].outcome)


def test_every_history_is_a_path_of_the_table(template):
    """Whatever is said in whatever order: the history is a legal path, and an end never changes."""
    from hypothesis.stateful import run_state_machine_as_test

    Records.template = template
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Records,
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=checks),
    )


@pytest.fixture
async def opened(tmp_path, template):
    """A store and its bus."""
    shutil.copy(template, tmp_path / "db")
    bus = LocalBus()
    async with Database.opened(tmp_path / "db", bus) as store:
        yield store, bus


def add(name: str):
    return lambda tx: tx.execute(insert(hotkeys), hotkey=name, role="r", added_us=0)


async def names(store) -> list[str]:
    return await store.read(lambda c: list(c.execute(select(hotkeys.c.hotkey)).scalars()))


async def test_writes_that_share_a_commit_fail_alone(opened):
    """Of many writes at once the broken ones undo only themselves; each is told its own result."""
    store, bus = opened
    gate = threading.Event()

    def broken(name: str):
        def run(tx: Transaction) -> None:
            add(name)(tx)
            tx.wake(name)
            raise ValueError(name)

        return run

    with bus.listen(["bad-1", "good"]) as listener:
        first = asyncio.create_task(store.write(lambda tx: gate.wait()))
        writes = [store.write(broken(f"bad-{n}") if n % 3 == 1 else add(f"good-{n}")) for n in range(30)]
        writes.append(store.write(add("good-0")))  # a duplicate: refused by the store itself
        writes.append(store.write(lambda tx: tx.wake("good")))
        results = asyncio.gather(*writes, return_exceptions=True)
        await asyncio.sleep(0)
        gate.set()
        told = await results
        await first
        assert await listener.wait(5) == {"good"}
    kinds = [type(result).__name__ for result in told]
    assert kinds[:30] == [("ValueError" if n % 3 == 1 else "CursorResult") for n in range(30)]
    assert kinds[30] == "IntegrityError"
    assert await names(store) == sorted(f"good-{n}" for n in range(30) if n % 3 != 1)


async def test_a_write_whose_caller_left_still_wakes(opened):
    """Wake-ups follow the commit, not the request that asked for it."""
    store, bus = opened
    gate = threading.Event()

    def run(tx: Transaction) -> None:
        gate.wait()
        add("kept")(tx)
        tx.wake("topic")

    with bus.listen(["topic"]) as listener:
        write = asyncio.create_task(store.write(run))
        await asyncio.sleep(0)
        write.cancel()
        gate.set()
        assert await listener.wait(5) == {"topic"}
    assert await names(store) == ["kept"]


async def test_a_store_that_cannot_write_says_so_and_recovers(opened, tmp_path, a_store_that_fails):
    """While another process holds the store, writes are refused as unavailable; nothing is acknowledged."""
    store, _ = opened
    await store.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA busy_timeout = 10"))
    other = database.engine(tmp_path / "db")
    with other.begin() as held:
        held.execute(text("SELECT 1"))
        with pytest.raises(StoreError):
            await store.write(add("lost"))
    other.dispose()
    assert store.outages == 1
    await store.write(add("kept"))
    assert await names(store) == ["kept"]


async def test_readers_cannot_write(opened):
    """There is one writer; a function that writes while reading is a mistake that fails."""
    store, _ = opened
    with pytest.raises(StoreError):
        await store.read(lambda c: c.execute(insert(hotkeys), {"hotkey": "x", "role": "r", "added_us": 0}))


def test_migrations_make_exactly_the_tables(tmp_path):
    """A store made by the migrations differs from the declared tables in nothing; a second run does nothing."""
    path = tmp_path / "db"
    bring_up_to_date(path)
    bring_up_to_date(path)
    engine = database.engine(path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()
