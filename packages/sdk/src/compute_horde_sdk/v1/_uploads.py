"""Input volumes that are too large for a job's description, uploaded before it.

A facilitator of ours keeps such content by its hash. It is asked first, so what it has is not sent again, and says
where to go on when an upload broke off. The original facilitator knows nothing of the kind.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from http import HTTPStatus

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._content import INLINE_BYTES, PIECE, Content
from compute_horde_sdk.v1._errors import (
    ComputeHordeError,
    ComputeHordeNotFoundError,
    RefusedError,
    UnreachableError,
)
from compute_horde_sdk.v1._transport import Outage
from compute_horde_sdk.v1._volumes import INLINE_TOTAL
from horde_core.wire.blobs import BlobState

MIB = 1024**2

UploadCallback = Callable[[int, int], None]


async def upload(api: Api, contents: Iterable[Content], callback: UploadCallback | None = None) -> None:
    """Upload what the facilitator does not have yet, one after the other.

    Args:
        api: the facilitator.
        contents: equal ones are uploaded once.
        callback: called with the bytes that are there and the bytes of all together.

    Raises:
        ComputeHordeError: the facilitator takes no uploads, refuses one, or is out of reach for minutes.
    """
    distinct = {content.sha256: content for content in contents}
    total = sum(content.size for content in distinct.values())
    before = 0

    def report(done: int) -> None:
        if callback is not None:
            callback(before + done, total)

    for content in distinct.values():
        await _upload(api, content, report)
        before += content.size


async def _upload(api: Api, content: Content, report: Callable[[int], None]) -> None:
    state = await _begun(api, content)
    outage, best = Outage(), -1
    while not state.whole:
        try:
            state = await _send_piece(api, content, state, report)
        except (RefusedError, UnreachableError) as error:
            state = await _after(api, content, outage, error)
        if state.arrived + state.checked > best:
            best = state.arrived + state.checked
            outage.heard()
    report(content.size)


async def _begun(api: Api, content: Content) -> BlobState:
    try:
        state = await api.blob(content.sha256)
    except ComputeHordeNotFoundError as error:
        raise ComputeHordeError(
            f"input_volumes: this facilitator takes no uploads, so a volume may hold {INLINE_BYTES // MIB} MiB and"
            f" all of a job {INLINE_TOTAL // MIB} MiB; serve larger ones at a URL and use HTTPInputVolume"
        ) from error
    if state.whole or state.size == content.size:
        return state
    # Without content first: a refusal might get lost while megabytes are on their way.
    return await api.put_blob(content.sha256, content.size, 0, 0, _nothing)


async def _send_piece(api: Api, content: Content, state: BlobState, report: Callable[[int], None]) -> BlobState:
    start = state.arrived
    stop = min(content.size, start + state.piece_bytes)

    async def pieces() -> AsyncGenerator[bytes]:
        for at in range(start, stop, PIECE):
            report(at)
            data = await asyncio.to_thread(content.read, at, min(PIECE, stop - at))
            if len(data) < min(PIECE, stop - at):
                raise ComputeHordeError("a file of input_volumes became shorter while it was uploaded")
            yield data

    return await api.put_blob(content.sha256, content.size, start, stop - start, pieces)


async def _after(api: Api, content: Content, outage: Outage, error: RefusedError | UnreachableError) -> BlobState:
    """Where to go on after an error that may pass."""
    while True:
        # A gap is no fault: the facilitator lost what was not yet on its disk.
        is_gap = isinstance(error, RefusedError) and error.status == HTTPStatus.CONFLICT
        await outage.wait(None if is_gap else error)
        try:
            return await api.blob(content.sha256)
        except (RefusedError, UnreachableError) as another:
            error = another


async def _nothing() -> AsyncGenerator[bytes]:
    return
    yield b""
