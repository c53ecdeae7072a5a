"""The arithmetic of allowances, and an audit that finds whatever does not add up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_facilitator.allowances import HOUR_US, Account, Terms, correction, refilled, too_little
from horde_facilitator.audit import Entry, PricedJob, audit

AMOUNT = st.integers(0, 10**9)
TERMS = st.builds(Terms, AMOUNT, AMOUNT)
PAUSES = st.lists(st.integers(0, HOUR_US), max_size=20)


@given(TERMS, AMOUNT, AMOUNT, PAUSES)
def test_how_often_an_allowance_is_looked_at_changes_nothing(
    terms: Terms, available: int, held: int, pauses: list[int]
) -> None:
    """Filled at every look or once at the end: the same, to the thousandth and its remainder."""
    often = account = Account(available, held, 0)
    for now_us in (sum(pauses[: n + 1]) for n in range(len(pauses))):
        often = refilled(often, terms, now_us)
    assert often == refilled(account, terms, sum(pauses))


@given(TERMS, AMOUNT, AMOUNT, st.integers(0, 100 * HOUR_US))
def test_time_fills_up_to_the_cap_and_never_takes_away(
    terms: Terms, available: int, held: int, elapsed_us: int
) -> None:
    """What is held counts towards the cap, so waiting in the queue saves nothing up."""
    after = refilled(Account(available, held, 0), terms, elapsed_us)
    assert after.available >= available
    assert after.held == held
    assert after.available == available or after.available + held <= terms.cap
    if available + held <= terms.cap:
        earned = terms.refill_per_hour * elapsed_us // HOUR_US
        assert after.available + held == min(terms.cap, available + held + earned)


def test_a_clock_that_goes_back_takes_nothing_and_gives_nothing_twice() -> None:
    """An hour is earned once."""
    terms, start = Terms(10_000, 1000), Account(0, 0, HOUR_US)
    assert refilled(start, terms, 0) == start
    assert refilled(refilled(start, terms, 0), terms, 2 * HOUR_US).available == 1000


@given(TERMS, AMOUNT, AMOUNT)
def test_new_terms_take_away_only_what_is_available_above_the_new_cap(
    terms: Terms, available: int, held: int
) -> None:
    """What is held stays held, and nobody gets into debt."""
    amount = correction(Account(available, held, 0), terms)
    assert -available <= amount <= 0
    assert amount == 0 or available + amount == max(0, terms.cap - held)


def test_a_refusal_says_how_much_is_missing_and_what_to_do() -> None:
    """With the class, what is left, and how it comes back."""
    account = Account(20_500, 30_000, 0)
    assert too_little(20_500, account, Terms(100_000), "x") is None
    said = too_little(60_000, account, Terms(100_000, 3600_000), "x")
    assert said == (
        "The job costs 60 executor-seconds of the class 'x', and your allowance has 20.5 left: 39.5 are missing. "
        "30 are held for jobs that have not ended. It refills by 3600 an hour, up to 100."
    )
    assert "It never holds more than 50" in str(too_little(60_000, account, Terms(50_000, 1), "x"))
    assert "Ask the operator" in str(too_little(60_000, account, Terms(60_000), "x"))


RIGHT = [
    Entry(1, "grant", "me", "c", None, 100, 7, 100, 0),
    Entry(2, "reserve", "me", "c", "a", 60, 7, 40, 60),
    Entry(3, "reserve", "me", "c", "b", 30, 7, 10, 90),
    Entry(4, "settle", "me", "c", "a", 60, 7, 10, 30),
    Entry(5, "refill", "me", "c", None, 5, 7, 15, 30),
    Entry(6, "release", "me", "c", "b", 30, 7, 45, 0),
    Entry(7, "reserve", "you", "c", "c", 9, None, None, None),
]
JOBS = [
    PricedJob("a", "completed", 60, "settled"),
    PricedJob("b", "failed", 30, "released"),
    PricedJob("c", "accepted", 9, "reserved"),
]


def test_a_ledger_that_adds_up_is_told_by_its_sums() -> None:
    """What is held is what the jobs that have not ended cost."""
    found = audit(RIGHT, JOBS)
    assert found.problems == []
    assert (found.entries, found.reserved, found.sums["settle"]) == (7, 9, 60)


def changed(number: int, **fields: object) -> list[Entry]:
    return [replace(entry, **fields) if entry.id == number else entry for entry in RIGHT]


@pytest.mark.parametrize(
    ("entries", "jobs"),
    [
        pytest.param([e for e in RIGHT if e.id != 5], JOBS, id="a refill is missing"),
        pytest.param([e for e in RIGHT if e.id != 4], JOBS, id="a settlement is missing"),
        pytest.param([e for e in RIGHT if e.id != 7], JOBS, id="a reservation is missing"),
        pytest.param(changed(1, amount=101), JOBS, id="a grant was raised"),
        pytest.param(changed(4, amount=59), JOBS, id="less was settled than reserved"),
        pytest.param(changed(4, owner="you"), JOBS, id="somebody else paid"),
        pytest.param(changed(4, kind="release"), JOBS, id="released though paid"),
        pytest.param(changed(7, amount=-9), JOBS, id="a negative price"),
        pytest.param([*RIGHT, replace(RIGHT[5], id=8)], JOBS, id="released twice"),
        pytest.param([*RIGHT, replace(RIGHT[6], id=8, job="a")], JOBS, id="reserved again after its end"),
        pytest.param(RIGHT, [*JOBS[:2], replace(JOBS[2], status="failed")], id="held after the end"),
        pytest.param(RIGHT, [*JOBS[1:], replace(JOBS[0], price=61)], id="another price in the job"),
        pytest.param(RIGHT, [*JOBS[:2], replace(JOBS[2], payment="settled")], id="paid before the end"),
        pytest.param(RIGHT, JOBS[:2], id="held for no job"),
    ],
)
def test_whatever_does_not_add_up_is_found(entries: list[Entry], jobs: list[PricedJob]) -> None:
    """Each of these ledgers was changed in one place."""
    assert audit(entries, jobs).problems
