"""The blocking client against our facilitator."""

import subprocess
import sys
import threading

import pytest

from compute_horde_sdk.v1 import ComputeHordeError, ComputeHordeJobTimeoutError, blocking
from horde_core.outcomes import Failed, Reason, Stage, Succeeded


def test_all_of_it_without_await(url, hotkey, spec, by_hand):
    """Callbacks are called in the thread that waits; what they raise ends the waiting."""
    here, heard, attempts = threading.current_thread(), [], []

    def hear(job, entry):
        assert threading.current_thread() is here
        heard.append((job.uuid, str(entry.status)))

    with blocking.ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=url) as client:
        job = client.create_job(spec())
        with by_hand(Succeeded(exit_code=0), Failed(
            stage=Stage.PREPARE, reason=Reason.IMAGE_NOT_FOUND, message="m"), Succeeded(exit_code=0)):  # fmt: skip
            job.wait(timeout=30, status_callback=hear)
            last = client.run_until_complete(spec(), job_attempt_callback=attempts.append, timeout=60)
        assert (job.result.stdout, heard[0], heard[-1]) == ("run 0\n", (job.uuid, "Sent"), (job.uuid, "Completed"))
        assert [line.text for line in job.logs()] == ["run 0"]
        assert [attempt.uuid for attempt in attempts][-1] == last.uuid
        assert (len(attempts), last.status.is_successful()) == (2, True)
        assert client.get_job(job.uuid).result == job.result
        assert [found.uuid for found in client.get_jobs(page_size=1)] == [last.uuid]
        all_jobs = client.iter_jobs()
        assert next(all_jobs).uuid == last.uuid

        queued = client.create_job(spec())
        with pytest.raises(ComputeHordeJobTimeoutError):
            queued.wait(timeout=0.05)
        with pytest.raises(ZeroDivisionError):
            queued.wait(status_callback=lambda job, entry: 1 / 0)
        queued.cancel()
        assert queued.error.reason == "cancelled"
    with pytest.raises(ComputeHordeError, match="closed"):
        client.get_jobs()
    with pytest.raises(ComputeHordeError, match="closed"):
        next(job.logs())
    all_jobs.close()


def test_a_program_that_closes_nothing_ends_all_the_same(url, hotkey):
    """In order and without a word, although a stream is open."""
    program = """
import sys
from bittensor_wallet import Keypair
from compute_horde_sdk.v1.blocking import ComputeHordeClient, ComputeHordeJobSpec
client = ComputeHordeClient(Keypair.create_from_uri("//Alice"), "v", facilitator_url=sys.argv[1])
job = client.create_job(ComputeHordeJobSpec("always_on.test", "x", "a/b:1", 1, 1, 1))
lines = job.logs()
try:
    job.wait(timeout=0.1)
except TimeoutError:
    job.cancel()
print(next(lines, "nothing"))
client.create_job(ComputeHordeJobSpec("always_on.test", "x", "a/b:1", 1, 1, 1)).cancel()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("nothing\n", "", 0)
