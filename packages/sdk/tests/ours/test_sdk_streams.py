"""Waiting and lines over streams that many share, and that break."""

import asyncio
from contextlib import aclosing

from compute_horde_sdk.v1 import (
    ComputeHordeJobStatus,
)
from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Reason, Stage, Succeeded


async def test_a_thousand_waits_share_one_stream(ours, proxy, spec):
    """However many come up while it is being opened; the end of each job wakes those who wait for it."""
    jobs = await asyncio.gather(*(ours.create_job(spec()) for _ in range(20)))
    waits = [asyncio.create_task(job.wait(60)) for job in jobs for _ in range(50)]
    await asyncio.gather(*(job.cancel() for job in jobs))
    await asyncio.gather(*waits)
    assert {job.error.reason for job in jobs} == {"cancelled"}
    assert proxy.count("POST /api/v1/events/") == 1


async def test_a_job_that_is_watched_later_joins_the_others(ours, executor, spec, until):
    """Nobody misses anything while the stream is changed."""
    first, second = await ours.create_job(spec()), await ours.create_job(spec())
    waiting_for_first = asyncio.create_task(first.wait(30))
    attempt = await executor.take()
    await until(lambda: first.status is ComputeHordeJobStatus.ACCEPTED)
    waiting_for_second = asyncio.create_task(second.wait(30))
    await attempt.end(Succeeded(exit_code=0))
    await waiting_for_first
    await executor.run(Succeeded(exit_code=0))
    await waiting_for_second
    assert first.status.is_successful()
    assert second.status.is_successful()


async def test_waiting_goes_on_after_a_broken_connection(ours, executor, proxy, spec, until):
    """And after the token was refused: each job goes on from the entry that was last heard of."""
    job = await ours.create_job(spec())
    heard = []
    waiting = asyncio.create_task(job.wait(30, lambda _, entry: heard.append(str(entry.status))))
    attempt = await executor.take()
    await until(lambda: "Accepted" in heard)
    ours._transport._token = "stale"
    assert proxy.cut()
    await attempt.steps()
    await attempt.end(Succeeded(exit_code=0))
    await waiting
    assert heard == [
        "Sent",
        "Received",
        "Accepted",
        "Executor Ready",
        "Volumes Ready",
        "Execution Done",
        "Completed",
    ]
    assert proxy.count("POST /auth/login") == 2


async def test_lines_are_seen_while_they_are_written(ours, executor, proxy, spec):
    """Each line once, also when the connection breaks between the halves of one."""
    job = await ours.create_job(spec())
    attempt = await executor.take()
    await attempt.steps(Status.EXECUTOR_READY, Status.VOLUMES_READY)
    found = []
    async with aclosing(job.logs()) as lines:
        await attempt.write("stdout", b"first\nsec")
        found.append(await anext(lines))
        assert proxy.cut()
        await attempt.write("stdout", b"ond\n")
        found.append(await anext(lines))
        await attempt.write("stderr", b"why")
        await attempt.end(
            Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="m", exit_code=3)
        )
        found += [line async for line in lines]
    assert [(line.stream, line.text) for line in found] == [
        ("stdout", "first"), ("stdout", "second"), ("stderr", "why")
    ]  # fmt: skip
    await job.wait(timeout=10)
    assert [line.text async for line in job.logs(follow=False)] == ["first", "second", "why"]
    assert b"".join([piece.data async for piece in job.output()]) == b"first\nsecond\nwhy"


async def test_leaving_the_lines_early_leaves_nothing_behind(ours, executor, spec):
    """A `break` is enough; the client can be used and closed as ever."""
    job = await ours.create_job(spec())
    attempt = await executor.take()
    await attempt.steps(Status.EXECUTOR_READY, Status.VOLUMES_READY)
    await attempt.write("stdout", b"first\nsecond\n")
    async for line in job.logs():
        assert line.text == "first"
        break
    await attempt.end(Succeeded(exit_code=0))
    await job.wait(timeout=10)


async def test_a_creation_without_an_answer_is_repeated_and_makes_one_job(ours, proxy, spec):
    """The facilitator knows the signature again."""
    await (await ours.create_job(spec())).cancel()
    before = {job.uuid async for job in ours.iter_jobs()}
    proxy.swallow = "POST /api/v1/job-docker/"
    job = await ours.create_job(spec())
    assert proxy.swallow is None
    assert {job.uuid async for job in ours.iter_jobs()} - before == {job.uuid}
    await job.cancel()
