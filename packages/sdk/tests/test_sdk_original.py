"""The SDK against the original facilitator: no events, no raw output, everything inside the job's JSON."""

import asyncio
import json
import time
from base64 import b64encode
from datetime import timedelta

import pytest

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeError,
    ComputeHordeJobStatus,
    ComputeHordeJobTimeoutError,
    ComputeHordeNotFoundError,
    HttpOutputVolumeResponse,
)

CREATE, JOBS = "/api/v1/job-docker/", "/api/v1/jobs/"


async def test_a_job_is_polled_to_its_end_when_there_are_no_events(client, original, spec):
    """The refusal of the events is remembered; output comes out of the JSON."""
    for _ in range(2):
        job = await client.create_job(spec(artifacts_dir="/out"))
        assert (job.status, job.result, job.attempts) == (ComputeHordeJobStatus.RECEIVED, None, 0)
        waiting = asyncio.create_task(job.wait(timeout=10))
        await asyncio.sleep(0)
        answer = json.dumps({"headers": {"etag": "1"}, "body": "ok"})
        original.complete(
            job.uuid,
            stdout="hi\n",
            stderr="why\n",
            artifacts={"/out/a": b64encode(b"\0binary").decode(), "/out/b": "no base64"},
            upload_results={"x/y": answer, "z": "no JSON"},
        )
        await waiting
        assert job.status.is_successful()
        assert (job.result.stdout, job.result.stderr, job.result.exit_code) == ("hi\n", "why\n", 0)
        assert job.result.artifacts == {"/out/a": b"\0binary"}
        assert job.result.upload_results == {
            "/output/x/y": HttpOutputVolumeResponse(headers={"etag": "1"}, body="ok")
        }
        assert sorted(item.path for item in job.result.truncated) == ["/out/b", "/output/z"]
        assert (job.error, job.attempts, job.executor_hotkey) == (None, 1, None)
        assert [(line.stream, line.text) async for line in job.logs()] == [("stdout", "hi"), ("stderr", "why")]
    assert original.counts["/api/v1/events/"] == 1


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (
            ("failed", {"job_failure_details": {"reason": "nonzero_return_code", "message": "m",
                                                "stage": "execution", "docker_process_exit_status": 3}}),
            ("Failed", "nonzero_return_code", "execution", "job", 3),
        ),
        (
            ("failed", {"job_failure_details": {"reason": "timeout", "message": "m", "stage": "volume_download"}}),
            ("Failed", "timeout", "download", "job", None),
        ),
        (
            ("horde_failed", {"horde_failure_details": {"reason": "executor_disconnected", "message": "m",
                                                        "reported_by": "miner"}}),
            ("Failed", "executor_disconnected", None, "horde", None),
        ),
        (
            ("rejected", {"job_rejection_details": {"reason": "busy", "message": "m", "context": {"a": 1}}}),
            ("Rejected", "busy", "queue", None, None),
        ),
        (("horde_failed", None), ("Failed", "unknown", None, "horde", None)),
    ],
)  # fmt: skip
async def test_every_bad_end_says_why_where_and_whose_fault(client, original, spec, end, expected):
    """Also in the history, and for a job that is only looked up."""
    status, metadata = end
    job = await client.create_job(spec())
    original.advance(job.uuid, status, metadata=metadata)
    await job.wait(timeout=10)
    found = await client.get_job(job.uuid)
    for each in (job, found):
        error = each.error
        assert (str(each.status), error.reason, error.stage, error.fault, error.exit_code) == expected
        assert each.result is not None
    details = job.status_history[-1].metadata
    assert metadata is None or error in (
        details.job_failure_details, details.horde_failure_details, details.job_rejection_details
    )  # fmt: skip


async def test_a_reason_that_is_newer_than_the_client_is_told_all_the_same(client, original, spec):
    """The outcome cannot be read, the history can."""
    job = await client.create_job(spec())
    outcome = {"kind": "failed", "stage": "execution", "reason": "too_hot", "message": "m"}
    original.advance(
        job.uuid,
        "horde_failed",
        metadata={"horde_failure_details": {"reason": "too_hot", "message": "cool it", "reported_by": "executor"}},
        horde={"attempt": 2, "outcome": outcome},
    )
    found = (await client.get_jobs())[0]
    assert (found.error.reason, found.error.message, found.error.fault) == ("too_hot", "cool it", "horde")
    assert found.attempts == 2


async def test_waiting_can_have_a_limit(client, original, spec):
    """Zero is answered at once and asks nothing; the error is a TimeoutError; a job that has ended raises none."""
    job = await client.create_job(spec())
    asked = len(original.requests)
    with pytest.raises(TimeoutError) as raised:
        await job.wait(timeout=0)
    assert isinstance(raised.value, ComputeHordeJobTimeoutError)
    assert len(original.requests) == asked
    with pytest.raises(ComputeHordeJobTimeoutError, match=job.uuid):
        await job.wait(timeout=0.05)
    original.complete(job.uuid)
    await job.wait()
    await job.wait(timeout=0)


