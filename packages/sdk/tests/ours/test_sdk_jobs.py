"""A job against our facilitator: the real one, over real sockets; only the executor is played by hand."""

import asyncio
import uuid

import pytest
from bittensor_wallet import Keypair

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeError,
    ComputeHordeJobTimeoutError,
    ComputeHordeNotFoundError,
)
from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.wire.executor import LeftOut, ProgressEvent


async def test_a_job_goes_from_the_specification_to_the_whole_result(ours, executor, proxy, spec):
    """Every byte of it, with names of files that need quoting, and what is known about the run."""
    job = await ours.create_job(spec(artifacts_dir="/out"))
    assert (str(job.status), job.result, job.attempts) == ("Received", None, 0)
    heard = []
    waiting = asyncio.create_task(job.wait(30, lambda _, entry: heard.append(str(entry.status))))

    attempt = await executor.take()
    await attempt.steps()
    await attempt.write("stdout", b"zaz\xf3\xc5\x82\n")
    files = {"/out/a b/ż#?%41.txt": b"\0" * 10, "/out/c": b"", "/out/d/e/f": b"deep"}
    for path, content in files.items():
        await attempt.keep(path, content)
    await attempt.end(Succeeded(exit_code=0), (LeftOut(path="/out/link", why="a symbolic link"),))
    await waiting

    steps = ["Sent", "Received", "Accepted", "Executor Ready", "Volumes Ready", "Execution Done", "Completed"]
    assert heard == [str(entry.status) for entry in job.status_history] == steps
    assert [entry.attempt for entry in job.status_history] == [0, 0, 1, 1, 1, 1, 1]
    assert (job.result.stdout, job.result.stderr, job.result.exit_code) == ("zaz\ufffdł\n", "", 0)
    assert job.result.artifacts == files
    assert [(item.path, item.why) for item in job.result.truncated] == [("/out/link", "a symbolic link")]
    assert (job.error, job.attempts, job.executor_hotkey) == (None, 1, executor.hotkey)
    assert (job.image_digest, job.stage_seconds["execution"]) == (executor.image, 1.5)
    assert (await ours.get_job(job.uuid)).result == job.result
    assert proxy.count("POST /api/v1/events/") == 1


async def test_the_usual_job_costs_two_requests(ours, executor, proxy, spec):
    """One to create it, and one stream of events, of which the last brings the output along."""
    await ours.authenticate()
    before = len(proxy.requests)
    job = await ours.create_job(spec())
    waiting = asyncio.create_task(job.wait(30))
    await executor.run(Succeeded(exit_code=0), b"hi\n")
    await waiting
    assert job.result.stdout == "hi\n"
    assert proxy.requests[before:] == [
        "POST /api/v1/job-docker/",
        "POST /api/v1/events/",
    ]


async def test_a_long_output_is_fetched_by_itself(ours, executor, proxy, spec):
    """What does not fit into the last event is asked for, whole."""
    job = await ours.create_job(spec())
    waiting = asyncio.create_task(job.wait(30))
    await executor.run(Succeeded(exit_code=0), b"x" * 100_000)
    await waiting
    assert job.result.stdout == "x" * 100_000
    assert job.result.truncated == []
    assert proxy.count(f"GET /api/v1/jobs/{job.uuid}/") == 1


async def test_a_failure_is_told_with_stage_reason_fault_and_exit_code(ours, executor, spec):
    """And what the container wrote is there."""
    job = await ours.create_job(spec())
    why = {"reason": Reason.NONZERO_RETURN_CODE, "message": "ended with 3", "exit_code": 3, "context": {"a": 1}}
    await executor.run(Failed(stage=Stage.EXECUTION, **why), b"partial")
    await job.wait(timeout=10)
    error = job.error
    assert (error.stage, error.reason, error.message) == ("execution", "nonzero_return_code", "ended with 3")
    assert (error.fault, error.exit_code, error.context) == ("job", 3, {"a": 1})
    assert (job.result.stdout, job.result.exit_code) == ("partial", 3)
    assert (await ours.get_job(job.uuid)).error == error


async def test_the_execution_limit_is_no_failure(ours, executor, spec):
    """It shows in the result and in the history."""
    job = await ours.create_job(spec())
    await executor.run(Succeeded(exit_code=143, stopped_at_limit=True))
    await job.wait(timeout=10)
    assert job.status.is_successful()
    assert (job.result.exit_code, job.result.stopped_at_limit) == (143, True)


async def test_an_attempt_that_is_handed_back_is_followed_by_another(ours, executor, spec):
    """The wait goes on; history, attempts and lines tell of both."""
    job = await ours.create_job(spec())
    waiting = asyncio.create_task(job.wait(30))
    first = await executor.take()
    await first.steps(Status.EXECUTOR_READY)
    await first.give_back()
    await executor.run(Succeeded(exit_code=0), b"again\n")
    await waiting
    statuses = [(str(entry.status), entry.attempt) for entry in job.status_history]
    assert statuses[2:6] == [("Accepted", 1), ("Executor Ready", 1), ("Received", 1), ("Accepted", 2)]
    assert job.attempts == 2
    assert [(line.text, line.attempt) async for line in job.logs()] == [("again", 2)]


async def test_progress_is_seen_while_one_waits(ours, executor, spec, until):
    """The latest is kept until the job moves on."""
    job = await ours.create_job(spec())
    waiting = asyncio.create_task(job.wait(30))
    attempt = await executor.take()
    await attempt.say(ProgressEvent(stage=Stage.PREPARE, message="pulling", done=1, total=4))
    await until(lambda: job.progress and job.progress.message == "pulling")
    assert (job.progress.stage, job.progress.done, job.progress.total) == ("prepare", 1, 4)
    await attempt.end(Succeeded(exit_code=0))
    await waiting
    assert job.progress is None


async def test_cancelling_a_queued_job_ends_it_at_once(ours, spec):
    """With a result that is empty, and again without an effect."""
    job = await ours.create_job(spec())
    await job.cancel()
    assert (str(job.status), job.error.reason, job.error.fault) == ("Failed", "cancelled", "job")
    assert (job.result.stdout, job.result.artifacts, job.result.exit_code) == ("", {}, None)
    await job.cancel()
    await job.wait(timeout=0)


async def test_a_running_job_is_stopped_by_its_executor(ours, executor, spec):
    """Until it has, the job is not over."""
    job = await ours.create_job(spec())
    attempt = await executor.take()
    await job.cancel()
    with pytest.raises(ComputeHordeJobTimeoutError):
        await job.wait(timeout=0.05)
    await attempt.end(Failed(stage=Stage.EXECUTION, reason=Reason.CANCELLED, message="cancelled"))
    await job.wait(timeout=10)
    assert job.error.reason == "cancelled"


async def test_other_peoples_jobs_do_not_exist(ours, url, spec):
    """Nor can somebody who was not let in do anything."""
    job = await ours.create_job(spec())
    stranger = Keypair.create_from_uri("//Stranger")
    async with ComputeHordeClient(stranger, "v", facilitator_url=url) as client:
        with pytest.raises(ComputeHordeError, match="login"):
            await client.get_job(job.uuid)
    with pytest.raises(ComputeHordeNotFoundError):
        await ours.get_job(str(uuid.uuid4()))
    await job.cancel()


async def test_what_the_facilitator_refuses_is_named_as_the_sdk_names_it(ours, spec):
    """A class that nobody defined is no class."""
    with pytest.raises(ComputeHordeError, match="executor_class"):
        await ours.create_job(spec(executor_class="no.such.class"))
