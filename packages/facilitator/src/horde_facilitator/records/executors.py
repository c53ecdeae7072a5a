"""Executors: what each offers, and when it was seen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records import people
from horde_facilitator.records.values import Lane
from horde_facilitator.tables import executor_classes, executors, refused_classes

_new = insert_or(executors)
_PRESENT = _new.on_conflict_do_update(
    index_elements=[executors.c.hotkey],
    set_={name: _new.excluded[name] for name in ("version", "slots", "running", "seen_us", "seen_boot_us")},
)
_SAME_SINCE = select(executors.c.seen_boot_us).where(
    executors.c.hotkey == bindparam("who"),
    executors.c.version == bindparam("said_version"),
    executors.c.slots == bindparam("said_slots"),
)
_SERVED = select(executor_classes.c.executor_class).where(executor_classes.c.hotkey == bindparam("who"))
_REFUSED = select(refused_classes.c.executor_class, refused_classes.c.why).where(
    refused_classes.c.hotkey == bindparam("who")
)
_SEEN = update(executors).where(executors.c.hotkey == bindparam("who"))
_IS_TRUSTED = executors.c.hotkey.in_(people.TRUSTED)
_LAST_SEEN = (
    select(
        executor_classes.c.executor_class,
        func.max(executors.c.seen_boot_us).label("anybody"),
        func.max(case((_IS_TRUSTED, executors.c.seen_boot_us))).label("trusted"),
    )
    .join_from(executor_classes, executors, executors.c.hotkey == executor_classes.c.hotkey)
    .group_by(executor_classes.c.executor_class)
)


@dataclass(frozen=True, slots=True)
class Presence:
    """What an executor says of itself with a claim. `classes` it serves; `refused` it offered, but does not."""

    hotkey: str
    version: str
    slots: int
    running: int
    classes: Collection[str]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


def present(tx: Transaction, presence: Presence, now: Now, every_us: int) -> None:
    """Note an executor as seen now, with what it offers; at most every so often while that stays the same."""
    same = {"who": presence.hotkey, "said_version": presence.version, "said_slots": presence.slots}
    same_since = tx.execute(_SAME_SINCE, **same).scalar_one_or_none()
    changed = _serve(tx, presence)
    _refuse(tx, presence)
    if same_since is not None and not changed and now.boot_us - int(same_since) < every_us:
        return
    tx.execute(
        _PRESENT,
        hotkey=presence.hotkey,
        version=presence.version,
        slots=presence.slots,
        running=presence.running,
        first_seen_us=now.wall_us,
        seen_us=now.wall_us,
        seen_boot_us=now.boot_us,
    )


def _serve(tx: Transaction, presence: Presence) -> bool:
    """Note which classes the executor serves; says whether that changed."""
    known = {str(name) for name in tx.execute(_SERVED, who=presence.hotkey).scalars()}
    wanted = set(presence.classes)
    if gone := known - wanted:
        mine = executor_classes.c.hotkey == presence.hotkey
        tx.execute(delete(executor_classes).where(mine, executor_classes.c.executor_class.in_(gone)))
    for name in sorted(wanted - known):
        tx.execute(insert(executor_classes), executor_class=name, hotkey=presence.hotkey)
    return known != wanted


def _refuse(tx: Transaction, presence: Presence) -> None:
    """Note which classes the executor does not serve although it offered them."""
    if refused(tx.connection, presence.hotkey) == presence.refused:
        return
    tx.execute(delete(refused_classes).where(refused_classes.c.hotkey == presence.hotkey))
    for name, why in presence.refused.items():
        tx.execute(insert(refused_classes), executor_class=name, hotkey=presence.hotkey, why=why)


def served(connection: Connection, hotkey: str) -> list[str]:
    """The classes that an executor serves."""
    return sorted(str(name) for name in connection.execute(_SERVED, {"who": hotkey}).scalars())


def refused(connection: Connection, hotkey: str) -> dict[str, str]:
    """The classes that an executor offered and does not serve, with the reasons."""
    return {str(name): str(why) for name, why in connection.execute(_REFUSED, {"who": hotkey})}


def refusals(connection: Connection) -> dict[str, str]:
    """Of each class that executors offered and do not serve, one reason."""
    query = select(refused_classes.c.executor_class, func.min(refused_classes.c.why))
    rows = connection.execute(query.group_by(refused_classes.c.executor_class))
    return {str(name): str(why) for name, why in rows}


def seen(tx: Transaction, hotkey: str, now: Now) -> None:
    """Note an executor as seen now."""
    tx.execute(_SEEN, who=hotkey, seen_us=now.wall_us, seen_boot_us=now.boot_us)


def unseen(tx: Transaction) -> None:
    """Forget when executors were seen: boot times of another run mean nothing in this one."""
    tx.execute(update(executors).values(seen_boot_us=0))


def last_seen(connection: Connection) -> dict[Lane, int]:
    """When somebody who takes jobs from a queue was last seen, in boot time."""
    seen: dict[Lane, int] = {}
    for name, anybody, trusted in connection.execute(_LAST_SEEN):
        seen[Lane(str(name))] = int(anybody)
        if trusted is not None:
            seen[Lane(str(name), is_trusted=True)] = int(trusted)
    return seen
