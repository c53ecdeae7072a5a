"""Whose turn it is: the next job for an executor.

A class has two queues, one of the jobs for trusted executors only (see `values.Lane`). An executor is offered the
first one of each of its classes, and a trusted executor both.

Owners take turns: the one comes first of whom executors of the offered classes took a job longest ago. Within an
owner the greater priority comes first, and within a priority namespaces take turns, then age decides.

No step looks at more than the first rows of an index. Owners are found by jumping from one to the next, so that an
owner costs the same however many jobs he has; and turns of namespaces are written into the jobs when they arrive
(`next_turn`), as start-time fair queueing does it: a namespace continues behind its own last job, but never before
what is at the front already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.people import TRUSTED
from horde_facilitator.records.values import Lane
from horde_facilitator.tables import (
    IS_QUEUED,
    attempts,
    cordons,
    executor_classes,
    executors,
    jobs,
    served_owners,
)

_ORDER = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
_LAST_SERVED = select(func.coalesce(func.max(served_owners.c.served), 0))
_serve = insert_or(served_owners)
_SERVE = _serve.on_conflict_do_update(
    index_elements=[served_owners.c.executor_class, served_owners.c.owner],
    set_={"served": _serve.excluded["served"]},
)
_NEIGHBOURS = select(jobs.c.turn).where(
    IS_QUEUED,
    jobs.c.executor_class == bindparam("of_class"),
    jobs.c.trusted == bindparam("of_trusted"),
    jobs.c.owner == bindparam("of_owner"),
    jobs.c.priority == bindparam("of_priority"),
)
_FRONT_TURN = _NEIGHBOURS.order_by(jobs.c.turn, jobs.c.id).limit(1)
_OWN_TURN = _NEIGHBOURS.where(jobs.c.namespace == bindparam("of_namespace")).order_by(jobs.c.turn.desc()).limit(1)


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
    is_trusted: bool = False

    @property
    def lanes(self) -> list[Lane]:
        """The queues from which the executor may take a job."""
        kinds = (False, True) if self.is_trusted else (False,)
        return [Lane(name, kind) for name in sorted(set(self.classes)) for kind in kinds]


def next_turn(connection: Connection, owner: str, lane: Lane, priority: int, namespace: str) -> int:
    """The turn of a job that is about to be queued."""
    key = {
        "of_owner": owner,
        "of_class": lane.executor_class,
        "of_trusted": lane.is_trusted,
        "of_priority": priority,
        "of_namespace": namespace,
    }
    front = connection.execute(_FRONT_TURN, key).scalar_one_or_none()
    own = connection.execute(_OWN_TURN, key).scalar_one_or_none()
    return max(0 if front is None else int(front), 0 if own is None else int(own) + 1)


def next_job(tx: Transaction, offer: Offer, now: Now) -> str | None:
    """The job whose turn it is, if any may be given to this executor; its owner has then had his turn."""
    lanes = offer.lanes
    if not lanes:
        return None
    queues: dict[str, object] = {}
    for index, lane in enumerate(lanes):
        queues |= {f"class_{index}": lane.executor_class, f"trusted_{index}": lane.is_trusted}
    terms = {
        **queues,
        "me": offer.executor,
        "lost_since": now.wall_us - offer.avoid_us,
        "seen_since": now.boot_us - offer.seen_us,
    }
    for owner in tx.execute(_owners(len(lanes)), **queues).scalars().all():
        uuid = tx.connection.execute(_front(len(lanes)), {**terms, "of_owner": owner}).scalar_one_or_none()
        if uuid is not None:
            _note(tx, sorted(set(offer.classes)), str(owner))
            return str(uuid)
    return None


def served(connection: Connection, executor_class: str) -> Mapping[str, int]:
    """When owners had their last turn in a class; who never had one is left out."""
    query = select(served_owners.c.owner, served_owners.c.served)
    found = connection.execute(query.where(served_owners.c.executor_class == executor_class))
    return {str(owner): int(at) for owner, at in found}


def _note(tx: Transaction, classes: Sequence[str], owner: str) -> None:
    at = int(tx.connection.execute(_LAST_SERVED).scalar_one()) + 1
    rows = [{"executor_class": name, "owner": owner, "served": at} for name in classes]
    tx.connection.execute(_SERVE, rows)


@cache
def _owners(lanes: int) -> Select[Any]:
    """Owners with jobs in the queues, the one who waited longest for a turn first, then by age."""
    names = [
        select(
            bindparam(f"class_{index}", type_=String).label("name"),
            bindparam(f"trusted_{index}", type_=Boolean).label("trusted"),
        )
        for index in range(lanes)
    ]
    offered = union_all(*names).subquery()
    first = _first_owner(offered.c.name, offered.c.trusted)
    found = select(offered.c.name, offered.c.trusted, first.label("owner")).cte("found", recursive=True)
    following = _first_owner(found.c.name, found.c.trusted, found.c.owner)
    found = found.union_all(select(found.c.name, found.c.trusted, following).where(found.c.owner.is_not(None)))
    age = (
        select(jobs.c.id)
        .where(
            IS_QUEUED,
            jobs.c.executor_class == found.c.name,
            jobs.c.trusted == found.c.trusted,
            jobs.c.owner == found.c.owner,
        )
        .order_by(*_ORDER)
        .limit(1)
        .scalar_subquery()
    )
    at = served_owners.c.served
    of_class = and_(served_owners.c.executor_class == found.c.name, served_owners.c.owner == found.c.owner)
    return (
        select(found.c.owner)
        .select_from(found.outerjoin(served_owners, of_class))
        .where(found.c.owner.is_not(None))
        .group_by(found.c.owner)
        .order_by(func.min(func.coalesce(at, 0)), func.min(case((at.is_(None), age))))
    )


def _first_owner(
    executor_class: ColumnElement[str], trusted: ColumnElement[bool], after: ColumnElement[str] | None = None
) -> ColumnElement[str | None]:
    of_lane = (jobs.c.executor_class == executor_class, jobs.c.trusted == trusted)
    query = select(jobs.c.owner).where(IS_QUEUED, *of_lane)
    if after is not None:
        query = query.where(jobs.c.owner > after)
    return query.order_by(jobs.c.owner).limit(1).scalar_subquery()


@cache
def _front(lanes: int) -> Select[Any]:
    """The owner's first job in each queue that the executor may have, and of these the first."""
    arms = [select(_first_job(index).subquery()) for index in range(lanes)]
    fronts = union_all(*arms).subquery()
    return select(fronts.c.uuid).order_by(fronts.c.priority.desc(), fronts.c.id).limit(1)


