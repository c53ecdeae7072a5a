"""Executors as operators see them, and their removal."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, Row, delete, func, select

from horde_core.wire.operator import DAY_S, ExecutorEntry
from horde_facilitator.clock import SECOND, Now, time_of
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import executor_lost
from horde_facilitator.records import endings, people
from horde_facilitator.records.holds import held_by
from horde_facilitator.records.values import Attempt, End
from horde_facilitator.tables import (
    IS_COUNTED,
    IS_OPEN,
    attempts,
    cordons,
    executor_classes,
    executors,
    hotkeys,
    losses_in_a_row,
    refused_classes,
)


def listing(connection: Connection, now: Now) -> list[ExecutorEntry]:
    """All executors that were admitted, those seen last first."""
    since = now.wall_us - DAY_S * SECOND
    lost = select(attempts.c.executor, func.count()).where(IS_COUNTED, attempts.c.ended_us > since)
    counted = connection.execute(lost.group_by(attempts.c.executor))
    losses = {str(who): int(count) for who, count in counted}
    running = _grouped(connection.execute(select(attempts.c.executor, attempts.c.job).where(IS_OPEN)))
    classes = select(executor_classes.c.hotkey, executor_classes.c.executor_class)
    refused: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(refused_classes).order_by(refused_classes.c.executor_class)):
        refused[row.hotkey][row.executor_class] = row.why
    served = _grouped(connection.execute(classes.order_by(executor_classes.c.executor_class)))
    query = (
        select(hotkeys.c.hotkey, func.max(hotkeys.c.role).label("role"), executors, cordons)
        .select_from(
            hotkeys.outerjoin(executors, executors.c.hotkey == hotkeys.c.hotkey).outerjoin(
                cordons, cordons.c.hotkey == hotkeys.c.hotkey
            )
        )
        .where(hotkeys.c.role.in_(sorted(people.EXECUTORS)))
        .group_by(hotkeys.c.hotkey)
        .order_by(executors.c.seen_us.desc(), hotkeys.c.hotkey)
    )
    entries: list[ExecutorEntry] = []
    for row in connection.execute(query).mappings():
        who = str(row[hotkeys.c.hotkey])
        is_over = row[cordons.c.expires_us] is not None and row[cordons.c.expires_us] <= now.wall_us
        is_cordoned = row[cordons.c.why] is not None and not is_over
        entries.append(
            ExecutorEntry(
                hotkey=who,
                role=row["role"],
                version=row[executors.c.version] or "",
                first_seen_at=_time(row[executors.c.first_seen_us]),
                seen_at=_time(row[executors.c.seen_us]),
                slots=row[executors.c.slots] or 0,
                classes=served.get(who, []),
                refused=refused.get(who, {}),
                running=running.get(who, []),
                losses=losses.get(who, 0),
                cordoned=row[cordons.c.why] if is_cordoned else None,
                cordoned_at=_time(row[cordons.c.since_us]) if is_cordoned else None,
                cordoned_until=_time(row[cordons.c.expires_us]) if is_cordoned else None,
            )
        )
    return entries


def is_executor(connection: Connection, hotkey: str) -> bool:
    """Whether a hotkey may run jobs."""
    return not people.roles(connection, hotkey).isdisjoint(people.EXECUTORS)


def remove(tx: Transaction, executor: str, now: Now) -> None:
    """Forget an executor. The jobs that it holds go back into the queue at once, which counts as no loss."""
    held = select(*Attempt.columns(attempts)).where(attempts.c.executor == executor, IS_OPEN)
    for row in tx.execute(held).mappings().all():
        hold = held_by(tx.connection, Attempt.read(row))
        why = executor_lost(hold.job)
        endings.give_up(tx, hold, End.ENDED, why, now, counts=False, reported_by="facilitator")
    for role in people.EXECUTORS:
        people.dismiss(tx, role, executor)
    for table in (executors, executor_classes, refused_classes, cordons, losses_in_a_row):
        tx.execute(delete(table).where(table.c.hotkey == executor))


def _grouped(rows: Iterable[Row[str, str]]) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in rows:
        groups[key].append(value)
    return groups


def _time(us: int | None) -> datetime | None:
    return None if us is None else time_of(us)
