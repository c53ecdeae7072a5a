"""The ledger of payments: append-only, written in the same transaction as what it pays for.

| entry   | when                                             | available | held |
|---------|--------------------------------------------------|-----------|------|
| grant   | an operator gave an allowance, or took some away | + amount  |      |
| refill  | time filled it up                                | + amount  |      |
| reserve | a job was created                                | - amount  | +    |
| settle  | the job ended and is paid for                    |           | -    |
| release | the job ended and costs nothing                  | + amount  | -    |

An entry that counts against an allowance names it and says what is available and held after it. Jobs of an owner
without an allowance are entered too, so that their usage shows, but count against nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from horde_core.lifecycle import HELD
from horde_core.outcomes import AnyOutcome
from horde_core.price import is_paid
from horde_facilitator.allowances import Account, Terms, refilled, too_little
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.records.values import Job
from horde_facilitator.tables import IS_RESERVED, allowances, attempts, default_allowance, ledger


class Kind(StrEnum):
    """What an entry says."""

    GRANT = "grant"
    REFILL = "refill"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"


class Payment(StrEnum):
    """What became of a job's price."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Allowance:
    """A stored allowance. `by_default`: nobody gave it to this owner in particular."""

    id: int
    owner: str
    executor_class: str
    terms: Terms
    by_default: bool
    account: Account


@dataclass(frozen=True, slots=True)
class Reservation:
    """A new job's price, to be held until its end."""

    job: str
    owner: str
    executor_class: str
    price: int


_FIND = select(allowances).where(
    allowances.c.owner == bindparam("of"), allowances.c.executor_class == bindparam("class_name")
)
_DEFAULT = select(default_allowance.c.cap, default_allowance.c.refill_per_hour)
_OPEN = insert(allowances).returning(allowances.c.id)
_FILLED = update(allowances).where(allowances.c.id == bindparam("number"))
_OWNER = select(allowances.c.owner, allowances.c.executor_class).where(allowances.c.id == bindparam("number"))
_BALANCE = (
    select(ledger.c.available, ledger.c.held)
    .where(ledger.c.allowance == bindparam("number"))
    .order_by(ledger.c.id.desc())
    .limit(1)
)
_RESERVATION = (
    select(ledger.c.amount, ledger.c.allowance, attempts.c.executor)
    .join_from(
        ledger,
        attempts,
        and_(attempts.c.job == ledger.c.job, attempts.c.attempt == bindparam("attempt")),
        isouter=True,
    )
    .where(ledger.c.job == bindparam("of"), IS_RESERVED)
)
_ENTER = insert(ledger)


def find_allowance(connection: Connection, owner: str, executor_class: str, now_us: int) -> Allowance | None:
    """An owner's allowance for a class, filled up to now; None: it is not limited."""
    row = connection.execute(_FIND, {"of": owner, "class_name": executor_class}).one_or_none()
    if row is None:
        return None
    available, held = _balance(connection, row.id)
    terms = Terms(row.cap, row.refill_per_hour)
    account = refilled(Account(available, held, row.filled_us, row.carry), terms, now_us)
    return Allowance(row.id, row.owner, row.executor_class, terms, row.by_default, account)


def default_terms(connection: Connection) -> Terms | None:
    """What owners have for each class where nobody gave them an allowance; None: they are not limited."""
    row = connection.execute(_DEFAULT).one_or_none()
    return Terms(row.cap, row.refill_per_hour) if row else None


def open_allowance(
    tx: Transaction, owner: str, executor_class: str, terms: Terms, now: Now, *, by_default: bool
) -> Allowance:
    """Give an owner a full allowance. There must be none."""
    number = tx.execute(
        _OPEN,
        owner=owner,
        executor_class=executor_class,
        cap=terms.cap,
        refill_per_hour=terms.refill_per_hour,
        filled_us=now.wall_us,
        carry=0,
        by_default=by_default,
    ).scalar_one()
    account = Account(terms.cap, 0, now.wall_us)
    made = Allowance(int(number), owner, executor_class, terms, by_default, account)
    enter(tx, Kind.GRANT, made, terms.cap, now)
    return made


