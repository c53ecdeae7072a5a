"""An attempt from claim to outcome, as its executor speaks of it, and everything that may be said twice."""

import asyncio
import time

import pytest


async def test_a_job_goes_from_creation_to_its_result(user, executor):
    """The happy path: claimed, run, reported; the owner sees the history, the log and the artifacts."""
    uuid = await user.create(args=["a b", ""])
    hold = await executor.hold()
    assert hold.job == uuid
    assert hold.attempt == 1
    assert hold.claim["spec"]["args"] == ["a b", ""]
    await hold.run(b"hi\n", {"/artifacts/a.txt": b"one", "/artifacts/deep/b": b"\x00\xff"})

    job = await user.job(uuid)
    assert job["status"] == "Completed"
    assert [(e["status"], e["attempt"]) for e in job["status_history"]] == [
        ("sent", 0),
        ("received", 0),
        ("accepted", 1),
        ("executor_ready", 1),
        ("volumes_ready", 1),
        ("execution_done", 1),
        ("completed", 1),
    ]
    assert job["stdout"] == "hi\n"
    assert job["artifacts"] == {"/artifacts/a.txt": "b25l", "/artifacts/deep/b": "AP8="}
    horde = job["horde"]
    assert horde["outcome"]["kind"] == "succeeded"
    assert horde["executor_hotkey"] == executor.hotkey.ss58_address
    assert horde["image_digest"] == "sha256:" + "0" * 64
    assert horde["stage_seconds"] == {"execution": 1.5}
    assert horde["logs"]["stdout"] == {"size": 3, "dropped": 0}
    assert not horde["partial"]
    assert all(e["created_at"].endswith("Z") and "." in e["created_at"] for e in job["status_history"])


async def test_every_request_may_be_repeated(user, executor):
    """A repeat is answered like the first time and changes nothing."""
    uuid = await user.create()
    first = await executor.claim(claim_id="same")
    again = await executor.claim(claim_id="same")
    assert (first.job, first.attempt) == (again.job, again.attempt) == (uuid, 1)
    for _ in range(2):
        assert (await first.lease()).json() == {"state": "held", "lease_s": 30.0}
        assert (await first.events(0, "executor_ready", "volumes_ready")).status_code == 204
        assert (await first.events(1, "volumes_ready", "execution_done")).status_code == 204
        assert (await first.log("stdout", 0, b"abc")).status_code == 204
        assert (await first.log("stdout", 1, b"bcde")).status_code == 204
        assert (await first.artifact("/artifacts/x", b"x")).status_code == 204
    for _ in range(2):
        answer = await first.outcome(first_seq=3, logs={"stdout": {"size": 5}})
        assert answer.status_code == 204, answer.text
    job = await user.job(uuid)
    assert job["stdout"] == "abcde"
    assert [e["status"] for e in job["status_history"]].count("executor_ready") == 1
    assert job["status"] == "Completed"


async def test_fifty_claims_at_once_get_ten_jobs_once_each(user, executor):
    """No job is given to two, and the oldest go first."""
    uuids = [await user.create() for _ in range(10)]
    holds = await asyncio.gather(*(executor.claim() for _ in range(50)))
    given = [hold.job for hold in holds if hold]
    assert sorted(given) == sorted(uuids)
    next_job = await user.create()
    assert (await executor.hold()).job == next_job


async def test_jobs_are_claimed_in_the_order_of_their_creation(user, executor):
    """Older jobs go first, over all the classes that an executor serves."""
    classes = ["always_on.test", "always_on.gpu-24gb", "always_on.test", "always_on.llm.a6000"]
    uuids = [await user.create(executor_class=name) for name in classes]
    served = classes[:3]
    claimed = [await executor.claim(classes=served) for _ in range(4)]
    assert [hold.job for hold in claimed if hold] == uuids[:3]


async def test_a_waiting_claim_gets_a_new_job_at_once(user, executor):
    """A claim that waits is woken by the commit of the creation."""
    waiting = asyncio.create_task(executor.claim(wait_s=20))
    await asyncio.sleep(0)  # let it be sent; that it waits already is not needed for the claim below
    started = time.monotonic()
    uuid = await user.create()
    hold = await waiting
    assert hold.job == uuid
    assert time.monotonic() - started < 5


