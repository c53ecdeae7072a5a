"""Logs and artifacts as plain bytes, with ranges."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from horde_core.wire.client import JOBS_PATH
from horde_core.wire.executor import Stream
from horde_facilitator.api.given import GivenParts, User
from horde_facilitator.api.owned import UNKNOWN, owned
from horde_facilitator.api.refusals import answers
from horde_facilitator.blobs import artifact_key, log_key
from horde_facilitator.errors import NotFound
from horde_facilitator.inlining import PIECE, log_views, read_log
from horde_facilitator.ranges import requested
from horde_facilitator.records import dossiers

router = APIRouter()

BYTES = "application/octet-stream"
ANSWERS: dict[int | str, dict[str, Any]] = {
    **answers(401, 403, 404),
    200: {"content": {BYTES: {}}},
    206: {"content": {BYTES: {}}, "description": "The range that was asked for."},
    416: {"description": "The range lies outside; Content-Range says how many bytes there are."},
}


@router.get(JOBS_PATH + "{uuid}/logs/{stream}/", response_class=StreamingResponse, responses=ANSWERS)
async def log(request: Request, uuid: str, stream: Stream, parts: GivenParts, owner: User) -> Response:
    """One log stream as bytes, with a mark where bytes were left out. While the job runs it grows."""
    job = await owned(parts, owner, uuid)
    shown = await parts.database.read(lambda connection: dossiers.shown_attempt(connection, job))
    views = await log_views(parts.blobs, shown, parts.settings.limits.log_bytes)
    if shown is None:
        return _part(request, 0, lambda _start, _stop: _nothing())
    key, view = log_key(job.uuid, shown.attempt, stream), views[stream]
    return _part(request, view.length, lambda start, stop: read_log(parts.blobs, key, view, start, stop))


@router.get(JOBS_PATH + "{uuid}/artifacts/{path:path}", response_class=StreamingResponse, responses=ANSWERS)
async def artifact(request: Request, uuid: str, path: str, parts: GivenParts, owner: User) -> Response:
    """One artifact as bytes. `path` is its full path in the container without the slash in front."""
    job = await owned(parts, owner, uuid)
    found = await parts.database.read(lambda connection: dossiers.find_artifact(connection, job, f"/{path}"))
    if found is None:
        raise NotFound(UNKNOWN)
    key = artifact_key(job.uuid, found.attempt, found.sha256)
    return _part(
        request,
        found.size,
        lambda start, stop: parts.blobs.read(key, start, stop, PIECE),
        etag=f'"{found.sha256}"',
    )


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _part(
    request: Request, total: int, read: Callable[[int, int], AsyncIterator[bytes]], etag: str | None = None
) -> Response:
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if etag:
        headers["ETag"] = etag
    condition = request.headers.get("If-Range")
    wanted = request.headers.get("Range") if condition in (None, etag) else None
    part = requested(wanted, total)
    if part is None:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{total}"})
    headers["Content-Length"] = str(part.stop - part.start)
    if part.partial:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{total}"
    status = 206 if part.partial else 200
    return StreamingResponse(read(part.start, part.stop), status, headers, BYTES)
