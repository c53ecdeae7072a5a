"""Sums of the ledger, and the ledger as the audit reads it."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Label, func, select

from horde_facilitator.audit import Entry, Findings, PricedJob, audit
from horde_facilitator.records.ledger import Kind
from horde_facilitator.tables import jobs, ledger

ROWS = 1000


@dataclass(frozen=True, slots=True)
class Paid:
    """How many jobs were paid for, and with how much, by a name and a class."""

    name: str
    executor_class: str
    jobs: int
    amount: int


def by_owner(connection: Connection, since_us: int, owner: str | None = None) -> list[Paid]:
    """What everybody, or one owner, has paid since a time."""
    return _paid(connection, ledger.c.owner.label("name"), since_us, owner)


def by_executor(connection: Connection, since_us: int) -> list[Paid]:
    """What was paid for the jobs of each executor since a time."""
    return _paid(connection, ledger.c.executor.label("name"), since_us, None)


def _paid(connection: Connection, name: Label[str], since_us: int, owner: str | None) -> list[Paid]:
    amount = func.sum(ledger.c.amount)
    query = (
        select(name, ledger.c.executor_class, func.count(), amount)
        .where(ledger.c.kind == Kind.SETTLE.value, ledger.c.at_us >= since_us)
        .group_by(name, ledger.c.executor_class)
        .order_by(amount.desc(), name, ledger.c.executor_class)
    )
    if owner is not None:
        query = query.where(ledger.c.owner == owner)
    return [Paid(str(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in connection.execute(query)]


def reserved(connection: Connection, owner: str) -> dict[str, int]:
    """What is reserved now for an owner's jobs, by class."""
    query = (
        select(ledger.c.executor_class, ledger.c.kind, func.sum(ledger.c.amount))
        .where(ledger.c.owner == owner, ledger.c.job.is_not(None))
        .group_by(ledger.c.executor_class, ledger.c.kind)
    )
    found: dict[str, int] = {}
    for executor_class, kind, amount in connection.execute(query):
        sign = 1 if kind == Kind.RESERVE else -1
        found[str(executor_class)] = found.get(str(executor_class), 0) + sign * int(amount)
    return found


def check(connection: Connection) -> Findings:
    """Audit the whole ledger."""
    return audit(_entries(connection), _priced_jobs(connection))


def _entries(connection: Connection) -> Iterator[Entry]:
    columns = (ledger.c[name] for name in Entry.__slots__)
    rows = connection.execution_options(yield_per=ROWS).execute(select(*columns).order_by(ledger.c.id))
    return (Entry(*row) for row in rows)


def _priced_jobs(connection: Connection) -> Iterator[PricedJob]:
    columns = (jobs.c[name] for name in PricedJob.__slots__)
    query = select(*columns).where(jobs.c.payment.is_not(None))
    return (PricedJob(*row) for row in connection.execution_options(yield_per=ROWS).execute(query))
