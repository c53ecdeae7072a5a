"""What a waiting job waits for, read in one view of the records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select, tuple_

from horde_facilitator.clock import Now
from horde_facilitator.records import executors as executor_records
from horde_facilitator.records import people, turns
from horde_facilitator.records.values import Job, Lane
from horde_facilitator.tables import (
    IS_OPEN,
    IS_QUEUED,
    attempts,
    cordons,
    executor_classes,
    executors,
    jobs,
    refused_classes,
)


@dataclass(frozen=True, slots=True)
class Queue:
    """The jobs of an owner that wait in a class. `served`: the last turn, 0 for none. `oldest`: by serial."""

    jobs: int
    served: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Machine:
    """An executor of the queue's class. `lost`: it lost this job before. `cordoned`: why it gets no jobs.

    `refused`: why it does not serve the class although it offered to.
    """

    hotkey: str
    slots: int
    running: int
    seen_us: int
    seen_boot_us: int
    lost: bool
    cordoned: str | None
    refused: str | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """What a queued job waits for. `own_ahead`: how many of its owner's jobs come before it."""

    own_ahead: int
    queues: Mapping[str, Queue]
    machines: Sequence[Machine]
    last_seen: Mapping[Lane, int]
    queue_until_us: int


def read(connection: Connection, job: Job, now: Now) -> Wait:
    """What this queued job waits for."""
    row = connection.execute(
        select(jobs.c.id, jobs.c.priority, jobs.c.turn, jobs.c.queue_until_us).where(jobs.c.uuid == job.uuid)
    ).one()
    before = or_(
        jobs.c.priority > row.priority,
        and_(jobs.c.priority == row.priority, tuple_(jobs.c.turn, jobs.c.id) < tuple_(row.turn, row.id)),
    )
    ahead = select(func.count()).select_from(jobs).where(*_queued_in(job.lane), jobs.c.owner == job.owner, before)
    return Wait(
        own_ahead=int(connection.execute(ahead).scalar_one()),
        queues=_queues(connection, job.lane),
        machines=_machines(connection, job, now),
        last_seen=executor_records.last_seen(connection),
        queue_until_us=int(row.queue_until_us),
    )


def _queued_in(lane: Lane) -> tuple[ColumnElement[bool], ...]:
    return IS_QUEUED, jobs.c.executor_class == lane.executor_class, jobs.c.trusted == literal(lane.is_trusted)


def _queues(connection: Connection, lane: Lane) -> dict[str, Queue]:
    served = turns.served(connection, lane.executor_class)
    query = select(jobs.c.owner, func.count(), func.min(jobs.c.id)).where(*_queued_in(lane)).group_by(jobs.c.owner)
    return {
        str(owner): Queue(int(count), served.get(str(owner), 0), int(oldest))
        for owner, count, oldest in connection.execute(query)
    }


def _machines(connection: Connection, job: Job, now: Now) -> list[Machine]:
    held = select(attempts.c.executor, func.count()).where(IS_OPEN).group_by(attempts.c.executor)
    running = {str(executor): int(count) for executor, count in connection.execute(held)}
    lost = set(
        connection.execute(
            select(attempts.c.executor).where(attempts.c.job == job.uuid, attempts.c.counted)
        ).scalars()
    )
    query = select(cordons.c.hotkey, cordons.c.why).where(
        or_(cordons.c.expires_us.is_(None), cordons.c.expires_us > now.wall_us)
    )
    cordoned = {str(hotkey): str(why) for hotkey, why in connection.execute(query)}
    serving = and_(
        executor_classes.c.hotkey == executors.c.hotkey, executor_classes.c.executor_class == job.executor_class
    )
    refusing = and_(
        refused_classes.c.hotkey == executors.c.hotkey, refused_classes.c.executor_class == job.executor_class
    )
    of_class = (
        select(
            executors.c.hotkey,
            executors.c.slots,
            executors.c.seen_us,
            executors.c.seen_boot_us,
            refused_classes.c.why,
            executors.c.hotkey.in_(people.TRUSTED).label("trusted"),
        )
        .select_from(executors.outerjoin(executor_classes, serving).outerjoin(refused_classes, refusing))
        .where(or_(executor_classes.c.hotkey.is_not(None), refused_classes.c.hotkey.is_not(None)))
        .order_by(executors.c.hotkey)
    )
    return [
        Machine(
            hotkey=row.hotkey,
            slots=row.slots,
            running=running.get(row.hotkey, 0),
            seen_us=row.seen_us,
            seen_boot_us=row.seen_boot_us,
            lost=row.hotkey in lost,
            cordoned=cordoned.get(row.hotkey),
            refused=row.why,
            trusted=bool(row.trusted),
        )
        for row in connection.execute(of_class)
        if row.trusted or not job.trusted
    ]
