"""Why a job is where it is, in words and as data. Pure: from what the records hold to what its owner reads."""

from collections.abc import Sequence
from typing import assert_never

from pydantic import TypeAdapter

from horde_core.lifecycle import QUEUED
from horde_core.outcomes import AnyOutcome, Failed, Outcome, Rejected, Succeeded
from horde_core.wire.explanation import ExecutorState, Explanation
from horde_facilitator.clock import SECOND, Now
from horde_facilitator.records.values import Attempt, Job, Lane
from horde_facilitator.records.waiting import Machine, Wait
from horde_facilitator.replies import time_of

_OUTCOME: TypeAdapter[AnyOutcome] = TypeAdapter(Outcome)
FREE, BUSY, AWAY, AVOIDED, CORDONED, REFUSED = "free", "busy", "away", "avoided", "cordoned", "refused"


def explain(job: Job, attempt: Attempt | None, wait: Wait | None, now: Now, seen_us: int) -> Explanation:
    """Explain a job. `wait` is there for a queued one; an executor is here for `seen_us` after it was seen."""
    if wait is not None and job.status in QUEUED:
        return _queued(job, wait, now, seen_us)
    if job.outcome is not None:
        outcome = _OUTCOME.validate_json(job.outcome)
        return Explanation(
            uuid=job.uuid,
            state="ended",
            summary=_ended(outcome),
            executor_class=job.executor_class,
            outcome=outcome,
        )
    who = attempt.executor if attempt else "an executor"
    summary = f"It is {job.status.value}: attempt {job.attempt} runs on {who}."
    if job.is_cancelling:
        summary += " It was asked to stop."
    return Explanation(uuid=job.uuid, state="running", summary=summary, executor_class=job.executor_class)


def position(owner: str, wait: Wait) -> int:
    """Which of the queued jobs of its class this one is, counted from 1, as owners take turns.

    Before it come its owner's earlier jobs, and of everybody else as many jobs as he has turns meanwhile.
    """
    mine = wait.queues[owner]
    before = wait.own_ahead
    for other, queue in wait.queues.items():
        if other != owner:
            comes_first = (queue.served, queue.oldest) < (mine.served, mine.oldest)
            before += min(queue.jobs, wait.own_ahead + comes_first)
    return before + 1


def _queued(job: Job, wait: Wait, now: Now, seen_us: int) -> Explanation:
    place = position(job.owner, wait)
    queued = sum(queue.jobs for queue in wait.queues.values())
    # One that does not serve the class and is not here either says nothing of interest.
    machines = [m for m in wait.machines if m.refused is None or now.boot_us - m.seen_boot_us < seen_us]
    executors = [_state(machine, now, seen_us) for machine in machines]
    here = {lane for lane, boot_us in wait.last_seen.items() if now.boot_us - boot_us < seen_us}
    others = sorted(name for name, trusted in here if name != job.executor_class and trusted == job.trusted)
    rejected_us = wait.queue_until_us if not job.begun else job.deadline_us
    serving, refusing = _split(executors)
    if serving:
        waits_for = _reason(serving)
    elif job.trusted:
        waits_for = _nobody_trusted(job, others, has_ordinary=Lane(job.executor_class) in here)
    else:
        waits_for = _nobody(job, others, has_joined=bool(wait.last_seen))
    if refusing and not serving:
        why = "; ".join(f"{executor.hotkey} {executor.why}" for executor in refusing[:3])
        waits_for += f" Some offered to, but cannot: {why}."
    return Explanation(
        uuid=job.uuid,
        state="queued",
        summary=f"It is number {place} of {queued} in the queue of {_queue(job)}. {waits_for}",
        executor_class=job.executor_class,
        trusted=job.trusted,
        position=place,
        queued=queued,
        own_ahead=wait.own_ahead,
        rejected_at=time_of(rejected_us),
        executors=executors,
        other_classes=others,
    )


