"""Server-sent events: what happens to jobs, and what they write."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from horde_core.wire.client import EVENTS_PATH, JOBS_PATH, JobEvents, LogChunk, WatchRequest
from horde_facilitator.api.description import described, stream_of
from horde_facilitator.api.given import MIB, GivenParts, User, body_of
from horde_facilitator.api.owned import owned
from horde_facilitator.api.refusals import answers
from horde_facilitator.errors import BadRequest
from horde_facilitator.watching import follow, watch

router = APIRouter()

Offset = Annotated[int, Query(ge=0, lt=2**53)]


class EventStream(StreamingResponse):
    """A stream of server-sent events; proxies are asked not to hold it back."""

    media_type = "text/event-stream"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"


@router.post(
    EVENTS_PATH,
    status_code=200,
    response_class=EventStream,
    responses={**answers(400, 401, 403), 200: stream_of(JobEvents)},
    openapi_extra=described(WatchRequest),
)
async def events(
    parts: GivenParts, owner: User, body: Annotated[WatchRequest, body_of(WatchRequest, MIB)]
) -> EventStream:
    """Watch jobs: first what is newer than each cursor, then what happens, until the client closes."""
    if len(body.jobs) > parts.settings.watched_jobs:
        raise BadRequest.field("jobs", f"one stream watches at most {parts.settings.watched_jobs} jobs")
    return EventStream(watch(parts, owner, body.jobs))


@router.get(
    JOBS_PATH + "{uuid}/logs/",
    status_code=200,
    response_class=EventStream,
    responses={**answers(401, 403, 404), 200: stream_of(LogChunk)},
)
async def logs(
    *,
    uuid: str,
    parts: GivenParts,
    owner: User,
    follow_: Annotated[bool, Query(alias="follow")] = False,
    stdout: Offset = 0,
    stderr: Offset = 0,
    attempt: Annotated[int | None, Query(ge=0)] = None,
) -> EventStream:
    """The job's logs from the given offsets on. When another attempt is current they begin at 0 again."""
    job = await owned(parts, owner, uuid)
    offsets = {"stdout": stdout, "stderr": stderr}
    return EventStream(follow(parts, job.uuid, attempt, offsets, live=follow_))
