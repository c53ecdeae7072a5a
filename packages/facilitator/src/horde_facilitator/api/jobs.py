"""Jobs for their owners: create, get, list, cancel."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from horde_core.spec import JobSpec
from horde_core.wire.client import CREATE_PATH, IDEMPOTENCY_HEADER, JOBS_PATH, JobPage, JobReply
from horde_facilitator import admission
from horde_facilitator.admission import Admitted
from horde_facilitator.api.description import SIGNATURE, described
from horde_facilitator.api.given import INLINE, GivenParts, User, read_body
from horde_facilitator.api.owned import UNKNOWN
from horde_facilitator.api.refusals import Detail, answers
from horde_facilitator.api.searching import GivenSearch
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import over_class_limit, over_queue_limit
from horde_facilitator.errors import NotFound, TooMany
from horde_facilitator.inlining import Caps, bare, inlined
from horde_facilitator.parts import Parts
from horde_facilitator.records import classes, dossiers, inputs, jobs, people, repeats
from horde_facilitator.records.dossiers import Dossier

PAGE_SIZE = 10
MAX_PAGE_SIZE = 256
MAX_DIGITS = 10
LISTED_ARTIFACTS = 1000
SMALL = 256 * 1024
RETRY_S = 2
JSON = "application/json"
IDEMPOTENCY_KEY = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

router = APIRouter()


@router.post(
    CREATE_PATH,
    status_code=201,
    response_model=JobReply,
    responses={**answers(400, 401, 403, 413, 429), 409: {"model": Detail}},
    openapi_extra={**described(JobSpec), "parameters": [*SIGNATURE, IDEMPOTENCY_KEY]},
)
async def create(request: Request, parts: GivenParts, owner: User) -> Response:
    """Create a job from a signed request.

    The same signed request gives the same job again, and so does one that says the same under the same key.
    """
    body = await read_body(request, parts.settings.body_bytes)
    async with _place(parts, len(body)):
        admitted = await _admitted(body, request, parts, owner)
        dossier = await parts.database.write(lambda tx: _create(tx, admitted, parts))
    return Response(await bare(dossier, parts), 201, media_type=JSON)


async def _admitted(body: bytes, request: Request, parts: Parts, owner: str) -> Admitted:
    judge = partial(
        admission.admit,
        body,
        request.headers,
        owner,
        settings=parts.settings,
        sealing=parts.sealing,
        now=parts.clock.now(),
    )
    if len(body) < INLINE:
        return judge()
    return await asyncio.to_thread(judge)


@asynccontextmanager
async def _place(parts: Parts, size: int) -> AsyncGenerator[None]:
    """Let few large bodies be judged and stored at a time.

    Raises:
        TooMany: no place became free soon. Published clients wait 5 s for an answer and give up without one, but
            after this one they ask again.
    """
    if size < INLINE:
        yield
        return
    try:
        async with asyncio.timeout(parts.settings.big_body_wait_s):
            await parts.big_bodies.acquire()
    except TimeoutError:
        raise TooMany("Too many large requests at once; send this one again, unchanged", RETRY_S) from None
    try:
        yield
    finally:
        parts.big_bodies.release()


def _create(tx: Transaction, admitted: Admitted, parts: Parts) -> Dossier:
    signature, job, key = admitted.signature, admitted.job, admitted.idempotency_key
    before = people.job_signed(tx.connection, signature.signatory, signature.signature)
    if before is None and key is not None:
        before = repeats.job_made(tx.connection, job.owner, key, admitted.body_sha256)
    if before is not None:
        return _read(tx.connection, job.owner, before)
    terms = classes.known(tx.connection, job.executor_class)
    rejection = over_class_limit(admitted.seconds, job.executor_class, terms) or over_queue_limit(
        jobs.queued(tx.connection, job.owner), parts.settings.max_queued_per_hotkey
    )
    priced = replace(job, price=admitted.seconds * terms.weight)
    jobs.create(tx, priced, parts.clock.now(), rejection)
    inputs.name(tx, job.owner, job.uuid, admitted.blobs, parts.clock.now())
    people.remember_signature(tx, signature.signatory, signature.signature, job.uuid, admitted.remember_until_us)
    if key is not None:
        repeats.remember(tx, job.owner, key, admitted.body_sha256, job.uuid)
    return _read(tx.connection, job.owner, job.uuid)


def _read(connection: Connection, owner: str, uuid: str) -> Dossier:
    dossier = dossiers.read(connection, owner, uuid)
    if dossier is None:
        raise NotFound(UNKNOWN)
    return dossier


@router.get(JOBS_PATH + "{uuid}/", response_model=JobReply, responses=answers(401, 403, 404))
async def get(uuid: str, parts: GivenParts, owner: User, inline: bool = True) -> Response:
    """One job. `inline=0` leaves the content of logs and artifacts out; they have addresses of their own."""
    dossier = await parts.database.read(lambda connection: _read(connection, owner, uuid))
    settings = parts.settings
    if not inline:
        return Response(await bare(dossier, parts), media_type=JSON)
    caps = Caps(settings.inline_bytes, settings.log_characters)
    body = inlined(dossier, parts, caps)
    if sum(artifact.size for artifact in dossier.artifacts) <= SMALL:
        return Response(b"".join([piece async for piece in body]), media_type=JSON)
    return StreamingResponse(body, media_type=JSON)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many jobs lie on the pages before."""
        return (self.number - 1) * self.size


