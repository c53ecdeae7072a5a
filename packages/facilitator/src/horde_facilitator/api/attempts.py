"""What executors say of the attempts that they hold."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request
from starlette.responses import Response

from horde_core.wire.executor import (
    PREFIX,
    SHA256_HEADER,
    Events,
    LeaseReply,
    LeaseRequest,
    OutcomeReport,
    Stream,
)
from horde_facilitator.api.description import described, raw
from horde_facilitator.api.given import MIB, Executor, GivenParts, body_of, pieces
from horde_facilitator.api.refusals import answers
from horde_facilitator.api.waiting import until_gone
from horde_facilitator.blobs import artifact_key, log_key
from horde_facilitator.bus import hold_topic, log_topic
from horde_facilitator.clock import microseconds
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, MissingParts, TooLarge
from horde_facilitator.parts import Parts
from horde_facilitator.records import executors, holds, outcomes
from horde_facilitator.records.values import Artifact, Held

ATTEMPT = PREFIX + "/attempts/{job}/{number}"
DONE = {204: {"description": "Taken, now or before."}}
CANCEL_PAUSE_S = 0.5
"""A cancel that the executor knows of already is said again only so often, or it would ask without pause."""
MAX_NUMBER = 2**31
MAX_OFFSET = 2**53
MAX_PATH_BYTES = 4096
MAX_REPORT = 64 * MIB
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

router = APIRouter()
Number = Annotated[int, Path(ge=1, lt=MAX_NUMBER)]


@router.post(
    ATTEMPT + "/lease",
    responses=answers(400, 401, 403, 404, 409),
    openapi_extra=described(LeaseRequest),
)
async def lease(
    *,
    request: Request,
    job: str,
    number: Number,
    parts: GivenParts,
    executor: Executor,
    body: Annotated[LeaseRequest, body_of(LeaseRequest, MIB)],
) -> LeaseReply:
    """Renew the lease, then wait up to `wait_s` for a cancel or for the end of the attempt."""

    def renew(tx: Transaction) -> Held:
        now = parts.clock.now()
        held = holds.hold(tx.connection, job, number, executor)
        holds.renew(tx, held, now, microseconds(parts.settings.lease_s))
        executors.seen(tx, executor, now)
        return held

    with parts.bus.listen([hold_topic(job)]) as listener:
        async with until_gone(request, listener):
            held = await parts.database.write(renew)
            wait_s = min(body.wait_s, parts.settings.long_poll_s)
            await listener.wait(min(wait_s, CANCEL_PAUSE_S) if held.job.is_cancelling else wait_s)
    if body.wait_s:
        held = await parts.database.read(lambda connection: holds.hold(connection, job, number, executor))
    state = "cancel" if held.job.is_cancelling else "held"
    return LeaseReply(state=state, lease_s=parts.settings.lease_s)


@router.put(
    ATTEMPT + "/events/{seq}",
    status_code=204,
    responses={**answers(400, 401, 403, 404, 409), **DONE},
    openapi_extra=described(Events),
)
async def events(
    *,
    job: str,
    number: Number,
    seq: Annotated[int, Path(ge=0, lt=MAX_NUMBER)],
    parts: GivenParts,
    executor: Executor,
    body: Annotated[Events, body_of(Events, MIB)],
) -> None:
    """Consecutive events, of which the first has the number `seq`. Those that are known already are skipped."""

    def run(tx: Transaction) -> None:
        now = parts.clock.now()
        held = holds.hold(tx.connection, job, number, executor)
        if not held.attempt.confirmed:
            holds.renew(tx, held, now, microseconds(parts.settings.lease_s))
        holds.apply_events(tx, held, seq, body.events, now)

    await parts.database.write(run)


@router.put(
    ATTEMPT + "/logs/{stream}/{offset}",
    status_code=204,
    responses={**answers(400, 401, 403, 404, 409, 413), **DONE},
    openapi_extra=raw("Bytes of the stream from the offset on."),
)
async def logs(
    *,
    request: Request,
    job: str,
    number: Number,
    stream: Stream,
    offset: Annotated[int, Path(ge=0, lt=MAX_OFFSET)],
    parts: GivenParts,
    executor: Executor,
) -> Response:
    """Log bytes from `offset` on. Bytes that have arrived before are skipped; a gap is refused."""
    await _held(parts, job, number, executor)
    key = log_key(job, number, stream)
    limit = parts.settings.limits.log_bytes
    if offset > limit:
        raise TooLarge(f"a log stream has at most {limit} bytes")
    waiting = bytearray()
    async for piece in pieces(request, limit - offset):
        waiting += piece
        if len(waiting) >= MIB:
            await _append(parts, key, offset, bytes(waiting))
            offset += len(waiting)
            waiting.clear()
    await _append(parts, key, offset, bytes(waiting))
    parts.bus.wake([log_topic(job)])
    return Response(status_code=204)


async def _append(parts: Parts, key: str, offset: int, data: bytes) -> None:
    size = await parts.blobs.append(key, offset, data)
    if size < offset:
        raise MissingParts(f"log bytes from {size} to {offset} have not arrived")


@router.put(
    ATTEMPT + "/artifacts/{path:path}",
    status_code=204,
    responses={**answers(400, 401, 403, 404, 409, 413), **DONE},
    openapi_extra=raw("The artifact's bytes."),
)
async def artifact(
    *,
    request: Request,
    job: str,
    number: Number,
    path: str,
    parts: GivenParts,
    executor: Executor,
    sha256: Annotated[str, Header(alias=SHA256_HEADER)],
) -> Response:
    """An artifact, by its full path in the container without the slash in front. May be sent again."""
    if not _SHA256.fullmatch(sha256):
        raise BadRequest.field(SHA256_HEADER, "must be the SHA-256 of the body as 64 lower-case hex digits")
    if not path or "\0" in path or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise BadRequest.field("path", f"must have 1 to {MAX_PATH_BYTES} bytes and no NUL")
    await _held(parts, job, number, executor)
    limits = parts.settings.limits
    async with parts.blobs.receive() as incoming:
        async for piece in pieces(request, limits.artifact_bytes):
            await incoming.add(piece)
        stored = await incoming.finish()
        if stored.sha256 != sha256:
            raise BadRequest.field(SHA256_HEADER, f"the {stored.size} bytes that arrived have {stored.sha256}")
        await incoming.keep(artifact_key(job, number, sha256))

    def note(tx: Transaction) -> None:
        held = holds.hold(tx.connection, job, number, executor)
        new = Artifact(job, number, "/" + path.lstrip("/"), stored.size, sha256)
        outcomes.add_artifact(tx, held, new, limits)

    await parts.database.write(note)
    return Response(status_code=204)


@router.put(
    ATTEMPT + "/outcome",
    status_code=204,
    responses={**answers(400, 401, 403, 404, 409), **DONE},
    openapi_extra=described(OutcomeReport),
)
async def outcome(
    job: str,
    number: Number,
    parts: GivenParts,
    executor: Executor,
    body: Annotated[OutcomeReport, body_of(OutcomeReport, MAX_REPORT)],
) -> None:
    """The end of the attempt, with the events not sent before. Refused until what it announces has arrived."""
    sizes = {
        stream: await parts.blobs.size(log_key(job, number, stream)) or 0
        for stream, total in body.logs.items()
        if total.size and total.whole is None
    }

    def run(tx: Transaction) -> None:
        attempt = holds.find_attempt(tx.connection, job, number, executor)
        outcomes.settle(tx, attempt, body, sizes, parts.clock.now())

    await parts.database.write(run)


@router.post(ATTEMPT + "/return", status_code=204, responses={**answers(401, 403, 404, 409), **DONE})
async def give_back(job: str, number: Number, parts: GivenParts, executor: Executor) -> None:
    """Put the job back into the queue on the executor's own wish. It counts as no loss."""

    def run(tx: Transaction) -> None:
        attempt = holds.find_attempt(tx.connection, job, number, executor)
        outcomes.hand_back(tx, attempt, parts.clock.now())

    await parts.database.write(run)


async def _held(parts: Parts, job: str, number: int, executor: str) -> Held:
    """Check before bytes are taken; whoever writes a record checks again in its transaction."""
    return await parts.database.read(lambda connection: holds.hold(connection, job, number, executor))
