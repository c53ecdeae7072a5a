"""The last words of an attempt: its outcome, or its return into the queue."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from horde_core.lifecycle import Status
from horde_core.outcomes import Rejected, Succeeded, is_repeatable
from horde_core.wire.executor import (
    SHORT_LOG,
    ArtifactEntry,
    Event,
    Limits,
    OutcomeReport,
    StatusEvent,
)
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import executor_lost
from horde_facilitator.errors import BadRequest, MissingParts, TooLarge
from horde_facilitator.records.endings import change, end_held, give_up
from horde_facilitator.records.holds import apply_events, held_by
from horde_facilitator.records.jobs import chunks
from horde_facilitator.records.values import Artifact, Attempt, End, Held, pack
from horde_facilitator.tables import artifacts

SHOWN_MISSING = 5

_THIS_ARTIFACT = (
    artifacts.c.job == bindparam("of"),
    artifacts.c.attempt == bindparam("number"),
    artifacts.c.path == bindparam("at"),
)
_ARTIFACT_SIZE = select(artifacts.c.size).where(*_THIS_ARTIFACT)
_REPLACE_ARTIFACT = update(artifacts).where(*_THIS_ARTIFACT)
_ARRIVED = select(artifacts.c.path, artifacts.c.sha256).where(
    artifacts.c.job == bindparam("of"),
    artifacts.c.attempt == bindparam("number"),
    artifacts.c.path.in_(bindparam("paths", expanding=True)),
)


def settle(
    tx: Transaction, attempt: Attempt, report: OutcomeReport, log_sizes: Mapping[str, int], now: Now
) -> None:
    """Record an attempt's outcome with the events that were still to come; a repeat changes nothing.

    `log_sizes` are the bytes that have arrived of each stream.

    Raises:
        StaleAttempt: the attempt does not hold the job any more.
        MissingParts: events, log bytes or artifacts that must come first have not arrived.
        BadRequest: the outcome or an event is none that an executor can report here.
    """
    if attempt.end == End.REPORTED:
        return
    held = held_by(tx.connection, attempt)
    outcome = report.outcome
    if isinstance(outcome, Rejected):
        raise BadRequest("an executor cannot reject a job that it claimed; use return")
    held = apply_events(tx, held, report.first_seq, _with_limit_note(report), now)
    _check_logs(report, log_sizes)
    _check_artifacts(tx.connection, held, report.artifacts)
    _keep(tx, held, report)
    if isinstance(outcome, Succeeded) and held.job.status is not Status.EXECUTION_DONE:
        raise MissingParts(f"the job is {held.job.status}; the event execution_done has not arrived")
    if not isinstance(outcome, Succeeded) and is_repeatable(outcome):
        give_up(tx, held, End.REPORTED, outcome, now, counts=True, reported_by="executor")
    else:
        end_held(tx, held, End.REPORTED, outcome, now, reported_by="executor")


def hand_back(tx: Transaction, attempt: Attempt, now: Now) -> None:
    """Put a job back on its executor's own wish, which is no loss; a repeat changes nothing.

    Raises:
        StaleAttempt: the attempt does not hold the job any more.
    """
    if attempt.end == End.RETURNED:
        return
    held = held_by(tx.connection, attempt)
    failure = executor_lost(held.job)
    give_up(tx, held, End.RETURNED, failure, now, counts=False, reported_by="executor")


def add_artifact(tx: Transaction, held: Held, new: Artifact, limits: Limits) -> None:
    """Note an artifact whose bytes are stored; the same path may come again.

    Raises:
        TooLarge: the attempt would have more artifacts, or more bytes of them, than the operator allows.
    """
    key = {"of": new.job, "number": new.attempt, "at": new.path}
    before = tx.execute(_ARTIFACT_SIZE, **key).one_or_none()
    count = held.attempt.artifact_count + (0 if before else 1)
    total = held.attempt.artifact_bytes + new.size - (int(before.size) if before else 0)
    if count > limits.artifact_count or total > limits.artifact_bytes:
        most = f"{limits.artifact_count} artifacts of {limits.artifact_bytes} bytes together"
        raise TooLarge(f"a job may have {most}")
    if before:
        tx.execute(_REPLACE_ARTIFACT, **key, size=new.size, sha256=new.sha256)
    else:
        tx.execute(insert(artifacts), **new.stored())
    change(tx, held, artifact_count=count, artifact_bytes=total)


def _with_limit_note(report: OutcomeReport) -> Sequence[Event]:
    """The report's events; execution_done says so when the job was stopped at its limit."""
    if not (isinstance(report.outcome, Succeeded) and report.outcome.stopped_at_limit):
        return report.events
    return [
        event.model_copy(update={"metadata": {**event.metadata, "stopped_at_limit": True}})
        if isinstance(event, StatusEvent) and event.status is Status.EXECUTION_DONE
        else event
        for event in report.events
    ]


def _check_logs(report: OutcomeReport, log_sizes: Mapping[str, int]) -> None:
    for stream, total in report.logs.items():
        if total.whole is not None and not len(total.whole) == total.size <= SHORT_LOG:
            raise BadRequest.field(f"logs.{stream}.whole", f"must have `size` bytes, at most {SHORT_LOG}")
        arrived = log_sizes.get(stream, 0) if total.whole is None else len(total.whole)
        if arrived < total.size:
            raise MissingParts(f"{arrived} of {total.size} bytes of {stream} have arrived")


def _check_artifacts(connection: Connection, held: Held, announced: Sequence[ArtifactEntry]) -> None:
    arrived: set[tuple[str, str]] = set()
    for chunk in chunks([entry.path for entry in announced]):
        key = {"of": held.job.uuid, "number": held.attempt.attempt, "paths": chunk}
        arrived |= {(str(path), str(sha256)) for path, sha256 in connection.execute(_ARRIVED, key)}
    missing = [entry.path for entry in announced if (entry.path, entry.sha256) not in arrived]
    if missing:
        names = ", ".join(missing[:SHOWN_MISSING])
        raise MissingParts(f"{len(missing)} artifacts have not arrived, among them {names}")


def _keep(tx: Transaction, held: Held, report: OutcomeReport) -> None:
    kept = report.model_dump(mode="json", include={"logs", "left_out", "uploads", "stage_seconds"})
    change(tx, held, report=pack(kept))