async def test_a_claim_whose_client_left_takes_no_job(user, executor, served, wait_until):
    """A job is not given to somebody who is not there any more."""
    leaving = await served.executor("second")
    waiting = asyncio.create_task(leaving.claim(wait_s=20))

    async def is_known():
        return await executor.claim() is None and (await served.user()) is not None

    await wait_until("both to have spoken", is_known)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await leaving.http.aclose()
    assert await executor.claim(wait_s=0) is None
    uuid = await user.create()
    hold = await executor.hold(wait_s=4)  # less than the 5 s after which an unconfirmed claim lapses
    assert (hold.job, hold.attempt) == (uuid, 1)


async def test_an_outcome_waits_for_what_it_announces(user, executor):
    """An outcome is refused while events, log bytes or artifacts that it builds on are missing."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.events(0, "executor_ready", "volumes_ready")

    async def refused(part: str, **report) -> None:
        answer = await hold.outcome(**report)
        assert answer.status_code == 409, answer.text
        assert answer.json()["code"] == "missing_parts"
        assert part in answer.json()["detail"]
        assert (await user.job(uuid))["status"] == "Volumes Ready"

    await refused("execution_done", first_seq=2)
    await refused("from number 2", first_seq=3)
    done = {"first_seq": 2, "events": [{"kind": "status", "status": "execution_done", "at_ns": 1}]}
    await refused("0 of 4 bytes of stdout", **done, logs={"stdout": {"size": 4}})
    await refused("/artifacts/x", **done, artifacts=[{"path": "/artifacts/x", "size": 1, "sha256": "0" * 64}])
    assert (await hold.log("stdout", 4, b"late")).json()["code"] == "missing_parts"
    assert (await hold.log("stdout", 0, b"1234")).status_code == 204
    assert (await hold.outcome(**done, logs={"stdout": {"size": 4}})).status_code == 204


async def test_an_artifact_with_another_hash_is_refused(user, executor):
    """What arrives damaged is not stored."""
    await user.create()
    hold = await (await executor.hold()).confirmed()
    answer = await hold.artifact("/artifacts/x", b"damaged", sha256="0" * 64)
    assert answer.status_code == 400
    assert "X-SHA256" in answer.json()
    assert (await hold.artifact("/artifacts/x", b"x", sha256="nonsense")).status_code == 400


async def test_events_that_the_life_cycle_forbids_are_refused_whole(user, executor):
    """A batch with an impossible status changes nothing, not even by its possible part."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    assert (await hold.events(0, "executor_ready", "execution_done")).status_code == 400
    assert (await user.statuses(uuid))[-1] == "accepted"
    assert (await hold.events(5, "executor_ready")).json()["code"] == "missing_parts"
    answer = await hold.outcome(outcome={"kind": "rejected", "reason": "no_executor", "message": "no"})
    assert answer.status_code == 400


async def test_a_stop_at_the_limit_is_visible_and_a_success(user, executor):
    """stopped_at_limit stands in the outcome and in the metadata of execution_done."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    statuses = ("executor_ready", "volumes_ready", "execution_done")
    events = [{"kind": "status", "status": status, "at_ns": time.time_ns()} for status in statuses]
    outcome = {"kind": "succeeded", "exit_code": 143, "stopped_at_limit": True}
    assert (await hold.outcome(outcome=outcome, events=events)).status_code == 204
    job = await user.job(uuid)
    assert job["status"] == "Completed"
    done = next(e for e in job["status_history"] if e["status"] == "execution_done")
    assert done["metadata"] == {"stopped_at_limit": True}


async def test_failures_of_the_job_end_it_and_say_why(user, executor, failure):
    """The wire's failure members are there for published clients, our own outcome beside them."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.events(0, "executor_ready", "volumes_ready", "execution_done")
    await hold.log("stderr", 0, b"boom")
    answer = await hold.outcome(
        first_seq=3, outcome=failure(exit_code=3), logs={"stderr": {"size": 4}, "stdout": {"size": 0}}
    )
    assert answer.status_code == 204, answer.text
    job = await user.job(uuid)
    assert job["status"] == "Failed"
    assert job["stderr"] == "boom"
    last = job["status_history"][-1]
    assert last["status"] == "failed"
    assert last["metadata"]["job_failure_details"] == {
        "reason": "nonzero_return_code",
        "stage": "execution",
        "message": "because of nonzero_return_code",
        "context": None,
        "docker_process_exit_status": 3,
    }
    assert job["horde"]["fault"] == "job"
    assert job["horde"]["outcome"]["exit_code"] == 3


