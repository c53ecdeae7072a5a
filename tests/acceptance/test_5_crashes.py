"""What was accepted reaches exactly one end, whatever dies meanwhile; and the machine is clean afterwards."""

import os
import signal
from pathlib import Path

import pytest

from compute_horde_sdk.v1 import ComputeHordeClient
from processes import Command, Horde, containers, descendants, docker, running, wait_until

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(180)]
ENDS = {"Completed", "Failed", "Rejected"}


def child(up: Command, word: str) -> int:
    """The process below `up` whose command line holds a word."""

    def find() -> int | None:
        for pid in descendants(up.process.pid)[1:]:
            if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return pid
        return None

    return wait_until(f"a process {word!r}", find) or 0


async def running_container(job) -> str:
    """Wait until the job's first log line shows that its container runs; returns the container's id."""
    async for line in job.logs():
        assert line.text == "up"
        break
    (container,) = [c for c in containers() if job.uuid in docker("inspect", "-f", "{{json .Config.Labels}}", c)]
    return container


def assert_ended_once(job) -> None:
    statuses = [str(entry.status) for entry in job.status_history]
    assert [s for s in statuses if s in ENDS] == statuses[-1:], statuses


@pytest.fixture
def own_horde(tmp_path):
    with running(Horde(tmp_path / "data")) as up:
        yield up.ready()


async def test_the_agent_is_killed_in_mid_job(own_horde, job_spec):
    """The job is run again after its lease, and the first container is gone."""
    async with ComputeHordeClient.from_config(own_horde.config) as client:
        job = await client.create_job(job_spec("echo up; sleep 8"))
        first = await running_container(job)
        os.kill(child(own_horde, "executor"), signal.SIGKILL)
        await job.wait(timeout=120)
        assert job.status.is_successful()
        assert job.attempts == 2
        assert job.result.stdout == "up\n"
        assert_ended_once(job)
        assert first not in containers()


async def test_the_facilitator_is_killed_in_mid_job(own_horde, job_spec):
    """The job goes on in its container, and ends once, in its first attempt."""
    async with ComputeHordeClient.from_config(own_horde.config) as client:
        job = await client.create_job(job_spec("echo up; sleep 5; echo done"))
        await running_container(job)
        os.kill(child(own_horde, "facilitator"), signal.SIGKILL)
        await job.wait(timeout=120)
        assert job.result.stdout == "up\ndone\n"
        assert job.attempts == 1
        assert_ended_once(job)


async def test_stopping_the_horde_puts_its_job_back(tmp_path, job_spec):
    """Ctrl-C hands the job back without counting an attempt; the next `horde up` runs it."""
    port = 0
    with running(Horde(tmp_path / "data", port=port)) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client:
            job = await client.create_job(job_spec("echo up; sleep 3"))
            await running_container(job)
        before = containers()
        assert up.stop(signal.SIGINT) == 0
        assert not {c for c in before if c in containers()}
    with running(Horde(tmp_path / "data")) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client:
            again = await client.get_job(job.uuid)
            await again.wait(timeout=60)
            assert again.status.is_successful()
            assert again.result.stdout == "up\n"
            assert_ended_once(again)


async def test_a_frozen_executor_cannot_write_after_its_lease(tmp_path, job_spec):
    """The other executor finishes the job; what the frozen one says when it wakes is refused."""
    user = Horde(tmp_path / "user")
    with running(user):
        user.ready()  # makes a wallet and a config; its own executor is the first of two
        frozen = child(user, "executor")
        async with ComputeHordeClient.from_config(user.config) as client:
            job = await client.create_job(job_spec("echo up; sleep 8"))
            await running_container(job)
            with running(second_executor(user, tmp_path)) as second:
                second.wait_for_line("ready")
                os.kill(frozen, signal.SIGSTOP)
                await job.wait(timeout=120)
                finished = await client.get_job(job.uuid)
                os.kill(frozen, signal.SIGCONT)
                follower = await client.create_job(job_spec("echo next"))
                await follower.wait(timeout=60)
            after = await client.get_job(job.uuid)
            assert after.attempts == 2
            assert [e.status for e in after.status_history] == [e.status for e in finished.status_history]
            assert after.executor_hotkey == finished.executor_hotkey
            assert after.result.stdout == "up\n"
            assert_ended_once(after)
