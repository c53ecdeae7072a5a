"""The reconciler's view of the records, and what it changes there."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, case, delete, func, not_, or_, select, update

from horde_core.lifecycle import HELD
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.reconcile import Running, Waiting
from horde_facilitator.records.jobs import find
from horde_facilitator.records.values import Attempt, Held, Lane
from horde_facilitator.tables import IS_DROPPED, IS_OPEN, IS_QUEUED, artifacts, attempts, jobs

BATCH = 100
"""Rows of each kind that one look returns: few enough that acting on them holds nobody up."""


_RUNNING = (
    select(
        attempts.c.job,
        attempts.c.attempt,
        attempts.c.confirmed,
        attempts.c.lease_boot_us,
        attempts.c.deadline_boot_us,
    )
    .where(
        IS_OPEN,
        or_(attempts.c.lease_boot_us <= bindparam("now"), attempts.c.deadline_boot_us <= bindparam("now")),
    )
    .limit(BATCH)
)
_LATE = and_(
    jobs.c.queue_until_us <= bindparam("now"),
    or_(not_(jobs.c.begun), jobs.c.deadline_us <= bindparam("now")),
)
_UNSERVED = and_(
    jobs.c.executor_class == bindparam("unserved"),
    jobs.c.trusted == bindparam("unserved_trusted"),
    not_(jobs.c.begun),
    jobs.c.created_us <= bindparam("unserved_before"),
    not_(_LATE),
)
_WAITING = (
    select(
        jobs.c.uuid.label("job"),
        jobs.c.executor_class,
        jobs.c.trusted,
        jobs.c.begun,
        jobs.c.created_us,
        jobs.c.queue_until_us,
        jobs.c.deadline_us,
    )
    .where(IS_QUEUED)
    .limit(BATCH)
)
_WAITING_LATE = _WAITING.where(_LATE)
_WAITING_UNSERVED = _WAITING.where(_UNSERVED)
_QUEUED_LANES = select(jobs.c.executor_class, jobs.c.trusted).where(IS_QUEUED).distinct()
_DROPPED = select(attempts.c.job, attempts.c.attempt).where(IS_DROPPED).limit(BATCH)


def running(connection: Connection, now: Now) -> list[Running]:
    """Attempts whose lease or deadline has passed."""
    return [Running(**row) for row in connection.execute(_RUNNING, {"now": now.boot_us}).mappings()]


def waiting(
    connection: Connection, now: Now, no_executor_us: int, served: frozenset[Lane] | None
) -> list[Waiting]:
    """Queued jobs that waited too long, or whose queue nobody serves; `served` None leaves these out."""
    times = {"now": now.wall_us}
    found = [Waiting(**row) for row in connection.execute(_WAITING_LATE, times).mappings()]
    if served is None or len(found) == BATCH:
        return found
    queued = {Lane(str(name), bool(trusted)) for name, trusted in connection.execute(_QUEUED_LANES)}
    for name, trusted in sorted(queued - served):
        key = {**times, "unserved": name, "unserved_trusted": trusted}
        key["unserved_before"] = now.wall_us - no_executor_us
        found.extend(Waiting(**row) for row in connection.execute(_WAITING_UNSERVED, key).mappings())
    return found


def held(connection: Connection, run: Running) -> Held:
    """The job and the attempt that a look returned, in the same transaction."""
    query = select(*Attempt.columns(attempts)).where(attempts.c.job == run.job, attempts.c.attempt == run.attempt)
    attempt = Attempt.read(connection.execute(query).mappings().one())
    job = find(connection, run.job)
    if job is None or job.status not in HELD:
        raise AssertionError(f"{run} is open, but its job is {job}")
    return Held(job, attempt)


def regrant(tx: Transaction, now: Now, lease_us: int, confirm_us: int) -> None:
    """Give every running attempt a full period from now.

    Deadlines are boot time, which another boot of the machine began anew: they are brought into the span that
    is possible now.
    """
    budget = select(jobs.c.budget_us).where(jobs.c.uuid == attempts.c.job).scalar_subquery()
    at_least = func.max(attempts.c.deadline_boot_us, now.boot_us + lease_us)
    tx.execute(
        update(attempts)
        .where(IS_OPEN)
        .values(
            lease_boot_us=now.boot_us + case((attempts.c.confirmed, lease_us), else_=confirm_us),
            deadline_boot_us=func.min(at_least, now.boot_us + budget),
        )
    )


def dropped(connection: Connection) -> list[tuple[str, int]]:
    """Attempts whose blobs are not needed any more."""
    return [(str(job), int(number)) for job, number in connection.execute(_DROPPED)]


def forget_blobs(tx: Transaction, gone: Sequence[tuple[str, int]]) -> None:
    """Note that these attempts' blobs were deleted."""
    for job, number in gone:
        tx.execute(delete(artifacts).where(artifacts.c.job == job, artifacts.c.attempt == number))
        tx.execute(
            update(attempts).where(attempts.c.job == job, attempts.c.attempt == number).values(blobs="gone")
        )
