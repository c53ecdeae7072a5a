"""Why a job is where it is."""

from fastapi import APIRouter
from sqlalchemy import Connection

from horde_core.lifecycle import QUEUED
from horde_core.wire.client import JOBS_PATH
from horde_core.wire.explanation import Explanation
from horde_facilitator.api.given import GivenParts, User
from horde_facilitator.api.owned import UNKNOWN
from horde_facilitator.api.refusals import answers
from horde_facilitator.clock import microseconds
from horde_facilitator.errors import NotFound
from horde_facilitator.explaining import explain as explained
from horde_facilitator.records import dossiers, waiting

router = APIRouter()


@router.get(JOBS_PATH + "{uuid}/explain/", responses=answers(401, 403, 404))
async def explain(uuid: str, parts: GivenParts, owner: User) -> Explanation:
    """Why a job waits, where it runs, or how it ended: in words and as data."""

    def read(connection: Connection) -> Explanation:
        dossier = dossiers.read(connection, owner, uuid)
        if dossier is None:
            raise NotFound(UNKNOWN)
        job, now = dossier.job, parts.clock.now()
        wait = waiting.read(connection, job, now) if job.status in QUEUED else None
        return explained(job, dossier.attempt, wait, now, microseconds(parts.settings.no_executor_s))

    return await parts.database.read(read)
