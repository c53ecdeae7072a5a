"""A job and its copy on a trusted executor, compared, and what is reported of it; executors are played by hand."""

import asyncio
import dataclasses
import uuid

import pytest

from compute_horde_sdk.v1 import (
    ComputeHordeError,
    ComputeHordeJobTimeoutError,
    ComputeHordeNotFoundError,
    Difference,
    HTTPOutputVolume,
)
from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.wire.executor import StatusEvent

DONE = Succeeded(exit_code=0)
DIGEST = "user/image@sha256:" + 64 * "d"


async def play(executor, *, files=None, stdout=b"", image=DIGEST, outcome=DONE):
    """Run the next job, and tell what its executor was asked for."""
    attempt = await executor.take()
    await attempt.say(StatusEvent(status=Status.EXECUTOR_READY, at_ns=1, image_digest=image))
    attempt._reached.add(Status.EXECUTOR_READY)
    await attempt.write("stdout", stdout)
    for path, content in (files or {}).items():
        await attempt.keep(path, content)
    await attempt.end(outcome)
    return attempt.claim.spec


async def test_a_copy_on_a_trusted_executor_shows_that_a_result_was_forged(ours, executor, trusted, spec):
    """The copy runs the same image by digest; differences are told by path; the report takes the executor out."""
    wanted = spec(artifacts_dir="/out", args=["work"])
    running = asyncio.create_task(ours.run_verified(wanted, timeout=30))
    first = await play(executor, files={"/out/a": b"forged", "/out/same": b"x", "/out/mine": b""})
    copy = await play(trusted, files={"/out/a": b"true", "/out/same": b"x", "/out/theirs": b""})
    run = await running
    assert (first.docker_image, first.on_trusted_miner) == ("user/image:tag", False)
    assert (copy.docker_image, copy.on_trusted_miner, copy.args) == (DIGEST, True, ["work"])
    assert (run.equal, run.image_digest, run.is_independent) == (False, DIGEST, True)
    assert run.differences == (
        Difference("/out/a", "content"),
        Difference("/out/mine", "only_job"),
        Difference("/out/theirs", "only_trusted_job"),
    )
    assert run.job.result.artifacts["/out/a"] == b"forged"
    said = await ours.report_cheated_job(run.job.uuid, run.trusted_job.uuid, details={"seen": [1.5]})
    assert await ours.report_cheated_job(run.job.uuid, run.trusted_job.uuid, details={"seen": [1.5]}) == said
    report = await ours.cheat_report(run.job.uuid)
    assert report.model_dump_json() == said
    assert (report.state, report.executor_hotkey) == ("confirmed", executor.hotkey)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.equal = True


async def test_a_report_needs_no_trusted_job(ours, trusted, spec):
    """As clients before 0.0.17 make it. What is not there is not found, neither a job nor a report."""
    job = await ours.create_job(spec())
    await play(trusted)
    await job.wait(30)
    with pytest.raises(ComputeHordeNotFoundError):
        await ours.cheat_report(job.uuid)
    with pytest.raises(ComputeHordeNotFoundError, match="Trusted job not found"):
        await ours.report_cheated_job(job.uuid, str(uuid.uuid4()))
    said = await ours.report_cheated_job(job.uuid)
    report = await ours.cheat_report(job.uuid)
    assert (report.model_dump_json(), report.trusted_job_uuid) == (said, None)


async def test_the_same_results_are_equal(ours, trusted, spec):
    """Also by their output alone; whether two machines agree is told apart."""
    running = asyncio.create_task(ours.run_verified(spec()))
    for _ in range(2):
        await play(trusted, stdout=b"\xff\n")
    run = await running
    assert (run.equal, run.differences, run.is_independent) == (True, (), False)
    assert run.summary == "The two jobs left the same."


async def test_another_local_image_under_the_same_name_cannot_be_compared(ours, trusted, spec):
    """An image that no registry gave out is asked for by its name; that it was another one is noticed."""
    running = asyncio.create_task(ours.run_verified(spec()))
    await play(trusted, stdout=b"1", image="sha256:" + 64 * "1")
    copy = await play(trusted, stdout=b"1", image="sha256:" + 64 * "2")
    run = await running
    assert copy.docker_image == "user/image:tag"
    assert (run.equal, run.image_digest) == (None, None)
    assert "they ran different images, sha256:1" in run.summary


async def test_a_job_that_failed_is_not_run_again(ours, trusted, spec):
    """There is nothing to verify, and nothing more is spent."""
    running = asyncio.create_task(ours.run_verified(spec()))
    failure = Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="no", exit_code=3)
    await play(trusted, outcome=failure)
    run = await running
    assert (run.equal, run.trusted_job, run.is_independent) == (None, None, False)
    assert (run.job.error.exit_code, "did not complete" in run.summary) == (3, True)


async def test_the_timeout_is_for_both_jobs_together(ours, trusted, spec):
    """Jobs that have begun go on."""
    running = asyncio.create_task(ours.run_verified(spec(), timeout=2))
    await play(trusted, stdout=b"1")
    attempt = await trusted.take()
    with pytest.raises(ComputeHordeJobTimeoutError):
        await running
    await attempt.end(DONE)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"streaming": True}, "streaming"),
        (
            {"output_volumes": {"/output/x": HTTPOutputVolume(http_method="PUT", url="https://h/x")}},
            "output_volumes",
        ),
    ],
)
async def test_what_cannot_be_compared_is_refused_before_anything_is_sent(ours, proxy, spec, fields, name):
    """By the name of the field."""
    with pytest.raises(ValueError, match=name) as caught:
        await ours.run_verified(spec(**fields))
    assert isinstance(caught.value, ComputeHordeError)
    assert proxy.requests == []
