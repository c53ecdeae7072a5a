"""Input blobs on their way from the facilitator: resumed where they broke, their length and hash checked.

They come over the executor's own connection to its facilitator, so the egress rules do not apply to them.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO

from horde_core.outcomes import Reason, Stage
from horde_core.volumes import BlobVolume
from horde_executor.errors import FacilitatorError, JobFailure
from horde_executor.fetch import Progress
from horde_executor.room import Room
from horde_executor.tasks import pause_before, to_its_end
from horde_executor.tree import disk_failure

DISK_S = 60.0
ReadBlob = Callable[[str, int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the blob with a hash, from a byte on: `Facilitator.read_blob` of one attempt."""


async def fetch_blob(
    read: ReadBlob, volume: BlobVolume, file: BinaryIO, *, name: str, room: Room, progress: Progress
) -> None:
    """Fetch a blob into an empty, writable file; tried again until the caller's time is over.

    Args:
        read: where from.
        volume: what.
        file: the caller's, who closes it.
        name: the path of the volume, which every message begins with.
        room: what the file may take; it is counted there.
        progress: called with the bytes so far and their total.

    Raises:
        JobFailure: at the stage `download`: there is no room, the disk failed, or the content is not what was
            promised (`executor_error`: the facilitator had checked it).
        FacilitatorError: the facilitator refuses it.
        Fenced: the attempt is no longer ours.
    """
    room.take(volume.size, name)
    digest, done, repeat = hashlib.sha256(), 0, 0

    def store(piece: bytes) -> None:
        try:
            file.write(piece)
        except OSError as error:
            raise disk_failure(name, error) from error
        digest.update(piece)

    while done < volume.size:
        before = done
        try:
            async with read(volume.sha256, done) as pieces:
                async for piece in pieces:
                    await to_its_end(asyncio.to_thread(store, piece), DISK_S)
                    done += len(piece)
                    progress(done, volume.size)
        except FacilitatorError as error:
            if not error.is_transient:
                raise
        if done < volume.size:
            repeat = 0 if done > before else repeat + 1
            await asyncio.sleep(pause_before(repeat))
    try:
        file.flush()
    except OSError as error:
        raise disk_failure(name, error) from error
    if done != volume.size or digest.hexdigest() != volume.sha256:
        what = f"{name} came with {done} bytes and the sha256 {digest.hexdigest()}, not as it was uploaded"
        raise JobFailure(Stage.DOWNLOAD, Reason.EXECUTOR_ERROR, what)
