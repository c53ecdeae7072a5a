"""Artifacts on their way from the workspace to the facilitator."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Sequence

from horde_core.wire.executor import ArtifactEntry
from horde_executor import threads
from horde_executor.collect import Artifact
from horde_executor.facilitator import Attempt, Facilitator

AT_ONCE = 4
PIECE = 1024 * 1024


async def deliver(
    facilitator: Facilitator, attempt: Attempt, artifacts: Sequence[Artifact]
) -> tuple[ArtifactEntry, ...]:
    """Send all artifacts, a few at a time; returns what was sent, in the same order.

    Raises:
        OSError: one changed or cannot be read.
        FacilitatorError, Fenced: as the facilitator's client does.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def send(artifact: Artifact) -> ArtifactEntry:
        async with places:
            digest = await threads.run(lambda stop: _sha256(artifact, stop), name="hash an artifact")
            await facilitator.send_artifact(
                attempt, artifact.path, lambda: _pieces(artifact), artifact.size, digest
            )
            return ArtifactEntry(path=artifact.path, size=artifact.size, sha256=digest)

    tasks: list[asyncio.Task[ArtifactEntry]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(send(artifact)) for artifact in artifacts)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return tuple(task.result() for task in tasks)


def _sha256(artifact: Artifact, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with artifact.open() as file:
        while piece := os.read(file, PIECE):
            threads.check(stop)
            digest.update(piece)
    return digest.hexdigest()


async def _pieces(artifact: Artifact) -> AsyncGenerator[bytes, None]:
    with artifact.open() as file:
        while piece := await asyncio.to_thread(os.read, file, PIECE):
            yield piece