def _first_job(lane: int) -> Select[Any, Any, Any]:
    fresh = jobs.c.updated_us > bindparam("lost_since")
    left_to_another = and_(jobs.c.losses > 0, fresh, _lost_by(bindparam("me")), _another())
    return (
        select(jobs.c.uuid, jobs.c.priority, jobs.c.id)
        .where(
            IS_QUEUED,
            jobs.c.executor_class == bindparam(f"class_{lane}"),
            jobs.c.trusted == bindparam(f"trusted_{lane}"),
            jobs.c.owner == bindparam("of_owner"),
            not_(left_to_another),
        )
        .order_by(*_ORDER)
        .limit(1)
    )


def _lost_by(executor: ColumnElement[str]) -> ColumnElement[bool]:
    theirs = attempts.alias()
    lost = (theirs.c.job == jobs.c.uuid, theirs.c.executor == executor, theirs.c.counted)
    # Said in words, because two levels of subqueries are correlated by themselves with the nearest only.
    return exists(select(literal(1)).select_from(theirs).where(*lost).correlate(jobs, executors))


def _another() -> ColumnElement[bool]:
    return exists(
        select(literal(1))
        .select_from(executors.join(executor_classes, executors.c.hotkey == executor_classes.c.hotkey))
        .where(
            executor_classes.c.executor_class == jobs.c.executor_class,
            executors.c.hotkey != bindparam("me"),
            executors.c.seen_boot_us > bindparam("seen_since"),
            executors.c.hotkey.not_in(select(cordons.c.hotkey)),
            or_(not_(jobs.c.trusted), executors.c.hotkey.in_(TRUSTED)),
            not_(_lost_by(executors.c.hotkey)),
        )
    )
