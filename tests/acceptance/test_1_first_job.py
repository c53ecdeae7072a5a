"""A first job: create it, wait for it, look at what it left.

These files read in order as a tutorial; every promise in them is kept by real containers.
"""

import pytest

from compute_horde_sdk.v1 import ComputeHordeJobStatus, ComputeHordeJobTimeoutError, ComputeHordeNotFoundError

pytestmark = pytest.mark.usefixtures("clean_machine")


async def test_a_job_goes_from_python_to_its_result(client, job_spec):
    """You describe a container, hand it in and wait."""
    job = await client.create_job(job_spec("echo hi; echo oops >&2"))
    assert job.status is ComputeHordeJobStatus.RECEIVED
    assert job.result is None

    await job.wait(timeout=30)

    assert job.status is ComputeHordeJobStatus.COMPLETED
    assert job.status.is_successful()
    assert (job.result.stdout, job.result.stderr, job.result.exit_code) == ("hi\n", "oops\n", 0)
    assert job.error is None


async def test_a_job_passes_through_every_status_in_order(client, job_spec):
    """The history tells where the job has been, and a callback hears of it while you wait."""
    heard = []
    job = await client.create_job(job_spec())
    await job.wait(timeout=30, status_callback=lambda _, entry: heard.append(entry.status))
    expected = ["Sent", "Received", "Accepted", "Executor Ready", "Volumes Ready", "Execution Done", "Completed"]
    assert [str(entry.status) for entry in job.status_history] == expected
    assert [str(status) for status in heard] == expected


async def test_logs_are_seen_while_the_job_runs(client, job_spec):
    """`job.logs()` yields lines as they are written; here the job ends only after we saw its first line."""
    job = await client.create_job(job_spec("echo first; sleep 60"))
    async for line in job.logs():
        assert (line.stream, line.text) == ("stdout", "first")
        await job.cancel()
        break
    await job.wait(timeout=30)
    assert job.error.reason == "cancelled"
    assert job.result.stdout == "first\n"


async def test_jobs_can_be_found_again(client, job_spec):
    """A job lives in the horde, not in your process."""
    created = [await client.create_job(job_spec(f"echo {n}")) for n in range(3)]
    for job in created:
        await job.wait(timeout=30)
    found = await client.get_job(created[0].uuid)
    assert found.result.stdout == "0\n"
    newest_first = [job.uuid for job in await client.get_jobs(page=1, page_size=3)]
    assert newest_first == [job.uuid for job in reversed(created)]
    assert {job.uuid async for job in client.iter_jobs()} >= set(newest_first)
    with pytest.raises(ComputeHordeNotFoundError):
        await client.get_job("7d1f2f58-93a5-4e0e-a3ab-1f3c0b8d4e11")


async def test_waiting_can_have_a_limit(client, job_spec):
    """A timeout ends the waiting, not the job."""
    job = await client.create_job(job_spec("sleep 60"))
    with pytest.raises(ComputeHordeJobTimeoutError):
        await job.wait(timeout=0.2)
    await job.cancel()
    await job.wait(timeout=30)


async def test_run_until_complete_tries_again_with_a_new_job(client, job_spec):
    """A failing job is made anew, three times unless you say otherwise; you get the last one."""
    attempts = []
    job = await client.run_until_complete(
        job_spec("exit 3"), job_attempt_callback=attempts.append, max_attempts=2, timeout=60
    )
    assert len({attempt.uuid for attempt in attempts}) == 2
    assert job.uuid == attempts[-1].uuid
    assert job.status.is_failed()


def test_the_same_without_await(horde, job_spec):
    """Scripts that are not asynchronous use the blocking surface, which is otherwise the same."""
    from compute_horde_sdk.v1.blocking import ComputeHordeClient

    with ComputeHordeClient.from_config(horde.config) as client:
        job = client.create_job(job_spec("echo blocking"))
        job.wait(timeout=30)
        assert job.result.stdout == "blocking\n"
        assert [line.text for line in job.logs()] == ["blocking"]
