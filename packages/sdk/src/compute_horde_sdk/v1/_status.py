"""Where a job is, and where it has been."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._failures import (
    ComputeHordeHordeFailure,
    ComputeHordeJobFailure,
    ComputeHordeJobRejection,
    details_of,
)
from horde_core import lifecycle
from horde_core.wire.client import JobReply, StatusEntry


class ComputeHordeJobStatus(StrEnum):
    """Where a job is.

    Either spelling can be read, ``"Executor Ready"`` and ``"executor_ready"``. ``"horde_failed"`` is FAILED; whose
    fault that was, `ComputeHordeJob.error` tells.
    """

    SENT = "Sent"
    RECEIVED = "Received"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    STREAMING_READY = "Streaming Ready"
    EXECUTOR_READY = "Executor Ready"
    VOLUMES_READY = "Volumes Ready"
    EXECUTION_DONE = "Execution Done"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        try:
            name = lifecycle.Status.parse(str(value)).name
        except ValueError:
            return None
        return cls[name]

    @classmethod
    def end_states(cls) -> "set[ComputeHordeJobStatus]":
        """The statuses after which nothing changes any more."""
        return {cls.COMPLETED, cls.FAILED, cls.REJECTED}

    def is_in_progress(self) -> bool:
        """Whether the job has not ended yet."""
        return self not in self.end_states()

    def is_successful(self) -> bool:
        """Whether the job ended well."""
        return self is ComputeHordeJobStatus.COMPLETED

    def is_streaming_ready(self) -> bool:
        """Whether the job can be talked to right now."""
        return self is ComputeHordeJobStatus.STREAMING_READY

    def is_failed(self) -> bool:
        """Whether the job ended in failure (a rejected job did not: nothing of it ran)."""
        return self is ComputeHordeJobStatus.FAILED


@dataclass(frozen=True)
class StreamingServerDetails:
    """Where a streaming job listens: a PEM certificate, a host and a port."""

    streaming_server_cert: str | None = None
    streaming_server_address: str | None = None
    streaming_server_port: int | None = None


@dataclass(frozen=True)
class JobStatusUpdateMetadata:
    """What is said about a step of the history beyond its name.

    `stopped_at_limit` stands with EXECUTION_DONE: the container was stopped at its execution limit.
    """

    job_rejection_details: ComputeHordeJobRejection | None = None
    job_failure_details: ComputeHordeJobFailure | None = None
    horde_failure_details: ComputeHordeHordeFailure | None = None
    streaming_details: StreamingServerDetails | None = None
    stopped_at_limit: bool = False


@dataclass(frozen=True)
class ComputeHordeJobStatusEntry:
    """One step of a job's history. `attempt` is 0 until an executor took the job for the first time."""

    created_at: datetime
    status: ComputeHordeJobStatus
    metadata: JobStatusUpdateMetadata | None = None
    attempt: int = 0


def history_of(reply: JobReply) -> list[ComputeHordeJobStatusEntry]:
    """The history in a reply, oldest first; of a server that keeps none, the present status alone."""
    if reply.status_history:
        return entries_of(reply.status_history)
    at = reply.last_update or reply.created_at
    return entries_of([StatusEntry(status=reply.status, created_at=at)])


def has_ended(reply: JobReply) -> bool:
    """Whether a reply describes a job that will not change any more.

    Raises:
        ComputeHordeError: its status is unknown.
    """
    word = reply.status_history[-1].status if reply.status_history else reply.status
    return not _status(word).is_in_progress()


def entries_of(entries: Sequence[StatusEntry]) -> list[ComputeHordeJobStatusEntry]:
    """History as the wire has it, as the SDK shows it.

    Raises:
        ComputeHordeError: a status is unknown.
    """
    return [_entry(entry) for entry in entries]


def _entry(entry: StatusEntry) -> ComputeHordeJobStatusEntry:
    metadata = None if entry.metadata is None else _metadata(entry.metadata)
    return ComputeHordeJobStatusEntry(entry.created_at, _status(entry.status), metadata, entry.attempt)


def _status(word: str) -> ComputeHordeJobStatus:
    try:
        return ComputeHordeJobStatus(word)
    except ValueError as error:
        raise ComputeHordeError(f"malformed response: {word!r} is no status of a job") from error


def _metadata(raw: dict[str, JsonValue]) -> JobStatusUpdateMetadata:
    details = details_of(raw)
    return JobStatusUpdateMetadata(
        job_rejection_details=details if isinstance(details, ComputeHordeJobRejection) else None,
        job_failure_details=details if isinstance(details, ComputeHordeJobFailure) else None,
        horde_failure_details=details if isinstance(details, ComputeHordeHordeFailure) else None,
        streaming_details=_streaming(raw.get("streaming_details")),
        stopped_at_limit=raw.get("stopped_at_limit") is True,
    )


def _streaming(raw: JsonValue) -> StreamingServerDetails | None:
    if not isinstance(raw, dict):
        return None
    cert, address, port = (raw.get(f"streaming_server_{part}") for part in ("cert", "address", "port"))
    return StreamingServerDetails(
        cert if isinstance(cert, str) else None,
        address if isinstance(address, str) else None,
        port if type(port) is int else None,
    )
