"""What was accepted reaches exactly one end, whatever dies meanwhile; and the machine is clean afterwards."""

import contextlib
import hashlib
import os
import signal

import pytest

from compute_horde_sdk.v1 import ComputeHordeClient, InlineInputVolume
from processes import Command, Horde, child, containers, make_hotkey, running, wait_until

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(180)]
ENDS = {"Completed", "Failed", "Rejected"}


async def running_container(job) -> str:
    """Wait until the job's first log line shows that its container runs; returns the container's id."""
    async for line in job.logs():
        assert line.text == "up"
        break
    (container,) = containers(f"org.computehorde.job={job.uuid}")
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


async def test_the_facilitator_is_killed_in_mid_upload(own_horde, job_spec, tmp_path):
    """The upload waits for it and goes on from what is on its disk; the job gets every byte."""
    data = os.urandom(100 * 1024**2)
    (tmp_path / "file").write_bytes(data)
    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if not killed and done > total // 2:
            killed.append(child(own_horde, "facilitator"))
            os.kill(killed[0], signal.SIGKILL)

    volume = InlineInputVolume.from_plain_file(tmp_path / "file")
    async with ComputeHordeClient.from_config(own_horde.config) as client:
        spec = job_spec("sha256sum < /volume/file", input_volumes={"/volume/file": volume})
        job = await client.create_job(spec, upload_callback=kill_once)
        assert killed
        await job.wait(timeout=60)
        assert job.result.stdout.split()[0] == hashlib.sha256(data).hexdigest(), job.error


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
    with running(Horde(tmp_path / "data")) as up:
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


@pytest.fixture
def apart(tmp_path):
    """A facilitator and two executors, each started by itself; yields the client's arguments and the executors."""
    user, *executors = hotkeys = [make_hotkey(tmp_path / name) for name in ("user", "first", "second")]
    roles = zip(("user", "executor", "executor"), hotkeys, strict=True)
    admitted = [arg for role, key in roles for arg in ("--admit", f"{role}={key.ss58_address}")]
    with contextlib.ExitStack() as stack:
        command = Command("facilitator", "--data", str(tmp_path / "f"), "--port", "0", *admitted)
        url = stack.enter_context(running(command)).wait_for_line("ready ")
        agents = {}
        for name, key in zip(("first", "second"), executors, strict=True):
            data, hotkey = str(tmp_path / f"data-{name}"), str(tmp_path / name)
            agent = Command("executor", "run", "--facilitator", url, "--data", data, "--hotkey", hotkey)
            stack.enter_context(running(agent)).wait_for_line("ready ")
            agents[key.ss58_address] = agent
        yield user, url, agents


async def test_a_frozen_executor_cannot_write_after_its_lease(apart, job_spec):
    """The other executor finishes the job; what the frozen one says when it wakes is refused."""
    user, url, agents = apart
    async with ComputeHordeClient(user, user.ss58_address, facilitator_url=url) as client:
        job = await client.create_job(job_spec("echo up; echo run > /out/made; sleep 12", artifacts_dir="/out"))
        await running_container(job)
        await job.refresh_from_facilitator()
        frozen = agents[job.executor_hotkey]
        frozen.signal_tree(signal.SIGSTOP)
        await job.wait(timeout=120)
        assert job.attempts == 2
        assert agents[job.executor_hotkey] is not frozen
        frozen.signal_tree(signal.SIGCONT)
        stale = wait_until("the frozen one to notice", lambda: [x for x in frozen.lines if "no longer ours" in x])
        assert len(stale) == 1
        again = await client.get_job(job.uuid)
        assert again.status_history == job.status_history
        assert again.executor_hotkey == job.executor_hotkey
        assert (again.result.stdout, again.result.artifacts) == ("up\n", {"/out/made": b"run\n"})
        assert_ended_once(again)
        follower = await client.create_job(job_spec("echo next"))
        await follower.wait(timeout=60)
        assert follower.status.is_successful()
