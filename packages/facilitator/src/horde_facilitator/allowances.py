"""Allowances: what a hotkey may spend on jobs of a class. Pure; `records.ledger` keeps the books.

Amounts are thousandths of an executor-second, times microseconds of wall time. An allowance fills by itself up to
its cap, which bounds what is available and what is held for jobs together: so nobody can save up more by keeping
jobs in the queue. How much has been filled depends on the time alone, not on how often anybody looked.
"""

from dataclasses import dataclass, replace

from horde_core.price import seconds
from horde_facilitator.clock import SECOND

HOUR_US = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Terms:
    """What an operator grants: at most `cap` at a time, filled by `refill_per_hour`."""

    cap: int
    refill_per_hour: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Where an allowance stands. `filled_us` is the time up to which it was filled.

    `carry` is the part of a thousandth that had been earned by then, as a numerator over `HOUR_US`.
    """

    available: int
    held: int
    filled_us: int
    carry: int = 0


def refilled(account: Account, terms: Terms, now_us: int) -> Account:
    """The account with what the time until now has earned."""
    elapsed_us = max(0, now_us - account.filled_us)
    earned, carry = divmod(terms.refill_per_hour * elapsed_us + account.carry, HOUR_US)
    room = max(0, terms.cap - account.available - account.held)
    if earned >= room:
        earned, carry = room, 0
    filled_us = max(now_us, account.filled_us)
    return replace(account, available=account.available + earned, filled_us=filled_us, carry=carry)


def correction(account: Account, terms: Terms) -> int:
    """What new terms take away: what is available above the new cap. Zero or less; what is held stays."""
    return min(0, max(-account.available, terms.cap - account.available - account.held))


def too_little(price: int, account: Account, terms: Terms, executor_class: str) -> str | None:
    """Why a job at this price is not taken on, for its owner to read; None if the allowance suffices."""
    missing = price - account.available
    if missing <= 0:
        return None
    fact = (
        f"The job costs {seconds(price)} executor-seconds of the class {executor_class!r}, and your allowance has "
        f"{seconds(max(0, account.available))} left: {seconds(missing)} are missing."
    )
    held = f" {seconds(account.held)} are held for jobs that have not ended." if account.held else ""
    if price > terms.cap:
        return (
            f"{fact}{held} It never holds more than {seconds(terms.cap)}: lower the job's limits, or ask for more."
        )
    if terms.refill_per_hour:
        return f"{fact}{held} It refills by {seconds(terms.refill_per_hour)} an hour, up to {seconds(terms.cap)}."
    return f"{fact}{held} Ask the operator of this horde for more."
