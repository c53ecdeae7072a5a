"""Cordons: executors that get no jobs: an operator says so, they lost too many, or a report of cheating holds."""

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_facilitator.bus import class_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.tables import cordons, executor_classes, losses_in_a_row

MAX_LOSSES = 3
"""So many losses in a row cordon an executor. Two may be bad luck, or the job's doing."""

_UNTIL = select(cordons.c.hotkey, cordons.c.expires_us).where(cordons.c.hotkey == bindparam("who"))
_REPORTED = select(cordons.c.reported_job).where(cordons.c.hotkey == bindparam("who"))
_FORGET_LOSSES = delete(losses_in_a_row).where(losses_in_a_row.c.hotkey == bindparam("who"))
_new = insert_or(losses_in_a_row).values(hotkey=bindparam("who"), losses=1)
_LOST = _new.on_conflict_do_update(
    index_elements=[losses_in_a_row.c.hotkey], set_={"losses": losses_in_a_row.c.losses + 1}
).returning(losses_in_a_row.c.losses)


def cordon(
    tx: Transaction,
    executor: str,
    why: str,
    now: Now,
    *,
    until_us: int | None = None,
    reported_job: str | None = None,
) -> None:
    """Give an executor no more jobs, for a time or until it is let in again. What it runs, it may finish."""
    said = {"why": why, "since_us": now.wall_us, "expires_us": until_us, "reported_job": reported_job}
    row = insert_or(cordons).values(hotkey=executor, **said)
    tx.execute(row.on_conflict_do_update(index_elements=[cordons.c.hotkey], set_=said))


def cordon_for_report(tx: Transaction, executor: str, job: str, until_us: int, now: Now) -> None:
    """Give an executor no more jobs for a time, because a job was reported; unless it is out for longer anyway."""
    out = tx.execute(_UNTIL, who=executor).one_or_none()
    if out is None or (out.expires_us is not None and out.expires_us < until_us):
        cordon(tx, executor, f"cheat report about job {job}", now, until_us=until_us, reported_job=job)


def reported_job(connection: Connection, executor: str) -> str | None:
    """The job whose report keeps an executor out, if that is why it is out."""
    return connection.execute(_REPORTED, {"who": executor}).scalar_one_or_none()


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
