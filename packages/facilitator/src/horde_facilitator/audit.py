"""Whether the ledger adds up: every entry against those before it, and all of it against the jobs. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from horde_core.lifecycle import END

MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the ledger, without what does not add up."""

    id: int
    kind: str
    owner: str
    executor_class: str
    job: str | None
    amount: int
    allowance: int | None
    available: int | None
    held: int | None


@dataclass(frozen=True, slots=True)
class PricedJob:
    """What the records of a job say of its payment."""

    uuid: str
    status: str
    price: int | None
    payment: str | None


@dataclass(slots=True)
class Findings:
    """What the entries add up to, by kind, and what is wrong with them."""

    entries: int = 0
    sums: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[str] = field(default_factory=list[str])

    @property
    def reserved(self) -> int:
        """What is held for jobs that have not ended."""
        return self.sums.get("reserve", 0) - self.sums.get("settle", 0) - self.sums.get("release", 0)

    def blame(self, problem: str) -> None:
        """Note what is wrong, unless too much is already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def audit(entries: Iterable[Entry], jobs: Iterable[PricedJob]) -> Findings:
    """Check the whole ledger, in the order of its entries, and then all jobs that have a payment.

    It adds up if each balance follows from the one before, nothing is negative, every reservation is closed once
    and in full, and what is still held is what the jobs that have not ended cost.
    """
    findings = Findings()
    balances: dict[int, tuple[int, int]] = {}
    held: dict[str, Entry] = {}
    closed: dict[str, Entry] = {}
    for entry in entries:
        findings.entries += 1
        findings.sums[entry.kind] = findings.sums.get(entry.kind, 0) + entry.amount
        _check_balance(findings, balances, entry)
        _check_job(findings, held, closed, entry)
    for job in jobs:
        _check_payment(findings, held, closed, job)
    for entry in held.values():
        findings.blame(f"entry {entry.id}: {entry.amount} is held for job {entry.job}, which has ended or is gone")
    return findings


def _check_balance(findings: Findings, balances: dict[int, tuple[int, int]], entry: Entry) -> None:
    """The balance after an entry follows from the one before it."""
    if entry.amount < 0 and entry.kind != "grant":
        findings.blame(f"entry {entry.id}: a {entry.kind} of {entry.amount}")
    if entry.allowance is None:
        return
    available, held = balances.get(entry.allowance, (0, 0))
    signs = {"grant": (1, 0), "refill": (1, 0), "reserve": (-1, 1), "settle": (0, -1), "release": (1, -1)}
    to_available, to_held = signs[entry.kind]
    right = (available + to_available * entry.amount, held + to_held * entry.amount)
    if (entry.available, entry.held) != right or min(right) < 0:
        said = f"{entry.available} available and {entry.held} held"
        findings.blame(f"entry {entry.id}: after it allowance {entry.allowance} has {said}, not {right}")
    balances[entry.allowance] = right


def _check_job(findings: Findings, held: dict[str, Entry], closed: dict[str, Entry], entry: Entry) -> None:
    """A job is reserved for once, and then closed once with the same amount, owner, class and allowance."""
    if entry.kind in ("grant", "refill"):
        return
    if entry.job is None:
        findings.blame(f"entry {entry.id}: a {entry.kind} without a job")
        return
    if entry.kind == "reserve":
        if entry.job in held or entry.job in closed:
            findings.blame(f"entry {entry.id}: job {entry.job} is reserved for a second time")
        held[entry.job] = entry
        return
    reservation = held.pop(entry.job, None)
    if reservation is None:
        findings.blame(f"entry {entry.id}: nothing is held for job {entry.job}")
    elif _terms(reservation) != _terms(entry):
        findings.blame(f"entry {entry.id}: a {entry.kind} that differs from its reservation {reservation.id}")
    closed[entry.job] = entry


def _terms(entry: Entry) -> tuple[int, str, str, int | None]:
    return entry.amount, entry.owner, entry.executor_class, entry.allowance


def _check_payment(findings: Findings, held: dict[str, Entry], closed: dict[str, Entry], job: PricedJob) -> None:
    """What the job says of its payment is what the ledger says."""
    entry = held.pop(job.uuid, None) or closed.get(job.uuid)
    payment = (
        {"reserve": "reserved", "settle": "settled", "release": "released"}.get(entry.kind) if entry else None
    )
    if entry is None or (payment, entry.amount) != (job.payment, job.price):
        findings.blame(f"job {job.uuid}: the ledger does not say that {job.price} is {job.payment}")
    if (job.payment == "reserved") == (job.status in END):
        findings.blame(f"job {job.uuid} is {job.status}, but its price is {job.payment}")
