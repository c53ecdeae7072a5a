"""More jobs than machines: they wait their turn, none is declined."""

import asyncio

import pytest

pytestmark = pytest.mark.usefixtures("clean_machine")


async def test_ten_jobs_on_one_slot_run_in_the_order_of_their_creation(client, job_spec):
    """One after the other, each with its own result."""
    jobs = [await client.create_job(job_spec(f"echo {n}")) for n in range(10)]
    await asyncio.gather(*(job.wait(timeout=60) for job in jobs))
    assert [job.result.stdout for job in jobs] == [f"{n}\n" for n in range(10)]
    starts = [next(e.created_at for e in job.status_history if e.status == "Accepted") for job in jobs]
    ends = [job.status_history[-1].created_at for job in jobs]
    assert starts == sorted(starts)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False)), "one at a time"


async def test_a_queued_job_can_be_cancelled_before_anything_runs(client, job_spec):
    """It ends at once, and its turn passes to the next."""
    first = await client.create_job(job_spec("sleep 60"))
    queued = await client.create_job(job_spec("echo never"))
    await queued.cancel()
    await queued.wait(timeout=5)
    assert (queued.error.reason, queued.result.stdout) == ("cancelled", "")
    await first.cancel()
    await first.wait(timeout=30)


async def test_two_hundred_waits_share_one_client(client, job_spec):
    """Waiting is cheap: every wait of a client hears through one connection."""
    job = await client.create_job(job_spec("sleep 1"))
    same = [await client.get_job(job.uuid) for _ in range(200)]
    await asyncio.gather(*(copy.wait(timeout=30) for copy in same))
    assert {copy.status for copy in same} == {"Completed"}
