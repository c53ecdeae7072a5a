"""Section D, where a job is: each end and each way there, in both spellings. The rules stand in `docs/wire.md`."""

import time

import pytest

from horde_core.lifecycle import Status
from horde_facilitator.decisions import WIRE_STAGES

SPELLINGS = {
    "sent": "Sent",
    "received": "Received",
    "accepted": "Accepted",
    "executor_ready": "Executor Ready",
    "volumes_ready": "Volumes Ready",
    "streaming_ready": "Streaming Ready",
    "execution_done": "Execution Done",
    "completed": "Completed",
    "rejected": "Rejected",
    "failed": "Failed",
    "horde_failed": "Failed",
}
"""As the history has it, and as 0.0.14 reads it."""
KEYS = {
    "job_rejection_details": {"reason", "message"},
    "job_failure_details": {"reason", "message"},
    "horde_failure_details": {"reason", "message", "reported_by"},
}
"""What clients cannot do without."""
STAGES = {
    "executor_startup", "volume_download", "streaming_startup", "execution", "result_upload", "unknown"
}  # fmt: skip
NOT_NULL = ("uuid", "executor_class", "created_at", "docker_image", "stdout", "stderr", "status")


def suits_every_client(job: dict) -> None:
    """Check a job object against what 0.0.14 and 0.0.19 require of it."""
    assert all(isinstance(job[name], str) for name in NOT_NULL)
    assert all(isinstance(arg, str) for arg in job["args"])
    for texts in (job["env"], job["artifacts"], job["upload_results"]):
        assert all(isinstance(text, str) for item in texts.items() for text in item)
    assert isinstance(job["streaming_server_port"], int)
    history = job["status_history"]
    assert history
    assert history == sorted(history, key=lambda entry: entry["created_at"])
    assert SPELLINGS[history[-1]["status"]] == job["status"]
    for entry in history:
        assert entry["status"] in SPELLINGS
        for kind, keys in KEYS.items():
            details = (entry["metadata"] or {}).get(kind)
            if details is not None:
                assert all(isinstance(details[key], str) and details[key] for key in keys)
                assert details.get("stage", "unknown") in STAGES
                assert isinstance(details["context"], dict | None)


async def told(user, uuid: str) -> tuple[str, list[str]]:
    """The title and the history, which must be the same in the list."""
    job = await user.job(uuid)
    suits_every_client(job)
    listed = (await user.get("/api/v1/jobs/")).json()["results"]
    (same,) = [each for each in listed if each["uuid"] == uuid]
    suits_every_client(same)
    assert (same["status"], same["status_history"]) == (job["status"], job["status_history"])
    return job["status"], [entry["status"] for entry in job["status_history"]]


def test_every_status_is_spelled_as_clients_know_it():
    """D1: No status exists that they would not read, and the stages in failures are theirs."""
    assert {status.value: status.reference_name for status in Status}.items() <= SPELLINGS.items()
    assert set(WIRE_STAGES.values()) <= STAGES


async def test_both_spellings_are_there_at_every_step(user, executor):
    """D2: `status` for 0.0.14 and `status_history` for the others, in one reply, from the first moment on."""
    uuid = await user.create()
    steps = ["sent", "received"]
    assert await told(user, uuid) == ("Received", steps)
    hold = await (await executor.hold()).confirmed()
    assert await told(user, uuid) == ("Accepted", [*steps, "accepted"])
    for seq, status in enumerate(["executor_ready", "volumes_ready", "execution_done"]):
        await hold.events(seq, status)
        steps = [*steps, "accepted"] if status == "executor_ready" else steps
        steps.append(status)
        assert await told(user, uuid) == (SPELLINGS[status], steps)
    await hold.outcome(first_seq=3)
    assert await told(user, uuid) == ("Completed", [*steps, "completed"])


ENDS = {
    "the job's fault": (("nonzero_return_code", "execution"), "failed", "job_failure_details", "execution"),
    "a limit": (("timeout", "download"), "failed", "job_failure_details", "volume_download"),
    "the horde's fault": (("executor_error", "prepare"), "horde_failed", "horde_failure_details", None),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_failure_says_whose_fault_it_was(user, executor, failure, end):
    """D4: The details stand under the name that tells it, and what the horde did is Failed for 0.0.14."""
    (reason, stage), status, kind, wire_stage = ENDS[end]
    uuid = await user.create(max_attempts=1)
    hold = await (await executor.hold()).confirmed()
    answer = await hold.outcome(outcome=failure(reason, stage, exit_code=3 if stage == "execution" else None))
    assert answer.status_code == 204
    title, history = await told(user, uuid)
    assert (title, history) == ("Failed", ["sent", "received", "accepted", status])
    details = (await user.job(uuid))["status_history"][-1]["metadata"]
    assert list(details) == [kind]
    assert (details[kind]["reason"], details[kind].get("stage")) == (reason, wire_stage)


async def test_a_cancelled_job_is_a_failed_one(user):
    """D4: Clients that know no cancelling see a failure with a reason of its own."""
    uuid = await user.create()
    await user.cancel(uuid)
    assert await told(user, uuid) == ("Failed", ["sent", "received", "failed"])
    details = (await user.job(uuid))["status_history"][-1]["metadata"]["job_failure_details"]
    assert details["reason"] == "cancelled"


async def test_what_is_not_taken_on_is_rejected(serving):
    """D3: At once for a full queue (sent, rejected), later for want of an executor (sent, received, rejected)."""
    async with serving(max_queued_per_hotkey=1, no_executor_s=0.5) as served:
        user = await served.user()
        waits, refused = await user.create(), await user.create()
        assert await told(user, refused) == ("Rejected", ["sent", "rejected"])
        await user.wait_for(waits, "Rejected")
        assert await told(user, waits) == ("Rejected", ["sent", "received", "rejected"])


async def test_the_limit_is_told_with_the_end_of_the_execution(user, executor):
    """D5: A job that was stopped at its limit is Completed, and its history says so."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    done = [{"kind": "status", "status": s, "at_ns": time.time_ns()} for s in
            ("executor_ready", "volumes_ready", "execution_done")]  # fmt: skip
    stopped = {"kind": "succeeded", "exit_code": 143, "stopped_at_limit": True}
    assert (await hold.outcome(events=done, outcome=stopped)).status_code == 204
    assert (await told(user, uuid))[0] == "Completed"
    entries = {e["status"]: e["metadata"] or {} for e in (await user.job(uuid))["status_history"]}
    assert entries["execution_done"]["stopped_at_limit"] is True


async def test_a_lost_attempt_shows_as_a_return_to_the_queue(user, executor, failure):
    """D6: The history is only ever added to; the job is received again, and every client reads on."""
    uuid = await user.create()
    hold = await (await executor.hold()).confirmed()
    await hold.outcome(outcome=failure("executor_error", "prepare"))
    assert await told(user, uuid) == ("Received", ["sent", "received", "accepted", "received"])
    await (await executor.hold()).run()
    title, history = await told(user, uuid)
    assert title == "Completed"
    assert history[:4] == ["sent", "received", "accepted", "received"]
    assert history[4:] == ["accepted", "executor_ready", "volumes_ready", "execution_done", "completed"]
