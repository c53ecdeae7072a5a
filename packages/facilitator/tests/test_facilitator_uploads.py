"""Outputs as the facilitator sees them: given to the executor alone, answers shown, no repeat once exposed."""

import asyncio
import json
import time

import pytest

URL = "https://up.example.com/a?X-Amz-Signature=SECRET"
UPLOADS = [
    {
        "output_upload_type": "single_file_put",
        "url": URL,
        "relative_path": "d/a.bin",
        "signed_headers": {"x-token": "SECRET"},
    },
    {
        "output_upload_type": "single_file_post",
        "url": URL,
        "relative_path": "stdout.txt",
        "form_fields": {"policy": "SECRET"},
        "when": "always",
    },
]
EXPOSED = {"kind": "exposed", "at_ns": 1}


def done() -> dict:
    return {"kind": "status", "status": "execution_done", "at_ns": time.time_ns()}


async def ready(executor, wait_s: float = 5):
    hold = await (await executor.hold(wait_s)).confirmed()
    assert (await hold.events(0, "executor_ready", "volumes_ready")).status_code == 204
    return hold


async def say(hold, seq: int, *events: dict):
    return await hold.executor.send("PUT", f"{hold.path}/events/{seq}", json={"events": list(events)})


async def test_uploads_reach_the_executor_and_their_answers_the_owner(user, executor):
    """As text that published clients parse, with the status beside; what signs the requests is never shown."""
    uuid = await user.create(uploads=UPLOADS)
    hold = await ready(executor)
    given = hold.claim["spec"]["uploads"]
    assert [(each["url"], each["when"]) for each in given] == [(URL, "success"), (URL, "always")]
    answers = [
        {"path": "d/a.bin", "status": 500, "headers": {}, "body": "first"},
        {"path": "d/a.bin", "status": 201, "headers": {"etag": '"1"'}, "body": "<ok/>"},
        {"path": "stdout.txt", "status": 204},
    ]
    answer = await hold.outcome(first_seq=2, events=[done(), EXPOSED], uploads=answers)
    assert answer.status_code == 204, answer.text
    replies = [
        await user.job(uuid),
        await user.job(uuid, inline=0),
        (await user.get("/api/v1/jobs/")).json()["results"][0],
    ]
    for job in replies:
        assert job["status"] == "Completed"
        assert {path: json.loads(text) for path, text in job["upload_results"].items()} == {
            "d/a.bin": {"status": 201, "headers": {"etag": '"1"'}, "body": "<ok/>"},
            "stdout.txt": {"status": 204, "headers": {}, "body": ""},
        }
        assert "SECRET" not in json.dumps(job)


async def test_a_listing_leaves_large_answers_out_and_says_so(user, executor):
    uuid = await user.create(uploads=UPLOADS)
    hold = await ready(executor)
    answers = [{"path": "d/a.bin", "status": 200, "body": "x" * 16_384}]
    assert (await hold.outcome(first_seq=2, events=[done()], uploads=answers)).status_code == 204
    listed = (await user.get("/api/v1/jobs/")).json()["results"][0]
    assert listed["upload_results"] == {}
    assert [item["path"] for item in listed["horde"]["left_out"]] == [""]
    assert "x" * 16_384 in (await user.job(uuid))["upload_results"]["d/a.bin"]


async def test_answers_have_a_size(user, executor):
    """An executor cannot fill the records with what servers say."""
    await user.create(uploads=UPLOADS)
    hold = await ready(executor)
    for wrong in ([{"path": "a", "status": 200, "body": "x" * 16_385}], [{"path": "a", "status": 200}] * 257):
        answer = await hold.outcome(first_seq=2, events=[done()], uploads=wrong)
        assert answer.status_code == 400


@pytest.mark.parametrize("exposed", [True, False])
async def test_an_attempt_that_is_lost_after_the_first_byte_is_not_repeated(serving, exposed):
    """It ends FAILED by the horde's fault and costs nothing; before that byte another attempt follows."""
    async with serving(lease_s=0.6, confirm_s=0.3) as served:
        user, executor = await served.user(), await served.executor()
        uuid = await user.create(uploads=UPLOADS)
        hold = await ready(executor)
        assert (await say(hold, 2, done(), *([EXPOSED] if exposed else []))).status_code == 204
        if not exposed:
            again = await executor.hold(wait_s=20)
            assert (again.job, again.attempt) == (uuid, 2)
            return
        job = await user.wait_for(uuid, "Failed")
        details = job["status_history"][-1]["metadata"]["horde_failure_details"]
        assert job["status_history"][-1]["status"] == "horde_failed"
        assert details["reason"] == "executor_lost"
        assert "whether to repeat it is yours to decide" in details["message"]
        assert (job["horde"]["attempt"], job["horde"]["payment"]) == (1, "released")
        assert await executor.claim() is None


@pytest.mark.parametrize("how", ["report", "return"])
async def test_neither_an_error_of_the_executor_nor_its_leaving_repeats_an_exposed_job(
    user, executor, failure, how
):
    uuid = await user.create(uploads=UPLOADS)
    hold = await ready(executor)
    for _ in range(2):
        assert (await say(hold, 2, done(), EXPOSED)).status_code == 204
    if how == "report":
        answer = await hold.outcome(first_seq=4, outcome=failure("executor_error", "upload"))
    else:
        answer = await hold.give_back()
    assert answer.status_code == 204
    job = await user.job(uuid)
    assert (job["status"], job["horde"]["fault"], job["horde"]["attempt"]) == ("Failed", "horde", 1)
    assert job["horde"]["payment"] == "released"


@pytest.mark.parametrize("reason", ["upload_failed", "timeout", "cancelled"])
async def test_an_upload_that_fails_by_the_jobs_fault_is_paid(user, executor, failure, reason):
    """The code had run; and the history says at which stage it failed, in the published clients' words."""
    uuid = await user.create(uploads=UPLOADS)
    hold = await ready(executor)
    problems = {"/output/d/a.bin": "refused"}
    outcome = failure(reason, "upload", exit_code=0, context={"upload_problems": problems})
    answers = [{"path": "d/a.bin", "status": 403, "body": "no"}]
    assert (
        await hold.outcome(first_seq=2, events=[done(), EXPOSED], outcome=outcome, uploads=answers)
    ).status_code == 204
    job = await user.job(uuid)
    details = job["status_history"][-1]["metadata"]["job_failure_details"]
    assert (details["stage"], details["reason"], details["context"]["upload_problems"]) == (
        "result_upload",
        reason,
        problems,
    )
    assert (job["horde"]["fault"], job["horde"]["payment"]) == ("job", "settled")
    assert json.loads(job["upload_results"]["d/a.bin"])["status"] == 403


async def test_the_end_that_is_pushed_has_the_answers_in_it(user, executor):
    """The usual client needs no further request for them."""
    uuid = await user.create(uploads=UPLOADS)
    async with user.watch({uuid: 2}) as events:
        hold = await ready(executor)
        answers = [{"path": "d/a.bin", "status": 200, "body": "ok"}]
        assert (await hold.outcome(first_seq=2, events=[done()], uploads=answers)).status_code == 204
        async with asyncio.timeout(10):
            async for event in events:
                if event["ended"]:
                    assert json.loads(event["ended"]["upload_results"]["d/a.bin"])["body"] == "ok"
                    return
