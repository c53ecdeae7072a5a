"""Executors: what each offers, and when it was seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records import people
from horde_facilitator.records.values import Lane
from horde_facilitator.tables import executor_classes, executors

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
    """What an executor says of itself with a claim."""

    hotkey: str
    version: str
    slots: int
    running: int
    classes: Sequence[str]


def present(tx: Transaction, presence: Presence, now: Now, every_us: int) -> None:
    """Note an executor as seen now, with what it offers; at most every so often while that stays the same."""
    same = {"who": presence.hotkey, "said_version": presence.version, "said_slots": presence.slots}
    same_since = tx.execute(_SAME_SINCE, **same).scalar_one_or_none()
    changed = _serve(tx, presence)
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
