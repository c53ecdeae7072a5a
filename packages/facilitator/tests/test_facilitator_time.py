"""What time brings: lost leases, lapsed claims, zombies, jobs that nobody takes, and an absent facilitator."""

import asyncio

import pytest

from horde_core.outcomes import Reason, RejectionReason
from horde_facilitator.clock import SECOND, Now
from horde_facilitator.reconcile import Dismiss, Lapse, Lose, Overdue, Rules, Running, Waiting, due, served_lanes
from horde_facilitator.records.values import Lane

HASTY = {"lease_s": 0.6, "confirm_s": 0.3}


async def test_a_zombie_is_refused_whatever_it_says(serving, wait_until):
    """After its lease ran out another executor has the job; of the first one nothing is taken any more."""
    async with serving(**HASTY) as served:
        user, first, second = await served.user(), await served.executor(), await served.executor("second")
        job = await user.create()
        zombie = await (await first.hold()).confirmed()
        await zombie.events(0, "executor_ready")
        await zombie.log("stdout", 0, b"half of it")
        other = await second.hold(wait_s=20)
        assert (other.job, other.attempt) == (job, 2)
        keeping = asyncio.create_task(keep(other))
        answers = await zombie.every_request()
        assert {name: a.status_code for name, a in answers.items()} == dict.fromkeys(answers, 409)
        assert {a.json()["code"] for a in answers.values()} == {"stale_attempt"}
        assert (await user.job(job))["stdout"] == "half of it"  # until the next attempt has a container
        await other.run(b"whole")
        keeping.cancel()
        result = await user.job(job)
        assert (result["status"], result["stdout"]) == ("Completed", "whole")
        lost = next(e for e in result["status_history"] if e["status"] == "received" and e["attempt"] == 1)
        assert lost["metadata"]["attempt_ended"]["how"] == "lost"
        blobs = served.settings.data / "blobs" / job

        async def cleared() -> bool:
            return not (blobs / "1").exists()

        await wait_until("the lost attempt's blobs to be deleted", cleared)
        assert (blobs / "2").exists()


async def keep(hold) -> None:
    while (await hold.lease(wait_s=0.2)).status_code == 200:
        pass


async def test_a_waiting_lease_is_told_at_once_that_the_attempt_is_over(serving):
    """An executor whose attempt ended under it does not wait for its next renewal to learn so."""
    async with serving(**HASTY) as served:
        user, executor = await served.user(), await served.executor()
        await user.create()
        hold = await (await executor.hold()).confirmed()
        answer = await hold.lease(wait_s=20)
        assert answer.status_code == 409
        assert answer.json()["code"] == "stale_attempt"


async def test_an_unconfirmed_claim_lapses_and_counts_nothing(serving):
    """A claim whose answer got lost comes back to the queue, even of a job that may be tried once only."""
    async with serving(**HASTY) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create(max_attempts=1)
        assert (await executor.hold()).attempt == 1
        again = await executor.hold(wait_s=20)
        assert (again.job, again.attempt) == (job, 2)
        await again.run()
        assert (await user.job(job))["status"] == "Completed"


async def test_three_losses_end_a_job_with_what_had_arrived(serving):
    """Lost three times: FAILED, the horde's fault, with the partial results of the last container."""
    async with serving(**HASTY) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        for number in (1, 2, 3):
            hold = await (await executor.hold(wait_s=20)).confirmed()
            assert hold.attempt == number
            if number < 3:
                await hold.events(0, "executor_ready")
                await hold.log("stdout", 0, b"attempt %d" % number)
                await hold.artifact("/artifacts/x", b"%d" % number)
        result = await user.wait_for(job, "Failed")
        assert result["status_history"][-1]["status"] == "horde_failed"
        details = result["status_history"][-1]["metadata"]["horde_failure_details"]
        assert (details["reason"], details["reported_by"]) == ("executor_lost", "facilitator")
        assert "3 times" in details["message"]
        assert result["horde"]["fault"] == "horde"
        assert result["horde"]["partial"]
        assert result["stdout"] == "attempt 2"
        assert result["artifacts"] == {"/artifacts/x": "Mg=="}


async def test_another_executor_is_preferred_after_a_loss(serving):
    """Who lost a job leaves it to another executor that was seen lately, for a while."""
    async with serving(**HASTY, avoid_s=2) as served:
        user, first, second = await served.user(), await served.executor(), await served.executor("second")
        assert await second.claim() is None  # seen
        job = await user.create()
        await (await first.hold()).confirmed()
        await user.wait_for(job, "Received")
        assert await first.claim() is None
        preferred = await second.claim()
        assert preferred.job == job
        await preferred.give_back()
        hold = await first.claim(wait_s=0)
        while hold is None:  # a while later it is anybody's
            hold = await first.claim(wait_s=0.1)
        assert hold.job == job


async def test_a_cancelled_job_whose_executor_is_gone_ends_with_its_lease(serving):
    """Nobody reports; the reconciler ends the job as cancelled and gives it to nobody."""
    async with serving(**HASTY) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        await (await executor.hold()).confirmed()
        await user.cancel(job)
        result = await user.wait_for(job, "Failed")
        assert result["horde"]["outcome"]["reason"] == "cancelled"
        assert await executor.claim() is None


