"""What time brings: which attempts and waiting jobs have run out of it. Pure; `reconciler` acts on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from horde_core.outcomes import AnyOutcome, Rejected, RejectionReason, Stage
from horde_facilitator.clock import SECOND, Now, microseconds
from horde_facilitator.decisions import deadline_exceeded
from horde_facilitator.records.values import Lane

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Rules:
    """The periods that apply, in seconds."""

    no_executor_s: float


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that holds its job. Times are boot time."""

    job: str
    attempt: int
    confirmed: bool
    lease_boot_us: int
    deadline_boot_us: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in the queue. Times are wall time."""

    job: str
    executor_class: str
    begun: bool
    created_us: int
    queue_until_us: int
    deadline_us: int
    trusted: bool = False

    @property
    def lane(self) -> Lane:
        """The queue that it waits in."""
        return Lane(self.executor_class, self.trusted)


@dataclass(frozen=True, slots=True)
class Lapse:
    """The claim was never confirmed: put the job back, at no loss."""

    running: Running


@dataclass(frozen=True, slots=True)
class Lose:
    """The lease ran out: the attempt is lost."""

    running: Running


@dataclass(frozen=True, slots=True)
class Overdue:
    """The attempt outlived every limit: the job ends."""

    running: Running


@dataclass(frozen=True, slots=True)
class Dismiss:
    """The waiting job ends."""

    job: str
    outcome: AnyOutcome


Action = Lapse | Lose | Overdue | Dismiss


def due(
    now: Now,
    rules: Rules,
    *,
    running: Iterable[Running],
    waiting: Iterable[Waiting],
    seen: Mapping[Lane, int],
    back_boot_us: int,
    refused: Mapping[str, str] | None = None,
) -> list[Action]:
    """What has to happen now.

    `seen` says when an executor that serves a queue was last seen (boot time); a facilitator that just started has
    seen nobody, so the moment at which it came back counts as well. `refused` says why an executor does not serve
    a class although it offered to.
    """
    actions: list[Action] = []
    for attempt in running:
        if now.boot_us >= attempt.deadline_boot_us:
            actions.append(Overdue(attempt))
        elif now.boot_us >= attempt.lease_boot_us:
            actions.append(Lose(attempt) if attempt.confirmed else Lapse(attempt))
    for job in waiting:
        absent_us = now.boot_us - max(back_boot_us, seen.get(job.lane, 0))
        outcome = _dismissal(job, now, absent_us, rules, (refused or {}).get(job.executor_class))
        if outcome is not None:
            actions.append(Dismiss(job.job, outcome))
    return actions


def _dismissal(job: Waiting, now: Now, absent_us: int, rules: Rules, refused: str | None) -> AnyOutcome | None:
    """Why a waiting job ends now. A job that ran already was taken on, so it is never rejected."""
    if job.begun:
        return deadline_exceeded(Stage.QUEUE) if now.wall_us >= job.deadline_us else None
    waited_us = now.wall_us - job.created_us
    if now.wall_us >= job.queue_until_us:
        limit_s = (job.queue_until_us - job.created_us) / SECOND
        return Rejected(
            reason=RejectionReason.QUEUE_LIMIT,
            message=f"No executor was free for {_period(limit_s)}. Create the job again later.",
        )
    limit_us = microseconds(rules.no_executor_s)
    if waited_us >= limit_us and absent_us >= limit_us:
        return Rejected(reason=RejectionReason.NO_EXECUTOR, message=_nobody(job, rules, refused))
    return None


def _nobody(job: Waiting, rules: Rules, refused: str | None) -> str:
    kind, remedy = "executor", "Start one, or choose another class."
    if job.trusted:
        kind = "trusted executor"
        remedy = "An operator enrols one with: horde executor enroll --trusted. Or leave out on_trusted_miner."
    why = f" One offered to serve it, but cannot: {refused}." if refused else ""
    return f"No {kind} of the class {job.executor_class!r} was seen for {rules.no_executor_s:g} s.{why} {remedy}"


def _period(seconds: float) -> str:
    return f"{seconds / HOUR:g} hours" if seconds >= HOUR else f"{seconds:g} seconds"


def served_lanes(now: Now, seen: Mapping[Lane, int], back_boot_us: int, rules: Rules) -> frozenset[Lane] | None:
    """The queues that have an executor; None while it is too early after the start to tell."""
    limit_us = microseconds(rules.no_executor_s)
    if now.boot_us - back_boot_us < limit_us:
        return None
    return frozenset(lane for lane, boot_us in seen.items() if now.boot_us - boot_us < limit_us)


def describe(action: Action) -> str:
    """One line for the log."""
    match action:
        case Lapse(attempt):
            return f"job {attempt.job}: the claim of attempt {attempt.attempt} was not confirmed"
        case Lose(attempt):
            return f"job {attempt.job}: attempt {attempt.attempt} lost its lease"
        case Overdue(attempt):
            return f"job {attempt.job}: attempt {attempt.attempt} is past its deadline"
        case Dismiss(job, outcome):
            return f"job {job} leaves the queue: {outcome.kind}"
        case _:
            assert_never(action)
