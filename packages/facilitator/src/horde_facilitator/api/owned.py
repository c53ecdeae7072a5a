"""The jobs that a caller may see."""

from horde_facilitator.errors import NotFound
from horde_facilitator.parts import Parts
from horde_facilitator.records import jobs
from horde_facilitator.records.values import Job

UNKNOWN = "Not found."
"""The one answer for a job that does not exist and for one that is somebody else's."""


async def owned(parts: Parts, owner: str, uuid: str) -> Job:
    """The owner's job.

    Raises:
        NotFound: the owner has no such job.
    """
    job = await parts.database.read(lambda connection: jobs.find(connection, uuid, owner))
    if job is None:
        raise NotFound(UNKNOWN)
    return job
