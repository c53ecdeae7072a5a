"""Job objects, made of what the records hold. Pure; logs and artifacts are put in by `inlining`."""

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue, TypeAdapter

from horde_core.lifecycle import Status
from horde_core.outcomes import AnyOutcome, Failed, Outcome, fault_of
from horde_core.wire.client import HordeDetails, JobReply, LogInfo, Progress, StatusEntry
from horde_core.wire.executor import ArtifactEntry, LeftOut
from horde_facilitator.clock import time_of
from horde_facilitator.errors import SealError
from horde_facilitator.logview import LogView
from horde_facilitator.records.dossiers import Dossier
from horde_facilitator.records.values import End, Entry, Job
from horde_facilitator.reports import report_of
from horde_facilitator.sealing import Purpose, SealingKeys

HORDE_FAILED = "horde_failed"
"""How newer published clients spell a failure that was the horde's."""

_OUTCOME: TypeAdapter[AnyOutcome] = TypeAdapter(Outcome)


def status_entry(entry: Entry) -> StatusEntry:
    """A line of history as clients read it."""
    details = entry.details
    horde = entry.status == Status.FAILED and "horde_failure_details" in details
    return StatusEntry(
        status=HORDE_FAILED if horde else entry.status,
        created_at=time_of(entry.at_us),
        metadata=details,
        attempt=entry.attempt,
    )


def progress_of(job: Job) -> Progress | None:
    """How far the job's current stage is."""
    return Progress.model_validate_json(job.progress) if job.progress else None


def echo(dossier: Dossier, sealing: SealingKeys) -> dict[str, JsonValue]:
    """What the job was asked with; what the records know without a key, if its key is gone."""
    job = dossier.job
    try:
        return json.loads(sealing.open(dossier.echo, job.uuid, Purpose.ECHO))
    except SealError:
        known = {"docker_image": job.image, "executor_class": job.executor_class, "job_namespace": job.namespace}
        return {**known, "args": [], "env": {}}


def job_reply(
    dossier: Dossier,
    asked: Mapping[str, JsonValue],
    logs: Mapping[str, LogView],
    not_inlined: Sequence[LeftOut] = (),
) -> JobReply:
    """The job object without the content of logs, artifacts and answers to uploads. `asked` is its `echo`."""
    job = dossier.job
    return JobReply.model_validate(
        {
            **asked,
            "uuid": job.uuid,
            "created_at": time_of(job.created_us),
            "last_update": time_of(job.updated_us),
            "status": job.status.reference_name,
            "status_history": [status_entry(entry) for entry in dossier.entries],
            "streaming_server_cert": "",
            "streaming_server_address": "",
            "streaming_server_port": 0,
            "horde": details_of(dossier, logs, not_inlined),
        }
    )


def upload_results(dossier: Dossier) -> dict[str, str]:
    """What the servers of a job's outputs answered, by path below `/output`; each is JSON in a text of its own.

    Published clients read `headers` and `body` there. Of several uploads of one file the last counts.
    """
    return {
        answer.path: answer.model_dump_json(include={"status", "headers", "body"})
        for answer in report_of(dossier.shown).uploads
    }


def details_of(dossier: Dossier, logs: Mapping[str, LogView], not_inlined: Sequence[LeftOut] = ()) -> HordeDetails:
    """What our SDK is told of a job beyond what all clients are."""
    job, attempt, shown = dossier.job, dossier.attempt, dossier.shown
    report = report_of(shown)
    outcome = _OUTCOME.validate_json(job.outcome) if job.outcome else None
    return HordeDetails(
        attempt=job.attempt,
        executor_hotkey=attempt.executor if attempt else None,
        image_digest=job.image_digest,
        cancelling=job.is_cancelling,
        progress=progress_of(job),
        outcome=outcome,
        fault=fault_of(outcome.reason) if isinstance(outcome, Failed) else None,
        stage_seconds=report.stage_seconds,
        logs={
            stream: LogInfo(size=view.stored + view.dropped, dropped=view.dropped) for stream, view in logs.items()
        },
        artifacts=[ArtifactEntry(path=a.path, size=a.size, sha256=a.sha256) for a in dossier.artifacts],
        left_out=[*report.left_out, *not_inlined],
        price=job.price,
        payment=job.payment,
        partial=job.status.is_end and shown is not None and shown.end != End.REPORTED,
    )
