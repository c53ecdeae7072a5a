"""What follows when an attempt ends without a result, or a job ends: pure decisions over the records' values."""

from dataclasses import dataclass

from pydantic import JsonValue

from horde_core.outcomes import (
    AnyOutcome,
    Failed,
    Fault,
    Reason,
    Rejected,
    RejectionReason,
    Stage,
    Succeeded,
    fault_of,
)
from horde_core.terms import ClassTerms
from horde_facilitator.records.values import Job

WIRE_STAGES = {
    Stage.QUEUE: "unknown",
    Stage.PREPARE: "executor_startup",
    Stage.DOWNLOAD: "volume_download",
    Stage.STREAMING_START: "streaming_startup",
    Stage.EXECUTION: "execution",
    Stage.COLLECT: "result_upload",
    Stage.UPLOAD: "result_upload",
}
"""How published clients call the stages."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The job goes back into the queue, with this many losses."""

    losses: int


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job ends so."""

    outcome: AnyOutcome


def after_attempt(job: Job, failure: Failed, *, counts: bool) -> PutBack | EndJob:
    """What becomes of a job whose attempt ended for the horde's reasons.

    `failure` is what is recorded if no attempt follows; `counts` says whether this end is one of the losses that
    `max_attempts` bounds (a claim that nobody confirmed, or a job handed back on purpose, is none).
    """
    if job.is_cancelling:
        return EndJob(cancelled(failure.stage))
    if job.exposed:
        return EndJob(failure)
    losses = job.losses + 1 if counts else job.losses
    if counts and losses >= job.max_attempts:
        return EndJob(failure)
    return PutBack(losses)


def cancelled(stage: Stage) -> Failed:
    """The outcome of a job that its owner cancelled."""
    return Failed(stage=stage, reason=Reason.CANCELLED, message="The job was cancelled by its owner.")


def over_queue_limit(queued: int, limit: int) -> Rejected | None:
    """Why a new job of an owner who has so many queued already is not taken on, if it is not."""
    if queued < limit:
        return None
    message = (
        f"You have {queued} jobs queued, and a hotkey may have {limit} here. "
        "Create the job again when some have been taken, or cancel some."
    )
    return Rejected(reason=RejectionReason.QUEUE_LIMIT, message=message)


def over_class_limit(seconds: int, name: str, terms: ClassTerms) -> Rejected | None:
    """Why a new job whose limits add up to so much is not taken on in a class with these terms, if it is not."""
    if terms.max_seconds is None or seconds <= terms.max_seconds:
        return None
    message = (
        f"The job's limits add up to {seconds} s, and a job of the class {name!r} may have {terms.max_seconds} s. "
        "Lower its limits, or choose another class."
    )
    return Rejected(reason=RejectionReason.CLASS_LIMIT, message=message)


def executor_lost(job: Job) -> Failed:
    """The outcome of a job whose last attempt was lost."""
    times = "once" if job.losses == 0 else f"{job.losses + 1} times"
    message = (
        f"The executor that ran the job was lost ({times}; {job.max_attempts} attempts are allowed). "
        "This is the horde's fault; logs and artifacts that had arrived are kept. "
    )
    if job.exposed:
        message += "The job had begun to reach you, so whether to repeat it is yours to decide."
    else:
        message += "Create the job again."
    return Failed(stage=Stage.EXECUTION, reason=Reason.EXECUTOR_LOST, message=message)


def deadline_exceeded(stage: Stage) -> Failed:
    """The outcome of a job that took longer than all its limits together."""
    return Failed(
        stage=stage,
        reason=Reason.DEADLINE_EXCEEDED,
        message=(
            "The job took longer than all its limits and the operator's together, so the horde gave it up. "
            "Create the job again."
        ),
    )


def request_lost() -> Failed:
    """The outcome of a job whose sealed request cannot be opened any more."""
    return Failed(
        stage=Stage.QUEUE,
        reason=Reason.REQUEST_LOST,
        message=(
            "The horde has lost the key that the job's request was sealed with, so it cannot be run. "
            "This is the horde's fault. Create the job again."
        ),
    )


def entry_details(outcome: AnyOutcome, reported_by: str) -> dict[str, JsonValue]:
    """The metadata of the history line that ends a job, in the form that published clients read."""
    match outcome:
        case Succeeded():
            return {}
        case Rejected():
            return {
                "job_rejection_details": {
                    "reason": outcome.reason.value,
                    "message": outcome.message,
                    "rejected_by": reported_by,
                    "context": None,
                }
            }
        case Failed() if fault_of(outcome.reason) is Fault.HORDE:
            return {
                "horde_failure_details": {
                    "reason": outcome.reason.value,
                    "message": outcome.message,
                    "reported_by": reported_by,
                    "context": outcome.context,
                }
            }
        case Failed():
            return {
                "job_failure_details": {
                    "reason": outcome.reason.value,
                    "stage": WIRE_STAGES[outcome.stage],
                    "message": outcome.message,
                    "context": outcome.context,
                    "docker_process_exit_status": outcome.exit_code,
                }
            }
