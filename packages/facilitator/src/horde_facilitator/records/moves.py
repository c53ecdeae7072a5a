"""The one place where a status changes: a compare-and-set, with its line of history in the same transaction."""

from collections.abc import Mapping

from pydantic import JsonValue
from sqlalchemy import insert, select, update

from horde_core.lifecycle import Applied, Duplicate, Position, Refused, Status, advance, sources
from horde_facilitator.bus import job_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.values import Entry, Job, pack
from horde_facilitator.tables import history, jobs


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
    begins = 1 if target is Status.ACCEPTED else 0
    changed = tx.execute(
        update(jobs)
        .where(
            jobs.c.uuid == job,
            jobs.c.status.in_(sorted(sources(target))),
            jobs.c.attempt == attempt - begins,
        )
        .values(
            status=target.value,
            attempt=attempt,
            entries=jobs.c.entries + 1,
            updated_us=at_us,
            progress=None,
            **(values or {}),
        )
        .returning(jobs.c.entries)
    ).scalar_one_or_none()
    if changed is None:
        return _verdict(tx, job, target, attempt)
    text = pack(metadata) if metadata else None
    append(tx, Entry(job, changed - 1, target.value, attempt, at_us, text))
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
    tx.execute(insert(history).values({column: getattr(entry, column.name) for column in history.c}))
    tx.wake(job_topic(entry.job))


def _verdict(tx: Transaction, job: str, target: Status, attempt: int) -> Duplicate | Refused:
    row = tx.execute(select(*Job.columns(jobs)).where(jobs.c.uuid == job)).mappings().one_or_none()
    if row is None:
        return Refused(f"there is no job {job}")
    match advance(Job.read(row).position, target, attempt):
        case Applied():
            raise AssertionError(f"the table allows {target} for {job}, the compare-and-set did not")
        case verdict:
            return verdict
