"""Input blobs: users upload them in pieces, executors fetch those of the jobs that they hold."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from horde_core.volumes import MAX_BLOB
from horde_core.wire.blobs import BLOBS_PATH, PIECE_BYTES, BlobState
from horde_facilitator.api.attempts import ATTEMPT, Number
from horde_facilitator.api.description import raw
from horde_facilitator.api.given import MIB, Executor, GivenParts, User, pieces
from horde_facilitator.api.owned import UNKNOWN
from horde_facilitator.api.ranged import ANSWERS, ranged
from horde_facilitator.api.refusals import answers
from horde_facilitator.blobs import input_key
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, MissingParts, NotFound
from horde_facilitator.inlining import PIECE
from horde_facilitator.parts import Parts
from horde_facilitator.records import holds, inputs
from horde_facilitator.records.inputs import InputBlob, Room, Wanted

router = APIRouter()
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="64 lower-case hexadecimal digits")]
Size = Annotated[int, Query(ge=1, le=MAX_BLOB, description="bytes of the whole blob")]
Offset = Annotated[int, Path(ge=0, le=MAX_BLOB)]


@router.get(BLOBS_PATH + "{sha256}/", responses=answers(400, 401, 403))
async def state(sha256: Sha256, parts: GivenParts, owner: User) -> BlobState:
    """How much of the caller's blob is here; asking for a whole one counts as using it."""

    def look(tx: Transaction) -> InputBlob | None:
        blob = inputs.find(tx.connection, owner, sha256)
        if blob is not None and blob.is_whole:
            inputs.touch(tx, blob, parts.clock.now())
        return blob

    blob = await parts.database.write(look)
    if blob is None:
        return BlobState(sha256=sha256)
    return _state(blob, await parts.blobs.size(input_key(blob.id)) or 0)


@router.put(
    BLOBS_PATH + "{sha256}/{offset}",
    responses=answers(400, 401, 403, 409, 413),
    openapi_extra=raw("Bytes of the blob from the offset on; none at its end to have it checked on."),
)
async def put(
    *, request: Request, sha256: Sha256, offset: Offset, size: Size, parts: GivenParts, owner: User
) -> BlobState:
    """A piece of a blob of `size` bytes. Bytes that have arrived before are skipped; a gap is refused."""
    if offset > size:
        raise BadRequest.field("offset", f"the blob has {size} bytes only")
    room = Room(parts.settings.blob_bytes, parts.settings.blob_bytes_per_hotkey)
    wanted = Wanted(owner, sha256, size)
    blob = await parts.database.write(lambda tx: inputs.begin(tx, wanted, room, parts.clock.now()))
    if blob.is_whole:
        return _state(blob, blob.size)
    arrived = await _take(parts, request, input_key(blob.id), offset, min(PIECE_BYTES, size - offset))
    if arrived < offset:
        raise MissingParts(f"bytes from {arrived} to {offset} have not arrived")
    return await _check(parts, blob, arrived)


async def _take(parts: Parts, request: Request, key: str, offset: int, limit: int) -> int:
    """Store a piece as it arrives, and see it on disk; returns how many bytes there are."""
    waiting = bytearray()
    async for piece in pieces(request, limit):
        waiting += piece
        if len(waiting) >= MIB:
            if await parts.blobs.append(key, offset, bytes(waiting), sync=False) < offset:
                break  # a gap; the rest is of no use either
            offset += len(waiting)
            waiting.clear()
    arrived = await parts.blobs.append(key, offset, bytes(waiting), sync=False)
    await parts.blobs.sync(key)
    return arrived


async def _check(parts: Parts, blob: InputBlob, arrived: int) -> BlobState:
    key = input_key(blob.id)
    checked = await parts.checks.advance(key, arrived)
    if checked.size < blob.size:
        return _state(blob, arrived, checked.size)
    parts.checks.forget(key)
    if checked.sha256 != blob.sha256:
        await parts.database.write(lambda tx: inputs.drop(tx, blob))
        raise BadRequest.field(
            "sha256", f"the {arrived} bytes that arrived have the hash {checked.sha256}; upload them again"
        )
    await parts.database.write(lambda tx: inputs.finish(tx, blob, parts.clock.now()))
    return BlobState(sha256=blob.sha256, size=blob.size, arrived=arrived, checked=arrived, whole=True)


def _state(blob: InputBlob, arrived: int, checked: int = 0) -> BlobState:
    checked = arrived if blob.is_whole else checked
    return BlobState(sha256=blob.sha256, size=blob.size, arrived=arrived, checked=checked, whole=blob.is_whole)


@router.get(ATTEMPT + "/blobs/{sha256}", response_class=StreamingResponse, responses={**ANSWERS, **answers(409)})
async def fetch(
    *, request: Request, job: str, number: Number, sha256: Sha256, parts: GivenParts, executor: Executor
) -> Response:
    """The bytes of a blob that the job names, for the executor that holds it."""

    def look(connection: Connection) -> InputBlob | None:
        holds.hold(connection, job, number, executor)
        return inputs.of_job(connection, job, sha256)

    blob = await parts.database.read(look)
    if blob is None:
        raise NotFound(UNKNOWN)
    key = input_key(blob.id)
    return ranged(
        request, blob.size, lambda start, stop: parts.blobs.read(key, start, stop, PIECE), f'"{blob.sha256}"'
    )
