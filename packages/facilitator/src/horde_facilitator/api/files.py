"""Logs and artifacts as plain bytes, with ranges."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from horde_core.wire.client import JOBS_PATH
from horde_core.wire.executor import Stream
from horde_facilitator.api.given import GivenParts, User
from horde_facilitator.api.owned import UNKNOWN, owned
from horde_facilitator.api.ranged import ANSWERS, ranged
from horde_facilitator.blobs import artifact_key, log_key
from horde_facilitator.errors import NotFound
from horde_facilitator.inlining import PIECE, log_views, read_log
from horde_facilitator.records import dossiers

router = APIRouter()


@router.get(JOBS_PATH + "{uuid}/logs/{stream}/", response_class=StreamingResponse, responses=ANSWERS)
async def log(request: Request, uuid: str, stream: Stream, parts: GivenParts, owner: User) -> Response:
    """One log stream as bytes, with a mark where bytes were left out. While the job runs it grows."""
    job = await owned(parts, owner, uuid)
    shown = await parts.database.read(lambda connection: dossiers.shown_attempt(connection, job))
    views = await log_views(parts.blobs, shown, parts.settings.limits.log_bytes)
    if shown is None:
        return ranged(request, 0, lambda _start, _stop: _nothing())
    key, view = log_key(job.uuid, shown.attempt, stream), views[stream]
    return ranged(request, view.length, lambda start, stop: read_log(parts.blobs, key, view, start, stop))


@router.get(JOBS_PATH + "{uuid}/artifacts/{path:path}", response_class=StreamingResponse, responses=ANSWERS)
async def artifact(request: Request, uuid: str, path: str, parts: GivenParts, owner: User) -> Response:
    """One artifact as bytes. `path` is its full path in the container without the slash in front."""
    job = await owned(parts, owner, uuid)
    found = await parts.database.read(lambda connection: dossiers.find_artifact(connection, job, f"/{path}"))
    if found is None:
        raise NotFound(UNKNOWN)
    key = artifact_key(job.uuid, found.attempt, found.sha256)
    return ranged(
        request,
        found.size,
        lambda start, stop: parts.blobs.read(key, start, stop, PIECE),
        etag=f'"{found.sha256}"',
    )


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
