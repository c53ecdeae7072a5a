"""How attempts and jobs end, whoever finds out: the executor, the owner or the reconciler."""

from collections.abc import Mapping

from pydantic import JsonValue
from sqlalchemy import bindparam, update

from horde_core.lifecycle import Status
from horde_core.outcomes import AnyOutcome, Failed, Reason, Rejected, status_of
from horde_facilitator.bus import class_topic, hold_topic, log_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import EndJob, PutBack, after_attempt, entry_details
from horde_facilitator.records import cordons, ledger, requests
from horde_facilitator.records.moves import move, must_move
from horde_facilitator.records.values import End, Held, Job
from horde_facilitator.tables import attempts, jobs

_UPDATE = update(attempts).where(attempts.c.job == bindparam("of"), attempts.c.attempt == bindparam("number"))
_SHOW = update(jobs).where(jobs.c.uuid == bindparam("of"))
_EXECUTORS_FAULT = (Reason.EXECUTOR_LOST, Reason.EXECUTOR_ERROR)
"""Losses that cordon an executor. A registry that is down is no reason to."""


def end(tx: Transaction, job: Job, outcome: AnyOutcome, now: Now, *, reported_by: str) -> None:
    """Record the job's one outcome, pay for it or not, and forget what only its run needed."""
    payment = ledger.close(tx, job, outcome, now)
    must_move(
        tx,
        job,
        status_of(outcome),
        now,
        metadata=entry_details(outcome, reported_by),
        values={"outcome": outcome.model_dump_json(), "payment": payment},
    )
    requests.wipe(tx, job.uuid)
    tx.wake(hold_topic(job.uuid), log_topic(job.uuid))


def reject(tx: Transaction, job: str, rejection: Rejected, now: Now) -> None:
    """Record that a new job is not taken on; it was never queued."""
    metadata = entry_details(rejection, "facilitator")
    outcome = {"outcome": rejection.model_dump_json()}
    move(tx, job, Status.REJECTED, 0, now.wall_us, metadata=metadata, values=outcome)
    requests.wipe(tx, job)


def end_held(tx: Transaction, held: Held, how: End, outcome: AnyOutcome, now: Now, *, reported_by: str) -> None:
    """Record the outcome of a job that an attempt holds, and end the attempt."""
    close(tx, held, how, now)
    if how is End.REPORTED:
        cordons.delivered(tx, held.attempt.executor)
    end(tx, held.job, outcome, now, reported_by=reported_by)


def give_up(
    tx: Transaction, held: Held, how: End, failure: Failed, now: Now, *, counts: bool, reported_by: str
) -> None:
    """End an attempt that brought no result: put the job back, or end it with `failure`."""
    job = held.job
    decision = after_attempt(job, failure, counts=counts)
    close(tx, held, how, now, counted=counts)
    if counts and failure.reason in _EXECUTORS_FAULT:
        cordons.lost(tx, held.attempt.executor, job.uuid, now)
    match decision:
        case PutBack():
            why = {"how": how.value, "reason": failure.reason.value, "message": failure.message}
            _put_back(tx, job, decision.losses, why, now)
        case EndJob():
            end(tx, job, decision.outcome, now, reported_by=reported_by)


def close(tx: Transaction, held: Held, how: End, now: Now, *, counted: bool = False) -> None:
    """End the attempt itself; from now on whatever it says is stale."""
    change(tx, held, ended_us=now.wall_us, end=how.value, counted=counted)
    tx.wake(hold_topic(held.job.uuid))


def _put_back(tx: Transaction, job: Job, losses: int, why: Mapping[str, JsonValue], now: Now) -> None:
    must_move(tx, job, Status.RECEIVED, now, metadata={"attempt_ended": {**why}}, values={"losses": losses})
    tx.wake(class_topic(job.executor_class))


def show(tx: Transaction, held: Held) -> None:
    """Make this attempt's logs and artifacts the job's; those of the one before are not needed any more."""
    if held.job.shown not in (0, held.attempt.attempt):
        tx.execute(_UPDATE, of=held.job.uuid, number=held.job.shown, blobs="drop")
    tx.execute(_SHOW, of=held.job.uuid, shown=held.attempt.attempt)


def change(tx: Transaction, held: Held, **columns: object) -> None:
    """Change columns of the attempt."""
    tx.execute(_UPDATE, of=held.job.uuid, number=held.attempt.attempt, **columns)
