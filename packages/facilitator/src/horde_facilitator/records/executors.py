"""Executors: what each offers, and when it was seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.tables import executor_classes, executors


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
    query = select(executors.c.seen_boot_us).where(
        executors.c.hotkey == presence.hotkey,
        executors.c.version == presence.version,
        executors.c.slots == presence.slots,
    )
    same_since = tx.execute(query).scalar_one_or_none()
    changed = _serve(tx, presence)
    if same_since is not None and not changed and now.boot_us - int(same_since) < every_us:
        return
    said = {
        "version": presence.version,
        "slots": presence.slots,
        "running": presence.running,
        "seen_us": now.wall_us,
        "seen_boot_us": now.boot_us,
    }
    row = insert_or(executors).values(hotkey=presence.hotkey, first_seen_us=now.wall_us, **said)
    tx.execute(row.on_conflict_do_update(index_elements=[executors.c.hotkey], set_=said))


def _serve(tx: Transaction, presence: Presence) -> bool:
    """Note which classes the executor serves; says whether that changed."""
    mine = executor_classes.c.hotkey == presence.hotkey
    known = {str(name) for name in tx.execute(select(executor_classes.c.executor_class).where(mine)).scalars()}
    wanted = set(presence.classes)
    if gone := known - wanted:
        tx.execute(delete(executor_classes).where(mine, executor_classes.c.executor_class.in_(gone)))
    for name in sorted(wanted - known):
        tx.execute(insert(executor_classes).values(executor_class=name, hotkey=presence.hotkey))
    return known != wanted


def seen(tx: Transaction, hotkey: str, now: Now) -> None:
    """Note an executor as seen now."""
    tx.execute(
        update(executors).where(executors.c.hotkey == hotkey).values(seen_us=now.wall_us, seen_boot_us=now.boot_us)
    )


def unseen(tx: Transaction) -> None:
    """Forget when executors were seen: boot times of another run mean nothing in this one."""
    tx.execute(update(executors).values(seen_boot_us=0))


def last_seen(connection: Connection) -> dict[str, int]:
    """When the latest executor of each class was seen, in boot time."""
    query = (
        select(executor_classes.c.executor_class, func.max(executors.c.seen_boot_us))
        .join_from(executor_classes, executors, executors.c.hotkey == executor_classes.c.hotkey)
        .group_by(executor_classes.c.executor_class)
    )
    return {str(name): int(boot_us) for name, boot_us in connection.execute(query).tuples()}
