"""What operators do with allowances: give, change, add to, take away, look at."""

from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from horde_facilitator.allowances import Terms, correction
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.ledger import Allowance, Kind, enter, fill, find_allowance, open_allowance
from horde_facilitator.tables import allowances, default_allowance


def give(
    tx: Transaction, owner: str, executor_class: str, terms: Terms, now: Now, *, by_default: bool = False
) -> None:
    """Let an allowance have these terms from now on. A new one is full; a lower cap takes away at once."""
    allowance = find_allowance(tx.connection, owner, executor_class, now.wall_us)
    if allowance is None:
        open_allowance(tx, owner, executor_class, terms, now, by_default=by_default)
        return
    fill(tx, allowance, now)
    tx.execute(
        update(allowances)
        .where(allowances.c.id == allowance.id)
        .values(cap=terms.cap, refill_per_hour=terms.refill_per_hour, by_default=by_default)
    )
    if amount := correction(allowance.account, terms):
        _grant(tx, allowance, amount, now)


def add(tx: Transaction, allowance: Allowance, amount: int, now: Now) -> Allowance:
    """Add to what is available, also above the cap; a negative amount takes away, but not more than there is."""
    fill(tx, allowance, now)
    return _grant(tx, allowance, max(amount, -allowance.account.available), now)


def take_away(tx: Transaction, owner: str, executor_class: str) -> bool:
    """End an allowance: its owner has the default from now on. False if there is none."""
    gone = delete(allowances).where(allowances.c.owner == owner, allowances.c.executor_class == executor_class)
    return tx.execute(gone).rowcount == 1


def set_default(tx: Transaction, default: Terms | None, now: Now) -> None:
    """Let this be the default from now on, or none; the allowances that nobody gave in particular follow."""
    tx.execute(delete(default_allowance))
    if default is not None:
        tx.execute(insert(default_allowance), id=1, cap=default.cap, refill_per_hour=default.refill_per_hour)
    for allowance in everybody(tx.connection, now.wall_us):
        if allowance.by_default and default is None:
            take_away(tx, allowance.owner, allowance.executor_class)
        elif allowance.by_default and default is not None and default != allowance.terms:
            give(tx, allowance.owner, allowance.executor_class, default, now, by_default=True)


def of_owner(connection: Connection, owner: str, now_us: int) -> dict[str, Allowance]:
    """An owner's allowances by class, filled up to now."""
    return {found.executor_class: found for found in everybody(connection, now_us, owner)}


def everybody(connection: Connection, now_us: int, owner: str | None = None) -> list[Allowance]:
    """All allowances (of one owner), filled up to now, by owner and class."""
    query = select(allowances.c.owner, allowances.c.executor_class)
    if owner is not None:
        query = query.where(allowances.c.owner == owner)
    rows = connection.execute(query.order_by(allowances.c.owner, allowances.c.executor_class)).all()
    found = [find_allowance(connection, row.owner, row.executor_class, now_us) for row in rows]
    return [allowance for allowance in found if allowance is not None]


def _grant(tx: Transaction, allowance: Allowance, amount: int, now: Now) -> Allowance:
    account = replace(allowance.account, available=allowance.account.available + amount)
    changed = replace(allowance, account=account)
    enter(tx, Kind.GRANT, changed, amount, now)
    return changed
