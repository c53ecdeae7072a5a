"""Everything that a reply about jobs needs, read in one view of the records."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, tuple_

from horde_facilitator.records import jobs as job_records
from horde_facilitator.records.search import Search, page
from horde_facilitator.records.values import Artifact, Attempt, Entry, Job
from horde_facilitator.tables import artifacts, attempts

ALL = 2**62

_ATTEMPTS = select(*Attempt.columns(attempts)).where(
    tuple_(attempts.c.job, attempts.c.attempt).in_(bindparam("attempts_of", expanding=True))
)
_OF_ATTEMPT = select(*Artifact.columns(artifacts)).where(
    artifacts.c.job == bindparam("of"), artifacts.c.attempt == bindparam("number")
)
_ARTIFACTS = _OF_ATTEMPT.order_by(artifacts.c.path).limit(bindparam("most"))
_ARTIFACT = _OF_ATTEMPT.where(artifacts.c.path == bindparam("at"))


@dataclass(frozen=True, slots=True)
class Dossier:
    """A job with what belongs to it. `attempt` is the latest, `shown` the one whose results are the job's.

    `echo` is sealed. `more_artifacts` says that there are more than those in `artifacts`.
    """

    job: Job
    echo: bytes
    entries: Sequence[Entry]
    attempt: Attempt | None
    shown: Attempt | None
    artifacts: Sequence[Artifact]
    more_artifacts: bool = False


def read(connection: Connection, owner: str, uuid: str, artifact_cap: int | None = None) -> Dossier | None:
    """The dossier of one job, if the owner has it; all of its artifacts, or so many."""
    job = job_records.find(connection, uuid, owner)
    return _dossiers(connection, [job], artifact_cap)[0] if job else None


def read_page(
    connection: Connection, owner: str, search: Search, *, offset: int, size: int, artifact_cap: int
) -> tuple[int, list[Dossier]]:
    """How many jobs of the owner match, and the dossiers of a page of them, newest first."""
    count, jobs = page(connection, owner, search, offset, size)
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
    for chunk in job_records.chunks(keys):
        for row in connection.execute(_ATTEMPTS, {"attempts_of": chunk}).mappings():
            attempt = Attempt.read(row)
            found[attempt.job, attempt.attempt] = attempt
    return found


def _artifacts(connection: Connection, attempt: Attempt, cap: int | None) -> list[Artifact]:
    key = {"of": attempt.job, "number": attempt.attempt, "most": ALL if cap is None else cap + 1}
    return [Artifact.read(row) for row in connection.execute(_ARTIFACTS, key).mappings()]


def find_artifact(connection: Connection, job: Job, path: str) -> Artifact | None:
    """One of the job's artifacts, once the job has ended."""
    if not job.status.is_end:
        return None
    key = {"of": job.uuid, "number": job.shown, "at": path}
    row = connection.execute(_ARTIFACT, key).mappings().one_or_none()
    return Artifact.read(row) if row else None


def shown_attempt(connection: Connection, job: Job) -> Attempt | None:
    """The attempt whose logs are the job's."""
    return _attempts(connection, [(job.uuid, job.shown)]).get((job.uuid, job.shown))