async def test_a_job_of_a_class_that_nobody_serves_is_rejected(serving):
    """After a while without any executor of the class; jobs of a class that is served wait on."""
    async with serving(no_executor_s=0.5) as served:
        user, executor = await served.user(), await served.executor()
        serving_other = asyncio.create_task(stay(executor))
        served_job = await user.create()
        hold = await executor.claim()
        lonely = await user.create(executor_class="always_on.gpu-24gb")
        result = await user.wait_for(lonely, "Rejected")
        details = result["status_history"][-1]["metadata"]["job_rejection_details"]
        assert (details["reason"], details["rejected_by"]) == ("no_executor", "facilitator")
        assert "always_on.gpu-24gb" in details["message"]
        assert result["horde"]["fault"] is None
        assert (await user.job(served_job))["status"] != "Rejected"
        serving_other.cancel()
        del hold


async def stay(executor) -> None:
    while True:
        await executor.claim(wait_s=0.1, classes=["always_on.llm.a6000"])


async def test_a_job_that_waits_too_long_is_rejected(serving):
    """The queue has a limit, which the rejection names."""
    async with serving(queue_s=0.5) as served:
        user = await served.user()
        result = await user.wait_for(await user.create(), "Rejected")
        assert result["horde"]["outcome"]["reason"] == "queue_limit"


async def test_a_jump_of_the_wall_clock_costs_no_lease(serving, shifted_clock):
    """Leases are on the clock that never jumps."""
    clock = shifted_clock()
    async with serving(clock, lease_s=5, token_s=10**6) as served:
        user, executor = await served.user(), await served.executor()
        await user.create()
        hold = await (await executor.hold()).confirmed()
        clock.wall_shift_us += 3600 * SECOND
        assert (await hold.lease(wait_s=0.5)).status_code == 200
        clock.wall_shift_us -= 7200 * SECOND
        await hold.run()


async def test_a_facilitator_that_slept_gives_every_lease_a_full_period(serving, shifted_clock):
    """A suspended machine wakes with leases that ran out unheard; they are renewed, not ended."""
    clock = shifted_clock()
    async with serving(clock) as served:
        user, executor = await served.user(), await served.executor()
        await user.create()
        hold = await (await executor.hold()).confirmed()
        waiting_job = await user.create()
        for clock_us in ("boot_shift_us", "wall_shift_us"):
            setattr(clock, clock_us, 600 * SECOND)
        answer = await hold.lease(wait_s=0.3)
        assert answer.status_code == 200
        await hold.run()
        assert (await user.job(waiting_job))["status"] == "Received"


NOW = Now(wall_us=1_000_000 * SECOND, boot_us=1000 * SECOND)
RULES = Rules(no_executor_s=60)


def running(*, confirmed=True, lease=1, deadline=1) -> Running:
    return Running("j", 1, confirmed, NOW.boot_us + lease * SECOND, NOW.boot_us + deadline * SECOND)


def waiting(age: int, *, begun=False, deadline=1) -> Waiting:
    created_us = NOW.wall_us - age * SECOND
    return Waiting("j", "c", begun, created_us, created_us + 3600 * SECOND, NOW.wall_us + deadline * SECOND)


def judged(attempts=(), jobs=(), *, seen=None, started=0):
    return due(NOW, RULES, running=attempts, waiting=jobs, seen=seen or {}, back_boot_us=started * SECOND)


@pytest.mark.parametrize(
    ("attempt", "kinds"),
    [
        (running(), []),
        (running(lease=0), [Lose]),
        (running(lease=0, confirmed=False), [Lapse]),
        (running(deadline=0), [Overdue]),
        (running(lease=0, deadline=0), [Overdue]),
    ],
)
def test_what_is_due_of_a_running_attempt(attempt, kinds):
    """The deadline comes before the lease, and only a confirmed attempt can be lost."""
    assert [type(action) for action in judged([attempt])] == kinds


@pytest.mark.parametrize(
    ("job", "seen", "started", "reason"),
    [
        (waiting(10), {}, 0, None),
        (waiting(61), {}, 0, RejectionReason.NO_EXECUTOR),
        (waiting(61), {"c": 939}, 0, RejectionReason.NO_EXECUTOR),
        (waiting(61), {"c": 941}, 0, None),
        (waiting(61), {}, 941, None),
        (waiting(3601), {"c": 999}, 0, RejectionReason.QUEUE_LIMIT),
        (waiting(3601, begun=True), {}, 0, None),
        (waiting(3601, begun=True, deadline=0), {"c": 999}, 0, Reason.DEADLINE_EXCEEDED),
    ],
)
def test_what_is_due_of_a_waiting_job(job, seen, started, reason):
    """A job that ran once is never rejected, only given up at its deadline."""
    seen_us = {Lane(name): second * SECOND for name, second in seen.items()}
    actions = judged(jobs=[job], seen=seen_us, started=started)
    reasons = [action.outcome.reason for action in actions if isinstance(action, Dismiss)]
    assert reasons == ([reason] if reason else [])


def test_a_facilitator_that_just_started_misses_nobody():
    """Executors need a moment to come back; until then no class counts as deserted."""
    seen = {Lane("here"): NOW.boot_us - SECOND, Lane("gone"): 0}
    assert served_lanes(NOW, seen, NOW.boot_us - 10 * SECOND, RULES) is None
    assert served_lanes(NOW, seen, 0, RULES) == {Lane("here")}
