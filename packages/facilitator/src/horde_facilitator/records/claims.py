"""Claims: the next job for an executor that has a free slot."""

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select

from horde_core.lifecycle import Status
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records import requests, turns
from horde_facilitator.records.holds import held_by
from horde_facilitator.records.jobs import find
from horde_facilitator.records.moves import must_move
from horde_facilitator.records.turns import Offer
from horde_facilitator.records.values import Attempt, Held
from horde_facilitator.tables import IS_OPEN, attempts


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this executor now holds, with the request as it was signed, sealed."""

    held: Held
    body: bytes


_REPEATED = select(*Attempt.columns(attempts)).where(
    attempts.c.claim == bindparam("claim_id"), attempts.c.executor == bindparam("me"), IS_OPEN
)


def claim(tx: Transaction, offer: Offer, now: Now) -> Claimed | None:
    """Give the next job of its classes to an executor: see `turns` for whose turn it is.

    The same claim gets the same attempt again as long as that attempt holds its job.
    """
    held = _repeated(tx, offer) or _next(tx, offer, now)
    if held is None:
        return None
    return Claimed(held, requests.body(tx.connection, held.job.uuid))


def _repeated(tx: Transaction, offer: Offer) -> Held | None:
    row = tx.execute(_REPEATED, claim_id=offer.claim, me=offer.executor).mappings().one_or_none()
    return held_by(tx.connection, Attempt.read(row)) if row else None


def _next(tx: Transaction, offer: Offer, now: Now) -> Held | None:
    uuid = turns.next_job(tx, offer, now)
    job = find(tx.connection, uuid) if uuid else None
    if job is None:
        return None
    must_move(tx, job, Status.ACCEPTED, now)
    attempt = Attempt(
        job=job.uuid,
        attempt=job.attempt + 1,
        executor=offer.executor,
        claim=offer.claim,
        claimed_us=now.wall_us,
        confirmed=False,
        lease_boot_us=now.boot_us + offer.confirm_us,
        deadline_boot_us=now.boot_us + job.budget_us,
        next_seq=0,
        ended_us=None,
        end=None,
        counted=False,
        artifact_count=0,
        artifact_bytes=0,
        report=None,
    )
    tx.execute(insert(attempts), **attempt.stored(), blobs="kept")
    return held_by(tx.connection, attempt)
