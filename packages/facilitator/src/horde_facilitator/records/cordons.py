"""Cordons: executors that get no jobs, by an operator's word or because they lost too many."""

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.bus import class_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.tables import cordons, executor_classes, losses_in_a_row

MAX_LOSSES = 3
"""So many losses in a row cordon an executor. Two may be bad luck, or the job's doing."""

_UNTIL = select(cordons.c.hotkey, cordons.c.expires_us).where(cordons.c.hotkey == bindparam("who"))
_FORGET_LOSSES = delete(losses_in_a_row).where(losses_in_a_row.c.hotkey == bindparam("who"))
_new = insert_or(losses_in_a_row).values(hotkey=bindparam("who"), losses=1)
_LOST = _new.on_conflict_do_update(
    index_elements=[losses_in_a_row.c.hotkey], set_={"losses": losses_in_a_row.c.losses + 1}
).returning(losses_in_a_row.c.losses)


def cordon(tx: Transaction, executor: str, why: str, now: Now, *, for_us: int | None = None) -> None:
    """Give an executor no more jobs, for a time or until it is let in again. What it runs, it may finish."""
    said = {"why": why, "since_us": now.wall_us, "expires_us": now.wall_us + for_us if for_us else None}
    row = insert_or(cordons).values(hotkey=executor, **said)
    tx.execute(row.on_conflict_do_update(index_elements=[cordons.c.hotkey], set_=said))


def uncordon(tx: Transaction, executor: str) -> None:
    """Give an executor jobs again; its losses are forgotten, and it hears at once if jobs wait."""
    tx.execute(delete(cordons).where(cordons.c.hotkey == executor))
    tx.execute(_FORGET_LOSSES, who=executor)
    served = select(executor_classes.c.executor_class).where(executor_classes.c.hotkey == executor)
    tx.wake(*(class_topic(str(name)) for name in tx.execute(served).scalars()))


def is_cordoned(connection: Connection, executor: str, now: Now) -> bool:
    """Whether an executor gets no jobs now."""
    row = connection.execute(_UNTIL, {"who": executor}).one_or_none()
    return row is not None and (row.expires_us is None or row.expires_us > now.wall_us)


def lost(tx: Transaction, executor: str, job: str, now: Now) -> None:
    """Count an attempt that an executor lost; too many in a row cordon it."""
    losses = tx.execute(_LOST, who=executor).scalar_one()
    if losses >= MAX_LOSSES and not is_cordoned(tx.connection, executor, now):
        cordon(tx, executor, f"lost {losses} attempts in a row, the last one of job {job}", now)


def delivered(tx: Transaction, executor: str) -> None:
    """An executor has brought a result: whatever it lost before was no row."""
    tx.execute(_FORGET_LOSSES, who=executor)
