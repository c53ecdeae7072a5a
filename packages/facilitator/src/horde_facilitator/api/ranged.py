"""Stored bytes as an answer, whole or the range that was asked for."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from horde_facilitator.api.refusals import answers
from horde_facilitator.ranges import requested

BYTES = "application/octet-stream"
ANSWERS: dict[int | str, dict[str, Any]] = {
    **answers(401, 403, 404),
    200: {"content": {BYTES: {}}},
    206: {"content": {BYTES: {}}, "description": "The range that was asked for."},
    416: {"description": "The range lies outside; Content-Range says how many bytes there are."},
}


def ranged(
    request: Request, total: int, read: Callable[[int, int], AsyncIterator[bytes]], etag: str | None = None
) -> Response:
    """Answer with the bytes that `read` gives from one place up to another, of `total` in all."""
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