def _queue(job: Job) -> str:
    return f"{job.executor_class} for trusted executors" if job.trusted else job.executor_class


def _reason(executors: Sequence[ExecutorState]) -> str:
    """What keeps the job from running, in one or two sentences."""
    counts = {state: sum(e.state == state for e in executors) for state in (FREE, BUSY, AWAY, AVOIDED, CORDONED)}
    if counts[FREE]:
        return "An executor is free; the job is taken when its turn comes."
    if counts[BUSY]:
        rest = _rest(counts, len(executors), BUSY)
        return f"Every executor that could take it is busy with other jobs.{rest}"
    if counts[AVOIDED]:
        rest = _rest(counts, len(executors), AVOIDED)
        return f"Executors that lost it before leave it to others for a while.{rest}"
    why = "; ".join(f"{executor.hotkey} {executor.why}" for executor in executors[:3])
    return f"No executor of its class can take it now: {why}."


def _split(executors: Sequence[ExecutorState]) -> tuple[list[ExecutorState], list[ExecutorState]]:
    """Those that serve the class, and those that only offered to."""
    serving = [executor for executor in executors if executor.state != REFUSED]
    return serving, [executor for executor in executors if executor.state == REFUSED]


def _nobody(job: Job, others: Sequence[str], *, has_joined: bool) -> str:
    if others:
        return f"No executor serves {job.executor_class}; there are executors of {', '.join(others)} only."
    if has_joined:
        return f"No executor serves {job.executor_class}, and none of another class was seen lately."
    return "No executor has joined this horde."


def _nobody_trusted(job: Job, others: Sequence[str], *, has_ordinary: bool) -> str:
    said = [f"No trusted executor serves {job.executor_class}, and the job asks for one (on_trusted_miner)."]
    if has_ordinary:
        said.append("Executors that are not trusted serve it; without on_trusted_miner they would run the job.")
    if others:
        said.append(f"There are trusted executors of {', '.join(others)}.")
    return " ".join(said)


def _rest(counts: dict[str, int], total: int, told: str) -> str:
    words = {BUSY: "busy", AWAY: "away", AVOIDED: "avoided because it lost this job", CORDONED: "cordoned"}
    others = [f"{count} {words[state]}" for state, count in counts.items() if count and state not in (FREE, told)]
    return f" Of {total} executors, {', '.join(others)}." if others else ""


def _state(machine: Machine, now: Now, seen_us: int) -> ExecutorState:
    state, why = _judged(machine, now, seen_us)
    return ExecutorState(
        hotkey=machine.hotkey,
        state=state,
        running=machine.running,
        slots=machine.slots,
        seen_at=time_of(machine.seen_us),
        why=why,
        trusted=machine.trusted,
    )


def _judged(machine: Machine, now: Now, seen_us: int) -> tuple[str, str]:
    if machine.refused is not None:
        return REFUSED, f"does not serve it: {machine.refused}"
    if now.boot_us - machine.seen_boot_us >= seen_us:
        ago_s = max(0, now.wall_us - machine.seen_us) // SECOND
        return AWAY, f"was not seen for {ago_s} s"
    if machine.cordoned is not None:
        return CORDONED, f"is cordoned: {machine.cordoned}"
    if machine.running >= machine.slots:
        return BUSY, f"is busy: {machine.running} of {machine.slots} slots are taken"
    if machine.lost:
        return AVOIDED, "lost this job before, so that others are preferred"
    return FREE, f"is free: {machine.running} of {machine.slots} slots are taken"


def _ended(outcome: AnyOutcome) -> str:
    match outcome:
        case Succeeded():
            how = "was stopped at its execution limit" if outcome.stopped_at_limit else "ended by itself"
            return f"It completed: the container {how}."
        case Failed():
            return f"It failed ({outcome.reason.value}): {outcome.message}"
        case Rejected():
            return f"It was rejected ({outcome.reason.value}): {outcome.message}"
        case _:
            assert_never(outcome)
