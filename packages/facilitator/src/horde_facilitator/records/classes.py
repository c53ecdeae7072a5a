"""The vocabulary: which classes there are, and on what terms. Operators change it, and it counts at once."""

from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_core.terms import MAX_CLASSES, ClassTerms
from horde_core.wire.classes import ClassEntry
from horde_facilitator.bus import CLASSES
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest
from horde_facilitator.tables import (
    IS_OPEN,
    IS_QUEUED,
    attempts,
    classes,
    cordons,
    executor_classes,
    executors,
    jobs,
    refused_classes,
)

_ALL = select(classes).order_by(classes.c.name)
_ONE = select(classes).where(classes.c.name == bindparam("called"))
_NAMES = select(classes.c.name).order_by(classes.c.name)
_WAITING = select(func.count()).where(IS_QUEUED, jobs.c.executor_class == bindparam("called"))
_RUNNING = (
    select(func.count())
    .select_from(attempts.join(jobs, jobs.c.uuid == attempts.c.job))
    .where(IS_OPEN, jobs.c.executor_class == bindparam("called"))
)


def names(connection: Connection) -> frozenset[str]:
    """What the classes are called."""
    return frozenset(str(name) for name in connection.execute(_NAMES).scalars())


def vocabulary(connection: Connection) -> dict[str, ClassTerms]:
    """All classes with their terms, by name."""
    return {str(row["name"]): _terms(row) for row in connection.execute(_ALL).mappings()}


def known(connection: Connection, name: str, field: str = "executor_class") -> ClassTerms:
    """The terms of a class that a request names in a field.

    Raises:
        BadRequest: there is no such class; the message says which there are.
    """
    row = connection.execute(_ONE, {"called": name}).mappings().one_or_none()
    if row is None:
        there = ", ".join(sorted(names(connection))) or "not defined yet"
        raise BadRequest.field(field, f"{name!r} is not known; the classes are {there}")
    return _terms(row)


def listing(connection: Connection, now: Now, seen_us: int) -> list[ClassEntry]:
    """All classes; an executor counts that was seen within `seen_us` and gets jobs."""
    cordoned = select(cordons.c.hotkey).where(
        or_(cordons.c.expires_us.is_(None), cordons.c.expires_us > now.wall_us)
    )
    serving = (
        select(executor_classes.c.executor_class, func.count())
        .join(executors, executors.c.hotkey == executor_classes.c.hotkey)
        .where(executors.c.seen_boot_us > now.boot_us - seen_us, executors.c.hotkey.not_in(cordoned))
        .group_by(executor_classes.c.executor_class)
    )
    counts = {str(name): int(count) for name, count in connection.execute(serving)}
    return [
        ClassEntry(name=name, executors=counts.get(name, 0), **terms.model_dump())
        for name, terms in vocabulary(connection).items()
    ]


def define(tx: Transaction, name: str, terms: ClassTerms) -> None:
    """Let a class have these terms from now on; a new one may be asked for at once. Prices that are fixed stay.

    Raises:
        BadRequest: there are as many classes as there may be.
    """
    known_names = names(tx.connection)
    if name not in known_names and len(known_names) >= MAX_CLASSES:
        raise BadRequest.field("name", f"there are {MAX_CLASSES} classes, which is the most; remove one first")
    said: dict[str, Any] = terms.model_dump(mode="json")
    row = insert_or(classes).values(name=name, **said)
    tx.execute(row.on_conflict_do_update(index_elements=[classes.c.name], set_=said))
    tx.wake(CLASSES)


def remove(tx: Transaction, name: str) -> bool:
    """Remove a class; False if there is none.

    Raises:
        BadRequest: jobs of it have not ended. One that runs may come back into the queue.
    """
    waiting = int(tx.execute(_WAITING, called=name).scalar_one())
    running = int(tx.execute(_RUNNING, called=name).scalar_one())
    if waiting or running:
        raise BadRequest.field(
            "name", f"{waiting} jobs wait for it and {running} run; remove it when they have ended"
        )
    for table in (executor_classes, refused_classes):
        tx.execute(delete(table).where(table.c.executor_class == name))
    tx.wake(CLASSES)
    return tx.execute(delete(classes).where(classes.c.name == name)).rowcount == 1


def _terms(row: RowMapping) -> ClassTerms:
    said = {name: row[name] for name in ClassTerms.model_fields}
    return ClassTerms.model_validate(said, strict=False)  # a profile is stored by its name
