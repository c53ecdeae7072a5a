"""Server-sent events: nothing is missed, nothing is said twice, and streams end with the facilitator."""

import asyncio
import base64
import time

import pytest


async def entries_until(events, status: str) -> list[str]:
    """The statuses that a stream tells, up to and with one."""
    told = []
    async for event in events:
        told += [entry["status"] for entry in event["entries"]]
        if status in told:
            return told
    raise AssertionError(f"the stream ended before {status}: {told}")


async def test_a_stream_tells_the_past_then_the_present(user, executor):
    """First what is newer than the cursor, then each step as it happens."""
    job = await user.create()
    async with user.watch({job: 1}) as events:
        first = await anext(events)
        assert (first["job"], first["cursor"]) == (job, 1)
        assert [entry["status"] for entry in first["entries"]] == ["received"]
        run = asyncio.create_task((await executor.hold()).run())
        told = await entries_until(events, "completed")
        assert told == ["accepted", "executor_ready", "volumes_ready", "execution_done", "completed"]
        await run


async def test_a_resumed_stream_repeats_nothing(user, executor):
    """The cursor of the last event and its entries make the next cursor."""
    job = await user.create()
    async with user.watch({job: 0}) as events:
        event = await anext(events)
    cursor = event["cursor"] + len(event["entries"])
    await (await executor.hold()).run()
    async with user.watch({job: cursor}) as events:
        event = await anext(events)
        assert event["cursor"] == cursor == 2
        assert event["entries"][0]["status"] == "accepted"
        assert event["entries"][-1]["status"] == "completed"


async def test_the_last_event_brings_a_short_result_along(user, executor):
    """The end of a job without artifacts needs no further request; with artifacts the job is asked for."""
    for artifacts in ({}, {"/artifacts/x": b"x"}):
        job = await user.create()
        await (await executor.hold()).run(b"out\n", artifacts)
        async with user.watch({job: 0}) as events:
            event = await anext(events)
        if artifacts:
            assert event["ended"] is None
        else:
            assert event["ended"] == await user.job(job)
            assert event["ended"]["stdout"] == "out\n"


async def test_a_thousand_jobs_on_one_stream(user, executor):
    """One stream watches a thousand jobs, and tells the end of the one that ends."""
    job = await user.create()
    unknown = {f"no-{number}": 0 for number in range(999)}
    async with user.watch({**unknown, job: 2}) as events:
        missing = [await anext(events) for _ in unknown]
        assert all(event["missing"] for event in missing)
        run = asyncio.create_task((await executor.hold()).run())
        assert (await entries_until(events, "completed"))[-1] == "completed"
        await run


async def test_progress_is_told_without_entries(user, executor):
    """Pull progress reaches the stream although no status changes."""
    job = await user.create()
    hold = await (await executor.hold()).confirmed()
    async with user.watch({job: 3}) as events:
        await hold.progress(0, 42)
        event = await anext(events)
        assert (event["entries"], event["progress"]["done"]) == ([], 42)


async def test_two_hundred_streams_hear_of_the_end_promptly(user, executor, served):
    """Every stream that watches a job hears of its end, soon after the outcome was committed."""
    job = await user.create()
    hold = await (await executor.hold()).confirmed()
    started = asyncio.Semaphore(0)
    heard: list[float] = []

    async def listen() -> None:
        async with user.watch({job: 0}) as events:
            await anext(events)
            started.release()
            await entries_until(events, "failed")
            heard.append(time.monotonic())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(200):
            tasks.create_task(listen())
        for _ in range(200):
            await started.acquire()
        outcome = {"kind": "failed", "stage": "prepare", "reason": "image_not_found", "message": "no"}
        assert (await hold.outcome(outcome=outcome)).status_code == 204
        ended = time.monotonic()
    assert len(heard) == 200
    assert max(heard) - ended < 5


async def test_a_log_is_followed_from_its_offset_to_its_end(user, executor):
    """Bytes arrive while the job writes them, from the offset asked for; the last chunk says so."""
    job = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.events(0, "executor_ready", "volumes_ready")
    await hold.log("stdout", 0, b"0123456789")
    path = f"/api/v1/jobs/{job}/logs/"
    async with user.stream("GET", path, params={"follow": 1, "stdout": 7, "attempt": 1}) as chunks:
        first = await anext(chunks)
        assert (first["stream"], first["offset"], first["attempt"]) == ("stdout", 7, 1)
        assert base64.b64decode(first["data"]) == b"789"
        await hold.log("stderr", 0, b"err")
        assert base64.b64decode((await anext(chunks))["data"]) == b"err"
        await hold.log("stdout", 10, b"more")
        more = await anext(chunks)
        assert (more["offset"], base64.b64decode(more["data"])) == (10, b"more")
        await hold.outcome(first_seq=2, outcome={**failed_value()}, logs={"stdout": {"size": 14}})
        last = await anext(chunks)
        assert (last["end"], last["data"]) == (True, "")
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
    async with user.stream("GET", path) as chunks:
        whole = [chunk async for chunk in chunks]
    assert [chunk["end"] for chunk in whole] == [False, False, True]


def failed_value() -> dict:
    return {"kind": "failed", "stage": "execution", "reason": "nonzero_return_code", "message": "1"}


async def test_a_followed_log_begins_anew_with_another_attempt(user, executor):
    """Offsets belong to an attempt: once another one has a container its log is told from 0."""
    job = await user.create()
    first = await (await executor.hold()).confirmed()
    await first.events(0, "executor_ready")
    await first.log("stdout", 0, b"first attempt")
    async with user.stream("GET", f"/api/v1/jobs/{job}/logs/", params={"follow": 1}) as chunks:
        chunk = await anext(chunks)
        assert (chunk["attempt"], base64.b64decode(chunk["data"])) == (1, b"first attempt")
        await first.give_back()
        second = await (await executor.hold()).confirmed()
        await second.events(0, "executor_ready")
        await second.log("stdout", 0, b"second")
        chunk = await anext(chunks)
        assert (chunk["attempt"], chunk["offset"], base64.b64decode(chunk["data"])) == (2, 0, b"second")


async def test_streams_and_long_polls_end_at_once_with_the_facilitator(serving):
    """A stop in order answers claims and leases and closes streams, instead of waiting for them."""
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        hold = await (await executor.hold()).confirmed()
        started = asyncio.Semaphore(0)

        async def watch() -> None:
            async with user.watch({job: 0}) as events:
                async for _ in events:
                    started.release()

        async def follow() -> None:
            async with user.stream("GET", f"/api/v1/jobs/{job}/logs/", params={"follow": 1}) as chunks:
                started.release()
                assert [chunk async for chunk in chunks] == []

        waiting = [asyncio.create_task(watch()), asyncio.create_task(follow())]
        for _ in waiting:
            await started.acquire()
        polls = [asyncio.create_task(hold.lease(wait_s=20)), asyncio.create_task(executor.claim(wait_s=20))]
        assert not (await asyncio.wait(polls, timeout=0.5))[0]
        began = time.monotonic()
        stopping = asyncio.create_task(served.stop())
        assert (await polls[0]).json()["state"] == "held"
        assert await polls[1] is None
        await asyncio.gather(*waiting)
        await stopping
        assert time.monotonic() - began < 4
