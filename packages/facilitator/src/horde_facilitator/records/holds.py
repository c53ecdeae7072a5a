"""What the executor that holds a job says of it: leases, events, artifacts, return."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from horde_core.lifecycle import HELD, Refused, Status
from horde_core.wire.executor import Event, ExposedEvent, ProgressEvent, StatusEvent
from horde_facilitator.bus import job_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, MissingParts, NotFound, StaleAttempt
from horde_facilitator.records.endings import change, show
from horde_facilitator.records.jobs import UPDATE, find
from horde_facilitator.records.moves import move
from horde_facilitator.records.values import Attempt, Held, pack
from horde_facilitator.tables import attempts

_OF_EXECUTOR = select(*Attempt.columns(attempts)).where(
    attempts.c.job == bindparam("of"),
    attempts.c.attempt == bindparam("number"),
    attempts.c.executor == bindparam("executor"),
)


def find_attempt(connection: Connection, job: str, number: int, executor: str) -> Attempt:
    """An attempt of this executor, whether or not it still holds its job.

    Raises:
        NotFound: the executor never had it.
    """
    key = {"of": job, "number": number, "executor": executor}
    row = connection.execute(_OF_EXECUTOR, key).mappings().one_or_none()
    if row is None:
        raise NotFound(f"attempt {number} of job {job} was never given to this executor")
    return Attempt.read(row)


def hold(connection: Connection, job: str, number: int, executor: str) -> Held:
    """The job that this attempt of this executor holds.

    Raises:
        NotFound: the executor never had the attempt.
        StaleAttempt: the attempt does not hold the job any more.
    """
    return held_by(connection, find_attempt(connection, job, number, executor))


def held_by(connection: Connection, attempt: Attempt) -> Held:
    """The job that an attempt holds.

    Raises:
        StaleAttempt: the attempt does not hold the job any more.
    """
    row = find(connection, attempt.job)
    if row is None or attempt.ended_us is not None or row.attempt != attempt.attempt or row.status not in HELD:
        raise StaleAttempt(f"attempt {attempt.attempt} does not hold job {attempt.job} any more")
    return Held(row, attempt)


def renew(tx: Transaction, held: Held, now: Now, lease_us: int) -> None:
    """Let the lease run for a full period from now. The first renewal confirms the claim."""
    change(tx, held, confirmed=True, lease_boot_us=now.boot_us + lease_us)
    if not held.job.begun:
        tx.execute(UPDATE, of=held.job.uuid, begun=True)


def apply_events(tx: Transaction, held: Held, first_seq: int, events: Sequence[Event], now: Now) -> Held:
    """Apply those of the events, numbered from `first_seq`, that are new; returns where the job stands then.

    Raises:
        MissingParts: events before these have not arrived.
        BadRequest: a status cannot follow where the job is.
    """
    known = held.attempt.next_seq
    if first_seq > known:
        raise MissingParts(f"events from number {known} on have not arrived")
    new = list(events)[known - first_seq :]
    if not new:
        return held
    change(tx, held, next_seq=known + len(new))
    earliest = held.job.updated_us
    for event in new:
        match event:
            case StatusEvent():
                earliest = _reach(tx, held, event, earliest, now)
            case ProgressEvent():
                _progress(tx, held, event)
            case ExposedEvent():
                tx.execute(UPDATE, of=held.job.uuid, exposed=True)
    return hold(tx.connection, held.job.uuid, held.attempt.attempt, held.attempt.executor)


def _reach(tx: Transaction, held: Held, event: StatusEvent, earliest_us: int, now: Now) -> int:
    """Move the job to the event's status; the executor's time counts where it fits into the history."""
    at_us = max(earliest_us, min(event.at_ns // 1000, now.wall_us))
    values: dict[str, object] = {}
    if event.image_digest and not held.job.image_digest:
        values["image_digest"] = event.image_digest
    if event.status is Status.STREAMING_READY:
        values["exposed"] = True
    verdict = move(
        tx,
        held.job.uuid,
        event.status,
        held.attempt.attempt,
        at_us,
        metadata=event.metadata,
        values=values,
    )
    if isinstance(verdict, Refused):
        raise BadRequest(verdict.why)
    if event.status is Status.EXECUTOR_READY:
        show(tx, held)
    return at_us


def _progress(tx: Transaction, held: Held, event: ProgressEvent) -> None:
    text = pack(event.model_dump(mode="json", exclude={"kind"}))
    tx.execute(UPDATE, of=held.job.uuid, progress=text)
    tx.wake(job_topic(held.job.uuid))