def reserve(tx: Transaction, wanted: Reservation, now: Now) -> str | None:
    """Hold the price of a new job; or say why it cannot be held, and hold nothing."""
    owner, executor_class = wanted.owner, wanted.executor_class
    allowance = find_allowance(tx.connection, owner, executor_class, now.wall_us)
    if allowance is None and (default := default_terms(tx.connection)) is not None:
        allowance = open_allowance(tx, owner, executor_class, default, now, by_default=True)
    if allowance is not None:
        refusal = too_little(wanted.price, allowance.account, allowance.terms, executor_class)
        if refusal is not None:
            return refusal
        fill(tx, allowance, now)
    account = allowance.account if allowance else None
    tx.execute(
        _ENTER,
        at_us=now.wall_us,
        kind=Kind.RESERVE.value,
        owner=owner,
        executor_class=executor_class,
        job=wanted.job,
        executor=None,
        amount=wanted.price,
        allowance=allowance.id if allowance else None,
        available=account.available - wanted.price if account else None,
        held=account.held + wanted.price if account else None,
    )
    return None


def close(tx: Transaction, job: Job, outcome: AnyOutcome, now: Now) -> Payment | None:
    """Settle or release what is held for a job that ends so; None: nothing is (a job from before the ledger)."""
    row = tx.execute(_RESERVATION, of=job.uuid, attempt=job.attempt).one_or_none()
    if row is None:
        return None
    payment = Payment.SETTLED if is_paid(outcome, job.status) else Payment.RELEASED
    available = held = None
    if row.allowance is not None:
        if payment is Payment.SETTLED:  # that makes room below the cap, from now on and not before
            _fill_up(tx, row.allowance, now)
        available, held = _balance(tx.connection, row.allowance)
        available += row.amount if payment is Payment.RELEASED else 0
        held -= row.amount
    tx.execute(
        _ENTER,
        at_us=now.wall_us,
        kind=(Kind.SETTLE if payment is Payment.SETTLED else Kind.RELEASE).value,
        owner=job.owner,
        executor_class=job.executor_class,
        job=job.uuid,
        executor=row.executor if job.status in HELD else None,
        amount=row.amount,
        allowance=row.allowance,
        available=available,
        held=held,
    )
    return payment


def fill(tx: Transaction, allowance: Allowance, now: Now) -> None:
    """Enter what time has filled an allowance with, which `find_allowance` has counted in."""
    before, _ = _balance(tx.connection, allowance.id)
    account = allowance.account
    tx.execute(_FILLED, number=allowance.id, filled_us=account.filled_us, carry=account.carry)
    if account.available != before:
        enter(tx, Kind.REFILL, allowance, account.available - before, now)


def enter(tx: Transaction, kind: Kind, allowance: Allowance, amount: int, now: Now) -> None:
    """Enter a change of an allowance; its account says what is available and held after it."""
    tx.execute(
        _ENTER,
        at_us=now.wall_us,
        kind=kind.value,
        owner=allowance.owner,
        executor_class=allowance.executor_class,
        job=None,
        executor=None,
        amount=amount,
        allowance=allowance.id,
        available=allowance.account.available,
        held=allowance.account.held,
    )


def _fill_up(tx: Transaction, number: int, now: Now) -> None:
    """Fill an allowance by its number, unless it was taken away since."""
    row = tx.execute(_OWNER, number=number).one_or_none()
    found = find_allowance(tx.connection, row.owner, row.executor_class, now.wall_us) if row else None
    if found is not None:
        fill(tx, found, now)


def _balance(connection: Connection, number: int) -> tuple[int, int]:
    """What is available and held of an allowance, as its last entry says."""
    row = connection.execute(_BALANCE, {"number": number}).one()
    return int(row.available), int(row.held)