async def test_callbacks_hear_of_every_entry_once(client, original, spec):
    """Of the known ones first; asynchronous callbacks are awaited; each wait hears everything."""
    job = await client.create_job(spec())
    heard, also = [], []

    async def hear(which, entry):
        await asyncio.sleep(0)
        assert which is job
        heard.append(str(entry.status))
        if entry.status is ComputeHordeJobStatus.RECEIVED:
            original.advance(job.uuid, "accepted")
        if entry.status is ComputeHordeJobStatus.ACCEPTED:
            original.advance(job.uuid, "executor_ready", "failed")

    await asyncio.gather(job.wait(10, hear), job.wait(10, lambda _, entry: also.append(str(entry.status))))
    assert heard == also == ["Sent", "Received", "Accepted", "Executor Ready", "Failed"]


async def test_many_calls_log_in_once_and_again_when_the_token_expired(client, original, spec):
    """Whoever comes first logs in, the others wait for that; the refused requests are repeated."""
    await asyncio.gather(*(client.create_job(spec()) for _ in range(30)))
    assert original.counts["/auth/login"] == 1
    original.token = "second-token"
    await asyncio.gather(*(client.create_job(spec()) for _ in range(30)))
    assert original.counts["/auth/login"] == 2
    assert len(original.jobs) == 60


async def test_other_refusals_of_a_token_are_final(client, original):
    """Only an expired token is worth another login."""
    original.answer_next(JOBS, 401, {"detail": "Unauthorized hotkey."})
    with pytest.raises(ComputeHordeError, match=r"Unauthorized hotkey\."):
        await client.get_jobs()
    assert original.counts["/auth/login"] == 1


async def test_a_refused_login_says_why(client, original):
    """The facilitator's own words are in the error."""
    original.answer_next("/auth/login", 400, {"error": "Hotkey not allowed"})
    with pytest.raises(ComputeHordeError, match=r"login.*400.*Hotkey not allowed"):
        await client.authenticate()


async def test_passing_errors_are_repeated_with_the_same_signature(client, original, spec):
    """503 and 429 pass; the pause that the facilitator asks for is kept."""
    original.answer_next(CREATE, 503, **{"Retry-After": "0"})
    original.answer_next(CREATE, 429, **{"Retry-After": "1"})
    original.answer_next("/auth/nonce", 500, **{"Retry-After": "0"})
    before = time.monotonic()
    await client.create_job(spec())
    assert time.monotonic() - before >= 1
    creations = [request for request in original.requests if request.path == CREATE]
    assert len(creations) == 3
    assert len({(r.headers["x-ch-signature"], r.body) for r in creations}) == 1


async def test_repeats_come_to_an_end(client, original):
    """Five attempts, then the error."""
    original.answer_next(JOBS, 502, "bad gateway", times=9, **{"Retry-After": "0"})
    with pytest.raises(ComputeHordeError, match=r"502.*bad gateway"):
        await client.get_jobs()
    assert original.counts[JOBS] == 5


async def test_a_wrong_value_is_not_repeated_and_named_as_the_sdk_names_it(client, original, spec):
    """The wire's field names are not the user's."""
    original.answer_next(CREATE, 400, {"download_time_limit": ["too long"], "volumes": ["0: not served here"]})
    with pytest.raises(ComputeHordeError, match="download_time_limit_sec: too long; input_volumes: 0: not served"):
        await client.create_job(spec())
    assert original.counts[CREATE] == 1


async def test_a_dropped_connection_is_repeated_unless_that_could_make_a_second_job(client, original, spec):
    """The original facilitator does not know a repeated creation from a new one."""
    job = await client.create_job(spec())
    original.drop_next(JOBS)
    await client.get_job(job.uuid)
    original.drop_next(CREATE)
    with pytest.raises(ComputeHordeError, match="no answer"):
        await client.create_job(spec())
    assert original.counts[CREATE] == 2


async def test_nobody_there_is_an_error_of_ours(hotkey):
    """After the repeats, which a refused connection is worth."""
    async with ComputeHordeClient(hotkey, "v", facilitator_url="http://127.0.0.1:1/") as client:
        with pytest.raises(ComputeHordeError, match=r"no answer from the facilitator at http://127\.0\.0\.1:1"):
            await client.get_jobs()


async def test_jobs_can_be_found(client, original, spec):
    """By id, by page, and all of them, each once although new ones push others onto the next page."""
    jobs = [await client.create_job(spec()) for _ in range(53)]
    assert (await client.get_job(jobs[0].uuid)).uuid == jobs[0].uuid
    assert [job.uuid for job in await client.get_jobs(page=2, page_size=5)] == [j.uuid for j in jobs[47:42:-1]]
    found = []
    async for job in client.iter_jobs():
        if not found:
            await client.create_job(spec())
        found.append(job.uuid)
    assert found == [job.uuid for job in reversed(jobs)]
    with pytest.raises(ComputeHordeNotFoundError):
        await client.get_job("7d1f2f58-93a5-4e0e-a3ab-1f3c0b8d4e11")
    with pytest.raises(ComputeHordeNotFoundError):
        await client.get_job("no/uuid?x")


