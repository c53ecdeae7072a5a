"""Input blobs: begun, found whole, named by jobs, forgotten. Their bytes lie in the blob store, by their id."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, not_, or_, select, update

from horde_core.lifecycle import END
from horde_core.volumes import MOUNT, BlobVolume
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, TooLarge
from horde_facilitator.tables import IS_THERE, input_blobs, job_inputs, jobs

DRAFT = "draft"
WHOLE = "whole"
GONE = "gone"
BATCH = 100
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class InputBlob:
    """A blob of an owner; `size` is that of the whole, also while it is a draft."""

    id: str
    owner: str
    sha256: str
    size: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an owner uploads."""

    owner: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Room:
    """What an owner may store, in bytes: in one blob, and in all together with what is still on its way."""

    blob_bytes: int
    owner_bytes: int


_BLOB = select(
    input_blobs.c.id,
    input_blobs.c.owner,
    input_blobs.c.sha256,
    input_blobs.c.size,
    (input_blobs.c.state == WHOLE).label("is_whole"),
).where(IS_THERE)
_OF_OWNER = _BLOB.where(input_blobs.c.owner == bindparam("of"), input_blobs.c.sha256 == bindparam("hash"))
_OF_JOB = _BLOB.join(job_inputs, job_inputs.c.blob == input_blobs.c.id).where(
    job_inputs.c.job == bindparam("of"), input_blobs.c.sha256 == bindparam("hash")
)
_TAKEN = select(func.coalesce(func.sum(input_blobs.c.size), 0)).where(
    IS_THERE, input_blobs.c.owner == bindparam("of")
)
_CHANGED = update(input_blobs).where(input_blobs.c.id == bindparam("of"))
_IS_NAMED = exists(
    select(job_inputs.c.job)
    .join(jobs, jobs.c.uuid == job_inputs.c.job)
    .where(job_inputs.c.blob == input_blobs.c.id, jobs.c.status.not_in([status.value for status in END]))
)
_EXPIRED = or_(
    and_(input_blobs.c.state == DRAFT, input_blobs.c.used_us <= bindparam("drafts_before")),
    and_(input_blobs.c.state == WHOLE, input_blobs.c.used_us <= bindparam("unused_before"), not_(_IS_NAMED)),
)
_GONE = select(input_blobs.c.id).where(input_blobs.c.state == GONE).limit(BATCH)


def find(connection: Connection, owner: str, sha256: str) -> InputBlob | None:
    """The owner's blob with this hash, whole or not."""
    row = connection.execute(_OF_OWNER, {"of": owner, "hash": sha256}).mappings().one_or_none()
    return InputBlob(**row) if row else None


def of_job(connection: Connection, job: str, sha256: str) -> InputBlob | None:
    """The blob with this hash that a job names."""
    row = connection.execute(_OF_JOB, {"of": job, "hash": sha256}).mappings().one_or_none()
    return InputBlob(**row) if row else None


def begin(tx: Transaction, wanted: Wanted, room: Room, now: Now) -> InputBlob:
    """The blob that is to be uploaded, begun if it is not there. A draft of another size is given up for it.

    Raises:
        TooLarge: there is no room for it.
    """
    owner, sha256, size = wanted.owner, wanted.sha256, wanted.size
    known = find(tx.connection, owner, sha256)
    if known is not None and (known.is_whole or known.size == size):
        touch(tx, known, now)
        return known
    if known is not None:
        drop(tx, known)
    if size > room.blob_bytes:
        raise TooLarge(
            f"The blob has {size} bytes; the limit is {room.blob_bytes} ({room.blob_bytes / GIB:g} GiB). "
            "Split it, or serve it at a URL."
        )
    taken = int(tx.execute(_TAKEN, of=owner).scalar_one())
    if taken + size > room.owner_bytes:
        raise TooLarge(
            f"Your uploads take {taken} bytes and this one {size} more; the limit is {room.owner_bytes} "
            f"({room.owner_bytes / GIB:g} GiB). What no job uses is forgotten after some days; "
            "the operator can raise the limit."
        )
    new = InputBlob(uuid.uuid4().hex, owner, sha256, size, is_whole=False)
    tx.execute(
        insert(input_blobs),
        id=new.id,
        owner=owner,
        sha256=sha256,
        size=size,
        state=DRAFT,
        used_us=now.wall_us,
    )
    return new


def touch(tx: Transaction, blob: InputBlob, now: Now) -> None:
    """Note that the blob was used."""
    tx.execute(_CHANGED, of=blob.id, used_us=now.wall_us)


def finish(tx: Transaction, blob: InputBlob, now: Now) -> None:
    """Note that the blob is here and right."""
    tx.execute(_CHANGED.where(input_blobs.c.state == DRAFT), of=blob.id, state=WHOLE, used_us=now.wall_us)


def drop(tx: Transaction, blob: InputBlob) -> None:
    """Forget a blob; its bytes are removed later."""
    tx.execute(_CHANGED, of=blob.id, state=GONE)


def name(tx: Transaction, owner: str, job: str, wanted: Sequence[BlobVolume], now: Now) -> None:
    """Note that a job, which is stored already, names these blobs of its owner; so they stay until its end.

    Raises:
        BadRequest: the owner has no such blob.
    """
    for volume in wanted:
        blob = find(tx.connection, owner, volume.sha256)
        if blob is None or not blob.is_whole or blob.size != volume.size:
            place = f"{MOUNT}/{volume.relative_path or ''}"
            what = f"there is no blob of yours with {volume.size} bytes and the hash {volume.sha256}"
            raise BadRequest.field("volumes", f"{place}: {what}; upload it first")
        touch(tx, blob, now)
        if of_job(tx.connection, job, volume.sha256) is None:
            tx.execute(insert(job_inputs), job=job, blob=blob.id)


def expire(tx: Transaction, drafts_before_us: int, unused_before_us: int) -> None:
    """Forget drafts, and blobs that no unfinished job names, that were used last before these times."""
    tx.execute(
        update(input_blobs).where(_EXPIRED).values(state=GONE),
        drafts_before=drafts_before_us,
        unused_before=unused_before_us,
    )


def gone(connection: Connection) -> list[str]:
    """Ids of blobs whose bytes are to be removed."""
    return [str(blob) for blob in connection.execute(_GONE).scalars()]


def forget(tx: Transaction, blobs: Sequence[str]) -> None:
    """Note that the bytes of these blobs were removed."""
    tx.execute(delete(input_blobs).where(input_blobs.c.id.in_(blobs)))