async def test_the_hordes_failures_are_repeated_then_end_the_job(user, executor, failure):
    """Two executor errors are repeated; the third ends the job as horde_failed, at the horde's fault."""
    uuid = await user.create()
    for number in (1, 2, 3):
        hold = await (await executor.hold()).confirmed()
        assert hold.attempt == number
        report = failure("executor_error", "prepare")
        assert (await hold.outcome(outcome=report)).status_code == 204
        assert (await hold.outcome(outcome=report)).status_code == 204
    job = await user.job(uuid)
    assert job["status"] == "Failed"
    assert [e["status"] for e in job["status_history"]].count("accepted") == 3
    last = job["status_history"][-1]
    assert last["status"] == "horde_failed"
    assert last["metadata"]["horde_failure_details"]["reason"] == "executor_error"
    assert last["metadata"]["horde_failure_details"]["reported_by"] == "executor"
    assert job["horde"]["fault"] == "horde"


async def test_max_attempts_of_a_job_bounds_its_attempts(user, executor, failure):
    """A job that wants one attempt gets one."""
    uuid = await user.create(max_attempts=1)
    hold = await (await executor.hold()).confirmed()
    assert (await hold.outcome(outcome=failure("image_unreachable", "prepare"))).status_code == 204
    assert (await user.statuses(uuid))[-1] == "horde_failed"


async def test_a_job_handed_back_is_no_loss_and_its_digest_stays(user, executor, served):
    """Leaving on purpose may be repeated, counts nothing, and the next attempt knows the image's digest."""
    uuid = await user.create(max_attempts=1)
    digest = "sha256:" + "a" * 64
    for number in (1, 2, 3):
        hold = await (await executor.hold()).confirmed()
        assert hold.attempt == number
        assert hold.claim["image_digest"] == (None if number == 1 else digest)
        await hold.events(0, "executor_ready", image_digest=digest)
        assert (await hold.give_back()).status_code == 204
        assert (await hold.give_back()).status_code == 204
    assert (await user.job(uuid))["status"] == "Received"


async def test_what_others_say_of_an_attempt_is_not_heard(user, executor, served):
    """An executor sees only attempts that were given to it; a user none at all."""
    await user.create()
    hold = await (await executor.hold()).confirmed()
    hold.executor = await served.executor("second")
    answers = await hold.every_request()
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 404)
    hold.executor = user
    answers = await hold.every_request()
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 403)
    assert (await executor.get("/api/v1/jobs/")).status_code == 403


async def test_a_queued_job_that_is_cancelled_ends_at_once(user, executor):
    """Nothing ran; the job is failed as cancelled, and nobody gets it."""
    uuid = await user.create()
    job = await user.cancel(uuid)
    assert job["status"] == "Failed"
    assert job["horde"]["outcome"]["reason"] == "cancelled"
    assert job["horde"]["fault"] == "job"
    assert await executor.claim() is None
    assert await user.cancel(uuid) == job


async def test_the_executor_of_a_cancelled_job_is_told_at_once(user, executor, failure):
    """A waiting lease is answered with cancel; the job ends when the executor reports."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.events(0, "executor_ready", "volumes_ready")
    waiting = asyncio.create_task(hold.lease(wait_s=20))
    started = time.monotonic()
    job = await user.cancel(uuid)
    assert job["status"] == "Volumes Ready"
    assert job["horde"]["cancelling"]
    assert (await waiting).json()["state"] == "cancel"
    assert time.monotonic() - started < 5
    assert (await hold.lease(wait_s=20)).json()["state"] == "cancel"
    assert (await hold.outcome(first_seq=2, outcome=failure("cancelled"))).status_code == 204
    job = await user.job(uuid)
    assert job["status"] == "Failed"
    assert not job["horde"]["cancelling"]


async def test_a_cancelled_job_that_ended_before_it_heard_keeps_its_result(user, executor):
    """Cancelling is a wish: a result that is there is not thrown away."""
    uuid = await user.create()
    hold = await executor.hold()
    await user.cancel(uuid)
    await hold.run()
    assert (await user.job(uuid))["status"] == "Completed"


async def test_a_cancelled_job_is_not_repeated(user, executor, failure):
    """A failure of the horde after a cancel ends the job as cancelled, instead of a further attempt."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await user.cancel(uuid)
    assert (await hold.give_back()).status_code == 204
    assert (await user.job(uuid))["horde"]["outcome"]["reason"] == "cancelled"


async def test_progress_is_shown_until_the_next_status(user, executor):
    """Only the latest is kept."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.progress(0, 10)
    await hold.progress(1, 70)
    assert (await user.job(uuid))["horde"]["progress"]["done"] == 70
    await hold.events(2, "executor_ready")
    assert (await user.job(uuid))["horde"]["progress"] is None
