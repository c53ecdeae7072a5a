"""Why a job failed or was not taken on, and whose fault that was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

from pydantic import JsonValue

from horde_core.lifecycle import Status
from horde_core.outcomes import AnyOutcome, Failed, Fault, Rejected, Succeeded, fault_of
from horde_core.wire.client import JobReply

Context = dict[str, JsonValue] | None

# The original facilitator's names of stages.
_STAGES = {
    "executor_startup": "prepare",
    "volume_download": "download",
    "streaming_startup": "streaming_start",
    "result_upload": "upload",
}


@dataclass(frozen=True)
class ComputeHordeJobRejection:
    """The job was not taken on. Nothing ran, and it is nobody's fault (`fault` is None).

    Attributes:
        reason: one word for programs, for example ``"no_executor"``.
        message: what happened and what to do about it.
        context: more about it, if there is more.
        stage: always ``"queue"``.
    """

    reason: str
    message: str
    context: Context = None
    stage: str | None = "queue"
    exit_code: int | None = None

    @property
    def fault(self) -> None:
        """Nobody's."""


@dataclass(frozen=True)
class ComputeHordeJobFailure:
    """The job failed by a fault of its own: its author can mend it.

    Attributes:
        reason: one word for programs, for example ``"nonzero_return_code"``.
        message: what happened and what to do about it.
        context: more about it, if there is more.
        stage: ``"queue"``, ``"prepare"``, ``"download"``, ``"streaming_start"``, ``"execution"``, ``"collect"`` or
            ``"upload"``; None if the facilitator does not tell.
        exit_code: what the container ended with, if it ran and ended.
    """

    reason: str
    message: str
    context: Context = None
    stage: str | None = None
    exit_code: int | None = None

    @property
    def fault(self) -> Literal["job"]:
        """The job's."""
        return "job"


@dataclass(frozen=True)
class ComputeHordeHordeFailure:
    """The job failed by the horde's fault: the same job may well succeed another time.

    Attributes:
        reason: one word for programs, for example ``"executor_lost"``.
        message: what happened and what to do about it.
        reported_by: the part of the horde that noticed.
        context: more about it, if there is more.
        stage: as in `ComputeHordeJobFailure`.
        exit_code: what the container ended with, if it ran and ended.
    """

    reason: str
    message: str
    reported_by: str
    context: Context = None
    stage: str | None = None
    exit_code: int | None = None

    @property
    def fault(self) -> Literal["horde"]:
        """The horde's."""
        return "horde"


AnyFailure = ComputeHordeJobRejection | ComputeHordeJobFailure | ComputeHordeHordeFailure


def failure_of(reply: JobReply) -> AnyFailure | None:
    """Why a job failed or was rejected; None while it runs and when it ended well."""
    last = reply.status_history[-1] if reply.status_history else None
    word = last.status if last else reply.status
    status = Status.parse(word)
    if status not in (Status.FAILED, Status.REJECTED):
        return None
    details = details_of(last.metadata or {}) if last else None
    if reply.horde and reply.horde.outcome:
        return _of_outcome(reply.horde.outcome, details)
    if details:
        return details
    message = f"the facilitator says {word!r} and gives no reason"
    if status is Status.REJECTED:
        return ComputeHordeJobRejection("unknown", message)
    if word == "horde_failed":
        return ComputeHordeHordeFailure("unknown", message, reported_by="unknown")
    return ComputeHordeJobFailure("unknown", message)


def _of_outcome(outcome: AnyOutcome, details: AnyFailure | None) -> AnyFailure | None:
    match outcome:
        case Succeeded():
            return None
        case Rejected():
            return ComputeHordeJobRejection(outcome.reason.value, outcome.message)
        case Failed():
            given = (outcome.context, outcome.stage.value, outcome.exit_code)
            if fault_of(outcome.reason) is Fault.JOB:
                return ComputeHordeJobFailure(outcome.reason.value, outcome.message, *given)
            reporter = details.reported_by if isinstance(details, ComputeHordeHordeFailure) else "unknown"
            return ComputeHordeHordeFailure(outcome.reason.value, outcome.message, reporter, *given)
        case _:
            assert_never(outcome)


def details_of(metadata: Mapping[str, JsonValue]) -> AnyFailure | None:
    """The failure that the metadata of a history entry describe, the horde's own first."""
    horde = metadata.get("horde_failure_details")
    if isinstance(horde, dict):
        reporter = _text(horde, "reported_by")
        given = (_context(horde), _stage(horde), _exit_code(horde))
        return ComputeHordeHordeFailure(_text(horde, "reason"), _text(horde, "message"), reporter, *given)
    job = metadata.get("job_failure_details")
    if isinstance(job, dict):
        given = (_context(job), _stage(job), _exit_code(job))
        return ComputeHordeJobFailure(_text(job, "reason"), _text(job, "message"), *given)
    rejection = metadata.get("job_rejection_details")
    if isinstance(rejection, dict):
        return ComputeHordeJobRejection(
            _text(rejection, "reason"), _text(rejection, "message"), _context(rejection)
        )
    return None


def _text(details: Mapping[str, JsonValue], key: str) -> str:
    value = details.get(key)
    return value if isinstance(value, str) else "unknown"


def _context(details: Mapping[str, JsonValue]) -> Context:
    value = details.get("context")
    return value if isinstance(value, dict) else None


def _stage(details: Mapping[str, JsonValue]) -> str | None:
    value = details.get("stage")
    return _STAGES.get(value, value) if isinstance(value, str) and value != "unknown" else None


def _exit_code(details: Mapping[str, JsonValue]) -> int | None:
    value = details.get("docker_process_exit_status")
    return value if type(value) is int else None