async def test_run_until_complete_makes_new_jobs_until_one_is_good(client, original, spec):
    """Any failure is tried again, with a fresh signature; asynchronous callbacks are awaited."""
    seen = []

    async def settle(job):
        await asyncio.sleep(0)
        seen.append(job)
        original.advance(job.uuid, *(("failed",) if len(seen) == 1 else ("completed",)))

    job = await client.run_until_complete(spec(), job_attempt_callback=settle, timeout=30)
    assert job is seen[1]
    assert job.status.is_successful()
    creations = [r.headers["x-ch-signature"] for r in original.requests if r.path == CREATE]
    assert len(set(creations)) == 2


async def test_the_careful_repeat_only_what_was_not_the_jobs_fault(client, original, spec):
    """And nobody repeats what was cancelled."""
    horde = {"horde_failure_details": {"reason": "executor_lost", "message": "m", "reported_by": "x"}}
    job = {"job_failure_details": {"reason": "nonzero_return_code", "message": "m"}}
    ends = [("horde_failed", horde), ("rejected", None), ("failed", job)]
    made = []

    def settle(made_now):
        made.append(made_now)
        original.advance(made_now.uuid, ends[len(made) - 1][0], metadata=ends[len(made) - 1][1])

    await client.run_until_complete(spec(), False, settle, max_attempts=0, retry_on="horde")
    assert len(made) == 3

    ends.append(("failed", {"job_failure_details": {"reason": "cancelled", "message": "m"}}))
    await client.run_until_complete(spec(), False, settle)
    assert len(made) == 4


async def test_streaming_shows_where_to_connect(client, original, spec):
    """Each job has a certificate of its own, whose public half was sent along."""
    from cryptography.hazmat.primitives.serialization import Encoding

    job = await client.create_job(spec(streaming=True))
    other = await client.create_job(spec())
    assert job.streaming_private_key.public_key() == job.streaming_public_cert.public_key()
    assert other.streaming_public_cert is None
    sent = next(r.json for r in original.requests if r.path == CREATE)["streaming_details"]
    assert sent == {"public_key": job.streaming_public_cert.public_bytes(Encoding.PEM).decode()}
    assert (
        timedelta(days=364)
        < job.streaming_public_cert.not_valid_after_utc - job.streaming_public_cert.not_valid_before_utc
    )

    assert (job.streaming_server_cert, job.streaming_server_port) == (None, None)
    place = {"cert": "PEM", "address": "192.0.2.1", "port": 6000}
    original.advance(job.uuid, "streaming_ready", **{f"streaming_server_{k}": v for k, v in place.items()})
    await job.wait_for_streaming(timeout=10)
    server = (job.streaming_server_cert, job.streaming_server_address, job.streaming_server_port)
    assert server == ("PEM", "192.0.2.1", 6000)
    assert job.status.is_streaming_ready()


async def test_waiting_for_streaming_ends_when_the_job_does(client, original, spec):
    """Without a timeout, too; and a timeout is one of ours."""
    job = await client.create_job(spec(streaming=True))
    with pytest.raises(ComputeHordeJobTimeoutError):
        await job.wait_for_streaming(timeout=0)
    details = {"job_failure_details": {"reason": "timeout", "message": "no answer on port 8000"}}
    original.advance(job.uuid, "failed", metadata=details)
    with pytest.raises(ComputeHordeError, match="no answer on port 8000"):
        await job.wait_for_streaming()


async def test_what_the_original_cannot_do_is_said(client, spec):
    """Cancelling needs a facilitator of ours."""
    job = await client.create_job(spec())
    with pytest.raises(ComputeHordeError, match="cannot cancel"):
        await job.cancel()


async def test_a_cheat_report_is_signed_as_a_whole(client, original):
    """All keys are sent, in the published order; the stand-in verifies the signature."""
    assert await client.report_cheated_job("a", "b", details={"ż": [1.5]}) == '"reported"'
    request = original.requests[-1]
    assert list(request.json.items()) == [("job_uuid", "a"), ("trusted_job_uuid", "b"), ("details", {"ż": [1.5]})]
    assert request.headers["x-ch-signature-scope"] == "FullRequest"


async def test_a_malformed_answer_is_an_error_of_ours(client, original, spec):
    """Whatever is wrong with it."""
    job = await client.create_job(spec())
    original.answer_next(JOBS, 200, {"uuid": 1})
    with pytest.raises(ComputeHordeError, match="malformed response"):
        await client.get_job(job.uuid)
    original.advance(job.uuid, "sent")
    original.jobs[job.uuid]["status_history"][-1]["status"] = "odd"
    with pytest.raises(ComputeHordeError, match="'odd' is no status"):
        await client.get_job(job.uuid)


async def test_closing_ends_the_waiting(client, spec):
    """Nobody hangs on a client that is gone, and it cannot be used again."""
    job = await client.create_job(spec())
    waiting = asyncio.create_task(job.wait())
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(ComputeHordeError, match="closed"):
        await waiting
    with pytest.raises(ComputeHordeError, match="closed"):
        await client.get_jobs()
