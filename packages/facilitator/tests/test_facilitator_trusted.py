"""Jobs for trusted executors only: who gets them, and what becomes of them when there is no such executor."""

import asyncio

import pytest
from bittensor_wallet import Keypair

CPU = "always_on.cpu.8c.16gb"


def address(name: str) -> str:
    return Keypair.create_from_uri(f"//{name}").ss58_address


ADMITTED = {
    "user": frozenset(map(address, ("user", "other"))),
    "executor": frozenset(map(address, ("executor", "second"))),
    "trusted": frozenset({address("trusted")}),
    "operator": frozenset({address("operator")}),
}


@pytest.fixture
async def served(serving):
    async with serving(admit=ADMITTED) as facilitator:
        yield facilitator


@pytest.fixture
async def trusted(served):
    return await served.executor("trusted")


async def explained(user, uuid: str) -> dict:
    answer = await user.get(f"/api/v1/jobs/{uuid}/explain/")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_job_for_trusted_executors_is_claimed_by_no_other(user, executor, trusted):
    """Also when it is the only one that waits; its reply says what it asked for."""
    job = await user.create(on_trusted_miner=True)
    assert await executor.claim() is None
    assert (await trusted.hold()).job == job
    assert (await user.job(job))["on_trusted_miner"] is True


async def test_a_trusted_executor_takes_ordinary_jobs_in_their_turn(served, trusted):
    """It is a machine like others: owners take turns over both kinds, and the older job comes first."""
    user, other = await served.user(), await served.user("other")
    mine = [await user.create(on_trusted_miner=index == 1) for index in range(3)]
    theirs = [await other.create(on_trusted_miner=True) for _ in range(2)]
    order = [(await trusted.hold()).job for _ in range(5)]
    assert order == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]


async def test_a_trusted_executor_that_waits_hears_of_a_job_at_once(user, trusted):
    """A long poll is answered when the job arrives."""
    assert await trusted.claim() is None
    job = await user.create(on_trusted_miner=True)
    assert (await trusted.hold(wait_s=10)).job == job


async def test_an_executor_is_trusted_as_long_as_the_operator_says_so(served, user, executor):
    """The role may be given to an executor that is there, and taken away."""
    operator = await served.user("operator")
    role = f"/operator/v1/hotkeys/{address('executor')}/trusted"
    first, second = [await user.create(on_trusted_miner=True) for _ in range(2)]
    assert (await operator.send("PUT", role)).status_code == 204
    assert (await executor.hold()).job == first
    assert (await operator.send("DELETE", role)).status_code == 204
    assert await executor.claim() is None
    assert (await user.statuses(second)) == ["sent", "received"]


async def test_a_lost_trusted_job_is_not_kept_for_an_executor_that_may_not_have_it(serving):
    """Others that would be preferred must be trusted, too."""
    async with serving(admit=ADMITTED, lease_s=0.3, confirm_s=0.3) as served:
        user, executor, trusted = await served.user(), await served.executor(), await served.executor("trusted")
        assert await executor.claim() is None
        job = await user.create(on_trusted_miner=True)
        await (await trusted.hold()).confirmed()
        await user.wait_for(job, "Received")
        again = await trusted.claim()
        assert (again.job, again.attempt) == (job, 2)


async def test_without_a_trusted_executor_the_job_is_rejected_as_for_a_class(serving):
    """Ordinary executors of the class do not count; the words name the remedy."""
    async with serving(admit=ADMITTED, no_executor_s=0.5) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create(on_trusted_miner=True)
        async with asyncio.TaskGroup() as group:
            staying = group.create_task(stay(executor))
            ended = await user.wait_for(job, "Rejected")
            staying.cancel()
        outcome = ended["horde"]["outcome"]
        assert outcome["reason"] == "no_executor"
        assert "No trusted executor of the class 'always_on.test' was seen for 0.5 s." in outcome["message"]
        assert "horde executor enroll --trusted" in outcome["message"]


async def stay(executor) -> None:
    """Be seen all the time."""
    while True:
        assert await executor.claim(wait_s=0.1) is None


async def test_explain_tells_of_trusted_executors_alone(user, executor, trusted):
    """That there is none, or none of the class, and what those that are there do."""
    job = await user.create(on_trusted_miner=True)
    assert await executor.claim() is None
    found = await explained(user, job)
    assert (found["trusted"], found["executors"], found["position"], found["queued"]) == (True, [], 1, 1)
    assert "No trusted executor serves always_on.test" in found["summary"]
    assert "without on_trusted_miner they would run the job" in found["summary"]
    assert await trusted.claim(classes=[CPU]) is None
    found = await explained(user, job)
    assert found["other_classes"] == [CPU]
    assert f"There are trusted executors of {CPU}." in found["summary"]


async def test_explain_counts_the_two_queues_of_a_class_apart(user, executor, trusted):
    """And tells for each executor whether it is trusted."""
    assert await trusted.claim() is None
    assert await executor.claim() is None
    for _ in range(2):
        await user.create()
    job = await user.create(on_trusted_miner=True)
    found = await explained(user, job)
    assert (found["position"], found["queued"]) == (1, 1)
    assert "number 1 of 1 in the queue of always_on.test for trusted executors" in found["summary"]
    assert [(it["hotkey"], it["trusted"]) for it in found["executors"]] == [(address("trusted"), True)]
    ordinary = await explained(user, await user.create())
    assert (ordinary["position"], ordinary["queued"]) == (3, 3)
    assert {it["hotkey"]: it["trusted"] for it in ordinary["executors"]} == {
        address("trusted"): True,
        address("executor"): False,
    }
