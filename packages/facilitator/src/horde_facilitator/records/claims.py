"""Claims: the next job for an executor that has a free slot."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    insert,
    literal,
    not_,
    select,
    union_all,
)

from horde_core.lifecycle import Status
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.holds import held_by
from horde_facilitator.records.jobs import find
from horde_facilitator.records.moves import must_move
from horde_facilitator.records.values import Attempt, Held
from horde_facilitator.tables import IS_OPEN, IS_QUEUED, attempts, executor_classes, executors, jobs, requests


@dataclass(frozen=True, slots=True)
class Offer:
    """An executor's free slot. The periods are microseconds.

    A job that this executor lost is left to another one that was seen within `seen_us`, for `avoid_us` after the
    loss; then it is anybody's.
    """

    claim: str
    executor: str
    classes: Sequence[str]
    confirm_us: int
    seen_us: int
    avoid_us: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this executor now holds, with the request as it was signed."""

    held: Held
    body: bytes


_BODY = select(requests.c.body).where(requests.c.job == bindparam("of"))
_REPEATED = select(*Attempt.columns(attempts)).where(
    attempts.c.claim == bindparam("claim_id"), attempts.c.executor == bindparam("me"), IS_OPEN
)


def claim(tx: Transaction, offer: Offer, now: Now) -> Claimed | None:
    """Give the next job of its classes to an executor: by priority, then age.

    The same claim gets the same attempt again as long as that attempt holds its job.
    """
    held = _repeated(tx, offer) or _next(tx, offer, now)
    if held is None:
        return None
    return Claimed(held, tx.execute(_BODY, of=held.job.uuid).scalar_one())


def _repeated(tx: Transaction, offer: Offer) -> Held | None:
    row = tx.execute(_REPEATED, claim_id=offer.claim, me=offer.executor).mappings().one_or_none()
    return held_by(tx.connection, Attempt.read(row)) if row else None


def _next(tx: Transaction, offer: Offer, now: Now) -> Held | None:
    classes = {f"class_{index}": name for index, name in enumerate(sorted(set(offer.classes)))}
    if not classes:
        return None
    uuid = tx.execute(
        _pick(len(classes)),
        **classes,
        me=offer.executor,
        lost_since=now.wall_us - offer.avoid_us,
        seen_since=now.boot_us - offer.seen_us,
    ).scalar_one_or_none()
    job = find(tx.connection, str(uuid)) if uuid else None
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


@cache
def _pick(classes: int) -> Select[Any]:
    """The front of each class's queue, and of these the first: so each arm reads its index's first row only."""
    arms = [select(_front(f"class_{index}").subquery()) for index in range(classes)]
    fronts = union_all(*arms).subquery()
    return select(fronts.c.uuid).order_by(fronts.c.priority.desc(), fronts.c.id).limit(1)


def _front(executor_class: str) -> Select[Any, Any, Any]:
    fresh = jobs.c.updated_us > bindparam("lost_since")
    left_to_another = and_(jobs.c.losses > 0, fresh, _lost_by(bindparam("me")), _another())
    return (
        select(jobs.c.uuid, jobs.c.priority, jobs.c.id)
        .where(IS_QUEUED, jobs.c.executor_class == bindparam(executor_class), not_(left_to_another))
        .order_by(jobs.c.priority.desc(), jobs.c.id)
        .limit(1)
    )


def _lost_by(executor: ColumnElement[str]) -> ColumnElement[bool]:
    theirs = attempts.alias()
    return exists(
        select(literal(1)).where(theirs.c.job == jobs.c.uuid, theirs.c.executor == executor, theirs.c.counted)
    )


def _another() -> ColumnElement[bool]:
    return exists(
        select(literal(1))
        .select_from(executors.join(executor_classes, executors.c.hotkey == executor_classes.c.hotkey))
        .where(
            executor_classes.c.executor_class == jobs.c.executor_class,
            executors.c.hotkey != bindparam("me"),
            executors.c.seen_boot_us > bindparam("seen_since"),
            not_(_lost_by(executors.c.hotkey)),
        )
    )