async def _paging(page: str = "1", page_size: str = "") -> Paging:
    """Read the query. A size that makes no sense becomes the default; a page that makes none does not exist."""
    number, size = _count(page), _count(page_size)
    if not number:
        raise NotFound("Invalid page.")
    return Paging(number, min(size or PAGE_SIZE, MAX_PAGE_SIZE))


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else 0


@router.get(JOBS_PATH, response_model=JobPage, responses=answers(400, 401, 403, 404))
async def listing(
    *,
    request: Request,
    parts: GivenParts,
    owner: User,
    page: Annotated[Paging, Depends(_paging)],
    search: GivenSearch,
    inline: bool = True,
) -> Response:
    """The caller's jobs, newest first; those that match everything that is asked for."""
    count, found = await parts.database.read(
        lambda connection: dossiers.read_page(
            connection, owner, search, offset=page.offset, size=page.size, artifact_cap=LISTED_ARTIFACTS
        )
    )
    if not found and page.number > 1:
        raise NotFound("Invalid page.")
    following = _page_url(request, page.number + 1) if page.offset + page.size < count else None
    previous = _page_url(request, page.number - 1) if page.number > 1 else None
    head = JobPage(count=count, next=following, previous=previous, results=[])
    return StreamingResponse(_listing(head, found, parts, inline=inline), media_type=JSON)


async def _listing(head: JobPage, found: list[Dossier], parts: Parts, *, inline: bool) -> AsyncIterator[bytes]:
    cap = parts.settings.listing_bytes
    yield head.model_dump_json(exclude={"results"})[:-1].encode() + b',"results":['
    for index, dossier in enumerate(found):
        if index:
            yield b","
        if inline:
            async for piece in inlined(dossier, parts, Caps(3 * cap // 8, cap // 4, cap // 8)):
                yield piece
        else:
            yield await bare(dossier, parts)
    yield b"]}"


def _page_url(request: Request, number: int) -> str:
    return str(request.url.include_query_params(page=number))


@router.post(
    JOBS_PATH + "{uuid}/cancel/", status_code=202, response_model=JobReply, responses=answers(401, 403, 404)
)
async def cancel(uuid: str, parts: GivenParts, owner: User) -> Response:
    """Ask for the end of a job. A queued job ends at once; a running one when its executor has stopped it."""

    def run(tx: Transaction) -> Dossier:
        jobs.cancel(tx, _read(tx.connection, owner, uuid).job, parts.clock.now())
        return _read(tx.connection, owner, uuid)

    dossier = await parts.database.write(run)
    return Response(await bare(dossier, parts), 202, media_type=JSON)
