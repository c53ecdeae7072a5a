"""Asking our facilitator: many jobs in bounded flight, keys, searches, explanations."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from compute_horde_sdk.v1 import ComputeHordeError, blocking
from horde_core.outcomes import Succeeded

DONE = Succeeded(exit_code=0)


async def ran(executor, count: int) -> None:
    for _ in range(count):
        await executor.run(DONE)


async def statuses(client, namespace: str) -> list[str]:
    return [str(job.status) async for job in client.iter_jobs(namespace=namespace)][::-1]


async def test_map_yields_every_job_in_the_order_of_the_specifications(ours, executor, spec):
    """Specifications are taken as there is room, so that no more than so many jobs are ever in flight."""
    taken: list[int] = []

    def specs():
        for number in range(7):
            taken.append(number)
            yield spec(job_namespace="map-ordered", args=[str(number)])

    working = asyncio.create_task(ran(executor, 7))
    found = []
    async with aclosing(ours.map(specs(), max_in_flight=3)) as jobs:
        async for job in jobs:
            found.append(job.args)
            assert job.status.is_successful()
            assert len(taken) - len(found) < 3
    await working
    assert found == [[str(number)] for number in range(7)]


async def test_map_yields_jobs_as_they_end_if_the_order_does_not_matter(ours, executor, spec):
    """The first one is still running when the second has ended."""
    specs = [spec(job_namespace="map-any", args=[str(number)]) for number in range(2)]
    async with aclosing(ours.map(specs, ordered=False)) as jobs:
        asking = asyncio.ensure_future(anext(jobs))
        held = [await executor.take(), await executor.take()]
        await held[1].end(DONE)
        first = await asking
        assert first.uuid == held[1].claim.job
        await held[0].end(DONE)
        assert [job.uuid async for job in jobs] == [held[0].claim.job]


async def test_leaving_a_map_cancels_what_is_in_flight(ours, executor, spec):
    """What has ended stays as it is, and nothing further is handed in."""
    specs = (spec(job_namespace="map-left") for _ in range(100))
    working = asyncio.create_task(ran(executor, 1))
    async with aclosing(ours.map(specs, max_in_flight=4)) as jobs:
        async for job in jobs:
            assert job.status.is_successful()
            break
    await working
    assert await statuses(ours, "map-left") == ["Completed", "Failed", "Failed", "Failed"]


async def test_cancelling_whoever_maps_cancels_the_jobs(ours, spec):
    """Also those whose creation was on its way."""

    async def use() -> None:
        async with aclosing(ours.map([spec(job_namespace="map-cut")] * 5)) as jobs:
            async for _ in jobs:
                pass

    task = asyncio.create_task(use())
    for _ in range(3):
        await asyncio.sleep(0)  # a few steps: the requests are being made
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(await statuses(ours, "map-cut")) <= {"Failed"}


async def test_a_wrong_specification_ends_the_map_and_cancels_the_others(ours, spec):
    """It is raised where its job would have come."""
    specs = [spec(job_namespace="map-wrong"), spec(job_namespace="map-wrong", docker_image="")]
    with pytest.raises(ValueError, match="docker_image"):
        async with aclosing(ours.map(specs, ordered=False)) as jobs:
            await anext(jobs)
    assert await statuses(ours, "map-wrong") == ["Failed"]
    with pytest.raises(ValueError, match="max_in_flight"):
        await anext(ours.map(specs, max_in_flight=0))


def test_the_blocking_map(url, hotkey, spec, by_hand):
    """The same without await; leaving it cancels, too."""
    with blocking.ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=url) as client:
        specs = (spec(job_namespace="map-blocking", args=[str(number)]) for number in range(5))
        with by_hand(DONE, DONE, DONE):
            jobs = client.map(specs, max_in_flight=2)
            assert [next(jobs).args for _ in range(3)] == [["0"], ["1"], ["2"]]
        jobs.close()
        ends = [str(job.status) for job in client.iter_jobs(namespace="map-blocking")]
        assert ends == ["Failed", "Completed", "Completed", "Completed"]


async def test_a_key_makes_one_job_and_no_other(ours, spec):
    """From another call, and with another body."""
    job = await ours.create_job(spec(), idempotency_key="nightly-1")
    assert (await ours.create_job(spec(), idempotency_key="nightly-1")).uuid == job.uuid
    with pytest.raises(ComputeHordeError, match="nightly-1"):
        await ours.create_job(spec(args=["other"]), idempotency_key="nightly-1")
    await job.cancel()


async def test_jobs_are_searched_by_the_facilitator(ours, spec):
    """By everything at once, in pages and all of them."""
    jobs = [await ours.create_job(spec(job_namespace="search", docker_image="a/b:1")) for _ in range(3)]
    await jobs[0].cancel()
    soon = datetime.now(UTC) + timedelta(hours=1)
    wanted = {"namespace": "search", "image": "a/b", "created_before": soon}
    assert [job.uuid for job in await ours.get_jobs(page_size=1, status="received", **wanted)] == [jobs[2].uuid]
    found = [job.uuid async for job in ours.iter_jobs(status=["Failed", "Completed"], **wanted)]
    assert found == [jobs[0].uuid]
    assert await ours.get_jobs(namespace="search", created_after=soon) == []
    with pytest.raises(ValueError, match="'lost' is no status"):
        await ours.get_jobs(status="lost")
    for job in jobs[1:]:
        await job.cancel()


async def test_priority_queue_limit_and_explanation(ours, executor, spec):
    """What the specification says of the queue is heard, and the queue says where the job is."""
    low = await ours.create_job(spec(priority=-1))
    high = await ours.create_job(spec(priority=1, queue_time_limit_sec=600))
    said = [await job.explain() for job in (low, high)]
    assert [(e.state, e.position, e.queued) for e in said] == [("queued", 2, 2), ("queued", 1, 2)]
    assert timedelta(seconds=590) < said[1].rejected_at - high.created_at <= timedelta(seconds=600)
    attempt = await executor.take()
    assert attempt.claim.job == high.uuid
    assert (await high.explain()).state == "running"
    await attempt.end(DONE)
    await low.cancel()
    assert "cancelled" in (await low.explain()).summary
    with pytest.raises(ValueError, match="priority"):
        await ours.create_job(spec(priority=11))
    with pytest.raises(ComputeHordeError, match="queue_time_limit_sec: jobs may wait for 86400 s"):
        await ours.create_job(spec(queue_time_limit_sec=10**6))
