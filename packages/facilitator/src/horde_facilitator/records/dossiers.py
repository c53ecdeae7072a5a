"""Everything that a reply about jobs needs, read in one view of the records."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, tuple_

from horde_facilitator.records import jobs as job_records
from horde_facilitator.records.values import Artifact, Attempt, Entry, Job
from horde_facilitator.tables import artifacts, attempts


@dataclass(frozen=True, slots=True)
class Dossier:
    """A job with what belongs to it. `attempt` is the latest, `shown` the one whose results are the job's.

    `more_artifacts` says that there are more than those in `artifacts`.
    """

    job: Job
    echo: str
    entries: Sequence[Entry]
    attempt: Attempt | None
    shown: Attempt | None
    artifacts: Sequence[Artifact]
    more_artifacts: bool = False


def read(connection: Connection, owner: str, uuid: str) -> Dossier | None:
    """The whole dossier of one job, if the owner has it."""
    job = job_records.find(connection, uuid, owner)
    return _dossiers(connection, [job], None)[0] if job else None


def read_page(
    connection: Connection, owner: str, offset: int, size: int, artifact_cap: int
) -> tuple[int, list[Dossier]]:
    """How many jobs the owner has, and the dossiers of a page of them, newest first."""
    count, jobs = job_records.page(connection, owner, offset, size)
    return count, _dossiers(connection, jobs, artifact_cap)


def _dossiers(connection: Connection, jobs: Sequence[Job], artifact_cap: int | None) -> list[Dossier]:
    uuids = [job.uuid for job in jobs]
    echoes = job_records.echoes(connection, uuids)
    entries = job_records.entries(connection, dict.fromkeys(uuids, 0))
    rows = _attempts(connection, [key for job in jobs for key in {(job.uuid, job.attempt), (job.uuid, job.shown)}])
    found: list[Dossier] = []
    for job in jobs:
        shown = rows.get((job.uuid, job.shown))
        paths = _artifacts(connection, shown, artifact_cap) if shown and job.status.is_end else []
        more = artifact_cap is not None and len(paths) > artifact_cap
        found.append(
            Dossier(
                job=job,
                echo=echoes[job.uuid],
                entries=entries[job.uuid],
                attempt=rows.get((job.uuid, job.attempt)),
                shown=shown,
                artifacts=paths[:artifact_cap] if more else paths,
                more_artifacts=more,
            )
        )
    return found


def _attempts(connection: Connection, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Attempt]:
    found: dict[tuple[str, int], Attempt] = {}
    for start in range(0, len(keys), job_records.CHUNK):
        chunk = keys[start : start + job_records.CHUNK]
        key = tuple_(attempts.c.job, attempts.c.attempt)
        query = select(*Attempt.columns(attempts)).where(key.in_(chunk))
        for row in connection.execute(query).mappings():
            attempt = Attempt.read(row)
            found[attempt.job, attempt.attempt] = attempt
    return found


def _artifacts(connection: Connection, attempt: Attempt, cap: int | None) -> list[Artifact]:
    query = (
        select(*Artifact.columns(artifacts))
        .where(artifacts.c.job == attempt.job, artifacts.c.attempt == attempt.attempt)
        .order_by(artifacts.c.path)
    )
    rows = connection.execute(query.limit(cap + 1) if cap is not None else query).mappings()
    return [Artifact.read(row) for row in rows]


def find_artifact(connection: Connection, job: Job, path: str) -> Artifact | None:
    """One of the job's artifacts, once the job has ended."""
    if not job.status.is_end:
        return None
    query = select(*Artifact.columns(artifacts)).where(
        artifacts.c.job == job.uuid, artifacts.c.attempt == job.shown, artifacts.c.path == path
    )
    row = connection.execute(query).mappings().one_or_none()
    return Artifact.read(row) if row else None


def shown_attempt(connection: Connection, job: Job) -> Attempt | None:
    """The attempt whose logs are the job's."""
    return _attempts(connection, [(job.uuid, job.shown)]).get((job.uuid, job.shown))
