"""How a job ended, why, at which stage, and whose fault it was.

A job has a status (where it is, `horde_core.lifecycle`) and, once ended, an outcome: a frozen value. Status,
fault and whether another attempt makes sense are derived from it, never stored beside it.
"""

from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from horde_core.lifecycle import Status


class Fault(StrEnum):
    """Whose fault a failure was: the job's (its author can mend it) or the horde's."""

    JOB = "job"
    HORDE = "horde"


class Stage(StrEnum):
    """The part of a job's life in which something happened."""

    QUEUE = "queue"
    PREPARE = "prepare"
    DOWNLOAD = "download"
    STREAMING_START = "streaming_start"
    EXECUTION = "execution"
    COLLECT = "collect"
    UPLOAD = "upload"


class Reason(StrEnum):
    """Why a job failed or was rejected. Closed: extend it when a real case fits none."""

    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_REFUSED = "image_refused"
    COMMAND_NOT_FOUND = "command_not_found"
    IMAGE_UNREACHABLE = "image_unreachable"
    DOWNLOAD_FAILED = "download_failed"
    DOWNLOAD_UNREACHABLE = "download_unreachable"
    TIMEOUT = "timeout"
    NONZERO_RETURN_CODE = "nonzero_return_code"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    UPLOAD_FAILED = "upload_failed"
    CANCELLED = "cancelled"
    EXECUTOR_LOST = "executor_lost"
    EXECUTOR_ERROR = "executor_error"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    REQUEST_LOST = "request_lost"


class RejectionReason(StrEnum):
    """Why a job was not taken on. Nobody's fault; nothing ran."""

    NO_ALLOWANCE = "no_allowance"
    NO_EXECUTOR = "no_executor"
    QUEUE_LIMIT = "queue_limit"
    CLASS_LIMIT = "class_limit"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Succeeded(_Value):
    """The container ended by itself with 0, or was stopped at its execution limit."""

    kind: Literal["succeeded"] = "succeeded"
    exit_code: int | None = None
    stopped_at_limit: bool = False


class Failed(_Value):
    """The job failed. `message` says what happened and what to do, in the user's words."""

    kind: Literal["failed"] = "failed"
    stage: Stage
    reason: Reason
    message: str
    exit_code: int | None = None
    context: dict[str, JsonValue] | None = None


class Rejected(_Value):
    """The job was not taken on."""

    kind: Literal["rejected"] = "rejected"
    reason: RejectionReason
    message: str


AnyOutcome = Succeeded | Failed | Rejected
Outcome = Annotated[AnyOutcome, Field(discriminator="kind")]


def status_of(outcome: AnyOutcome) -> Status:
    """The end state that an outcome means."""
    match outcome:
        case Succeeded():
            return Status.COMPLETED
        case Failed():
            return Status.FAILED
        case Rejected():
            return Status.REJECTED
        case _:
            assert_never(outcome)


def fault_of(reason: Reason) -> Fault:
    """Whose fault a failure for this reason is."""
    match reason:
        case (
            Reason.IMAGE_NOT_FOUND
            | Reason.IMAGE_REFUSED
            | Reason.COMMAND_NOT_FOUND
            | Reason.DOWNLOAD_FAILED
            | Reason.DOWNLOAD_UNREACHABLE
            | Reason.TIMEOUT
            | Reason.NONZERO_RETURN_CODE
            | Reason.OUT_OF_MEMORY
            | Reason.DISK_FULL
            | Reason.UPLOAD_FAILED
            | Reason.CANCELLED
        ):
            return Fault.JOB
        case (
            Reason.IMAGE_UNREACHABLE
            | Reason.EXECUTOR_LOST
            | Reason.EXECUTOR_ERROR
            | Reason.DEADLINE_EXCEEDED
            | Reason.REQUEST_LOST
        ):
            return Fault.HORDE
        case _:
            assert_never(reason)


def is_repeatable(outcome: AnyOutcome) -> bool:
    """Whether the horde may give the job to another executor instead of recording this outcome.

    True only for the horde's own failures; a job past its deadline is never repeated, nor one that nobody can
    read any more. Whether attempts are left, and whether the job let anything out of the machine already, is
    judged by the caller.
    """
    if not isinstance(outcome, Failed):
        return False
    final = (Reason.DEADLINE_EXCEEDED, Reason.REQUEST_LOST)
    return fault_of(outcome.reason) is Fault.HORDE and outcome.reason not in final
