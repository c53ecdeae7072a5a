"""Why a job waits: its place in the queue, and what every executor of its class does."""

from horde_facilitator.clock import SECOND

CPU = "always_on.cpu.8c.16gb"
HASTY = {"lease_s": 0.3, "confirm_s": 0.3}


async def explained(user, uuid: str) -> dict:
    answer = await user.get(f"/api/v1/jobs/{uuid}/explain/")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_nobody_has_joined(user):
    """An empty horde says so, and until when the job waits."""
    found = await explained(user, await user.create())
    assert (found["state"], found["position"], found["queued"], found["executors"]) == ("queued", 1, 1, [])
    assert (
        found["summary"]
        == "It is number 1 of 1 in the queue of always_on.test. No executor has joined this horde."
    )
    assert found["rejected_at"].endswith("Z")


async def test_executors_serve_other_classes_only(user, executor):
    """Their classes are named."""
    assert await executor.claim(classes=[CPU]) is None
    found = await explained(user, await user.create())
    assert (found["executors"], found["other_classes"]) == ([], [CPU])
    assert f"there are executors of {CPU} only" in found["summary"]


async def test_every_executor_is_busy_or_away(served, user, executor):
    """Each with its slots, and the time when it was seen."""
    second = await served.executor("second")
    assert await second.claim() is None
    served.clock.boot_shift_us = served.clock.wall_shift_us = 100 * SECOND
    first = await user.create()
    hold = await (await executor.hold()).confirmed()
    assert hold.job == first
    found = await explained(user, await user.create())
    states = {e["hotkey"]: (e["state"], e["running"], e["slots"]) for e in found["executors"]}
    assert states == {
        executor.hotkey.ss58_address: ("busy", 1, 1),
        second.hotkey.ss58_address: ("away", 0, 1),
    }
    assert "busy with other jobs. Of 2 executors, 1 away." in found["summary"]
    away = next(e for e in found["executors"] if e["state"] == "away")
    assert away["why"] == "was not seen for 100 s"
    running = await explained(user, first)
    assert (running["state"], running["position"]) == ("running", None)
    assert f"attempt 1 runs on {executor.hotkey.ss58_address}" in running["summary"]


async def test_an_executor_that_lost_the_job_is_avoided(serving):
    """For a while, if there is another."""
    async with serving(**HASTY) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        await (await executor.hold()).confirmed()
        await user.wait_for(job, "Received")
        found = await explained(user, job)
        assert [(e["state"], e["running"]) for e in found["executors"]] == [("avoided", 0)]
        assert "lost it before" in found["summary"]


async def test_positions_are_the_order_in_which_jobs_are_taken(served, executor):
    """Over owners, namespaces and priorities."""
    user, other = await served.user(), await served.user("other")
    jobs = {}
    for index in range(6):
        uuid = await user.create(job_namespace=f"SN{index % 2 * index}", priority=index % 3)
        jobs[uuid] = user
    for index in range(3):
        jobs[await other.create(priority=-index)] = other
    places = {uuid: (await explained(owner, uuid))["position"] for uuid, owner in jobs.items()}
    taken = [(await executor.claim()).job for _ in jobs]
    assert taken == sorted(jobs, key=lambda uuid: places[uuid])
    assert sorted(places.values()) == list(range(1, 10))


async def test_an_ended_job_is_explained_by_its_outcome(user, executor, failure):
    """With the reason, and whose word it is."""
    failed, done = [await user.create() for _ in range(2)]
    hold = await (await executor.hold()).confirmed()
    assert (await hold.outcome(outcome=failure())).status_code == 204
    await (await executor.hold()).run()
    found = await explained(user, failed)
    assert (found["state"], found["outcome"]["reason"]) == ("ended", "nonzero_return_code")
    assert found["summary"] == "It failed (nonzero_return_code): because of nonzero_return_code"
    assert (await explained(user, done))["summary"] == "It completed: the container ended by itself."


async def test_nobody_elses_job_is_explained(served, user):
    """It is not found, like one that does not exist."""
    job = await user.create()
    other = await served.user("other")
    answers = [await other.get(f"/api/v1/jobs/{uuid}/explain/") for uuid in (job, "nonsense")]
    assert [(a.status_code, a.json()) for a in answers] == [(404, {"detail": "Not found."})] * 2
