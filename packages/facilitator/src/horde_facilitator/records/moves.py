"""The one place where a status changes: a compare-and-set, with its line of history in the same transaction."""

from collections.abc import Mapping

from pydantic import JsonValue
from sqlalchemy import Executable, bindparam, insert, literal, select, update

from horde_core.lifecycle import Applied, Duplicate, Position, Refused, Status, advance, sources
from horde_facilitator.bus import job_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.values import Entry, Job, pack
from horde_facilitator.tables import history, jobs


def _advance(target: Status) -> Executable:
    allowed = [literal(status.value, literal_execute=True) for status in sorted(sources(target))]
    return (
        update(jobs)
        .where(jobs.c.uuid == bindparam("of"), jobs.c.status.in_(allowed), jobs.c.attempt == bindparam("held"))
        .values(status=target.value, entries=jobs.c.entries + 1, progress=None)
        .returning(jobs.c.entries)
    )


_ADVANCE = {target: _advance(target) for target in Status if target is not Status.SENT}
_POSITION = select(jobs.c.status, jobs.c.attempt).where(jobs.c.uuid == bindparam("of"))
_APPEND = insert(history)


def move(
    tx: Transaction,
    job: str,
    target: Status,
    attempt: int,
    at_us: int,
    *,
    metadata: Mapping[str, JsonValue] | None = None,
    values: Mapping[str, object] | None = None,
) -> Applied | Duplicate | Refused:
    """Move a job to `target` in the name of `attempt` (for a claim: the attempt that begins).

    `values` are further columns of the job that change with it. Nothing changes unless the verdict is `Applied`.
    """
    held = attempt - 1 if target is Status.ACCEPTED else attempt
    new = {"attempt": attempt, "updated_us": at_us, **(values or {})}
    entries = tx.execute(_ADVANCE[target], of=job, held=held, **new).scalar_one_or_none()
    if entries is None:
        return _verdict(tx, job, target, attempt)
    text = pack(metadata) if metadata else None
    append(tx, Entry(job, entries - 1, target.value, attempt, at_us, text))
    return Applied(Position(target, attempt))


def must_move(
    tx: Transaction,
    job: Job,
    target: Status,
    now: Now,
    *,
    metadata: Mapping[str, JsonValue] | None = None,
    values: Mapping[str, object] | None = None,
) -> None:
    """Make a move that was decided on `job` as this transaction read it, so that it must apply."""
    attempt = job.attempt + (1 if target is Status.ACCEPTED else 0)
    match move(tx, job.uuid, target, attempt, now.wall_us, metadata=metadata, values=values):
        case Applied():
            pass
        case verdict:
            raise AssertionError(f"{job.uuid} could not become {target}: {verdict}")


def append(tx: Transaction, entry: Entry) -> None:
    """Write a line of a job's history, and wake those who watch the job."""
    tx.execute(_APPEND, **entry.stored())
    tx.wake(job_topic(entry.job))


def _verdict(tx: Transaction, job: str, target: Status, attempt: int) -> Duplicate | Refused:
    row = tx.execute(_POSITION, of=job).one_or_none()
    if row is None:
        return Refused(f"there is no job {job}")
    match advance(Position(Status(row.status), int(row.attempt)), target, attempt):
        case Applied():
            raise AssertionError(f"the table allows {target} for {job}, the compare-and-set did not")
        case verdict:
            return verdict
