"""Whole attempts: the agent, a real engine, real containers, and a stand-in that remembers what it is told."""

import asyncio
import base64
import dataclasses
import json
import os
import socket
import threading
import time

import pytest

from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Fault, Reason, Stage, Succeeded, fault_of
from horde_core.wire.executor import Limits, ProgressEvent, StatusEvent
from horde_executor.agent import run
from horde_executor.endings import Execution, Stop, outcome_of
from horde_executor.engine import Ended
from horde_executor.errors import ExecutorError, FacilitatorError

ALL = [Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE]
QUICK = Limits(grace_s=1)


def inline(path: str, content: bytes) -> dict:
    return {"volume_type": "inline", "contents": base64.b64encode(content).decode(), "relative_path": path}


async def test_a_job_from_claim_to_outcome(agent, claim_of, image):
    """Inputs go in, bytes come out exactly; every status is told once, with the image and the times."""
    content = os.urandom(3_000_000)
    script = (
        "cat /volume/in/a.bin; printf '\\377\\000err' >&2; mkdir -p /artifacts/sub/dir;"
        " cp /volume/in/a.bin /artifacts/sub/dir/b.bin; : > /artifacts/empty; ln -s /etc/passwd /artifacts/l"
    )
    told = await agent.do(
        claim_of(args=["sh", "-c", script], artifacts_dir="/artifacts", volumes=[inline("in/a.bin", content)])
    )
    report = told.outcome
    assert report.outcome == Succeeded(exit_code=0)
    assert told.statuses == ALL
    assert told.logs == {"stdout": content, "stderr": b"\xff\x00err"}
    assert told.artifacts == {"/artifacts/sub/dir/b.bin": content, "/artifacts/empty": b""}
    assert [(left.path, "symbolic link" in left.why) for left in report.left_out] == [("/artifacts/l", True)]
    ready = next(event for event in told.events.values() if isinstance(event, StatusEvent))
    assert ready.image_digest.startswith("sha256:")
    assert set(report.stage_seconds) == {"prepare", "download", "start", "execution", "collect"}
    assert not told.returned


async def test_a_container_sees_its_own_things_and_nothing_else(agent_with, claim_of):
    """No network but lo, five capabilities and no way to more, its own hosts file, its share of the machine."""
    script = """
        echo links $(ls /sys/class/net)
        echo cap $(grep -E 'CapBnd|NoNewPrivs' /proc/self/status)
        echo hosts $(cat /etc/hosts)
        echo name $(hostname)
        echo files $(ulimit -n)
        echo memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max)
        echo pids $(cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max)
        echo shm $(df -P /dev/shm | tail -1)
        echo dirs $(ls -d /volume /output)
        echo env $MINE $NVIDIA_VISIBLE_DEVICES
    """
    env = {"MINE": "a b", "NVIDIA_VISIBLE_DEVICES": "all"}
    async with agent_with(slots=2, memory=2**28) as agent:
        told = await agent.do(claim_of(args=["sh", "-c", script], env=env))
    lines = dict(line.split(" ", 1) for line in told.logs["stdout"].decode().splitlines() if " " in line)
    assert told.outcome.outcome == Succeeded(exit_code=0)
    assert lines["links"] == "lo"
    assert lines["cap"] == "CapBnd: 00000000000000cb NoNewPrivs: 1"
    assert lines["hosts"].startswith("127.0.0.1 localhost")
    assert lines["name"] == "job"
    assert lines["files"] == "16384"
    assert lines["memory"] == str(2**27)
    assert lines["shm"].split()[1] == str(2**26 // 1024)
    assert lines["pids"] == "4096"
    assert lines["dirs"] == "/output /volume"
    assert lines["env"] == "a b void"


async def test_arguments_reach_the_container_untouched(agent, claim_of):
    args = ["printf", "[%s]", "", " a ", "ż\n", "--flag"]
    told = await agent.do(claim_of(args=args))
    assert told.logs["stdout"].decode() == "".join(f"[{arg}]" for arg in args[2:])


@pytest.mark.parametrize(
    ("args", "end", "words"),
    [
        (["sh", "-c", "echo 'no file x' >&2; exit 3"], (Reason.NONZERO_RETURN_CODE, 3), "stderr:\nno file x"),
        (["nosuch", "-x"], (Reason.COMMAND_NOT_FOUND, 127), "'nosuch' cannot be executed: the image has no such"),
        (["/tmp"], (Reason.COMMAND_NOT_FOUND, 126), "'/tmp' cannot be executed: it is a directory, or not"),
        (["sh", "-c", "nosuch"], (Reason.NONZERO_RETURN_CODE, 127), "nosuch: not found"),
        (["sh", "-c", "kill -9 $$"], (Reason.NONZERO_RETURN_CODE, 137), "the container exited with 137"),
        (["sh", "-c", "while :; do x=$x$x.; done"], (Reason.OUT_OF_MEMORY, 137), "256.0 MiB of memory"),
    ],
    ids=["exit", "missing", "not-executable", "missing-in-shell", "killed-itself", "memory"],
)
async def test_a_failing_job_says_why(agent_with, claim_of, args, end, words):
    """Each end has its own reason, always the job's fault, with the exit code and the job's own last words."""
    async with agent_with(memory=256 * 2**20) as agent:
        told = await agent.do(claim_of(args=args, artifacts_dir="/artifacts"))
    outcome = told.outcome.outcome
    assert outcome.stage is Stage.EXECUTION
    assert (outcome.reason, outcome.exit_code) == end
    assert words in outcome.message
    assert fault_of(outcome.reason) is Fault.JOB
    assert told.statuses == ALL[:2]


async def test_what_a_failed_job_made_is_kept(agent, claim_of):
    script = "echo some; echo part > /output/part; exit 1"
    told = await agent.do(claim_of(args=["sh", "-c", script], artifacts_dir="/output"))
    assert told.outcome.outcome.exit_code == 1
    assert told.logs["stdout"] == b"some\n"
    assert told.artifacts == {"/output/part": b"part\n"}


async def test_an_image_that_cannot_be_had_fails_in_prepare(agent, claim_of, dead_port):
    told = await agent.do(claim_of(docker_image=f"127.0.0.1:{dead_port}/nosuch:1"))
    assert told.outcome.outcome.stage is Stage.PREPARE
    assert told.outcome.outcome.reason is Reason.IMAGE_REFUSED
    assert "--allow-egress" in told.outcome.outcome.message
    assert told.statuses == []


async def test_the_execution_limit_stops_a_job_that_will_not_and_it_still_succeeds(agent, claim_of):
    """SIGTERM, the grace, SIGKILL; then logs and artifacts are there, and the outcome tells of the limit."""
    script = "trap 'echo asked' TERM; echo half > /artifacts/result; while :; do sleep 0.1; done"
    began = time.monotonic()
    told = await agent.do(
        claim_of(QUICK, args=["sh", "-c", script], artifacts_dir="/artifacts", execution_time_limit=1)
    )
    assert told.outcome.outcome == Succeeded(exit_code=137, stopped_at_limit=True)
    assert told.statuses == ALL
    assert told.events[2].metadata == {"exit_code": 137, "stopped_at_limit": True}
    assert told.artifacts == {"/artifacts/result": b"half\n"}
    assert told.logs["stdout"] == b"asked\n"
    assert 2 <= time.monotonic() - began < 5


@pytest.fixture
def stuck_server():
    """A server that sends a part of a file and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()
        thread.join(10)


def stuck_volume(server: str) -> list[dict]:
    return [{"volume_type": "single_file", "url": f"http://{server}/x", "relative_path": "x"}]


async def test_the_download_limit_fails_the_job_before_it_starts(agent_with, claim_of, stuck_server):
    async with agent_with(allow_egress=(stuck_server,)) as agent:
        began = time.monotonic()
        told = await agent.do(claim_of(volumes=stuck_volume(stuck_server), download_time_limit=1))
        assert time.monotonic() - began < 3
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason) == (Stage.DOWNLOAD, Reason.TIMEOUT)
    assert "download limit of 1 s" in outcome.message
    assert told.statuses == ALL[:1]
    assert any(isinstance(event, ProgressEvent) for event in told.events.values())
    assert told.outcome.stage_seconds.keys() == {"prepare", "download"}
    assert told.outcome.stage_seconds["download"] == pytest.approx(1, abs=0.5)


async def test_the_operators_limit_ends_a_delivery_that_does_not_go_on(agent, claim_of, stand_in):
    """The job did its part: the fault is the horde's."""
    stand_in.takes_artifacts.clear()
    args = ["sh", "-c", "echo x > /artifacts/x"]
    told = await agent.do(claim_of(Limits(collect_s=1), args=args, artifacts_dir="/artifacts"))
    outcome = told.outcome.outcome
    assert (outcome.stage, fault_of(outcome.reason)) == (Stage.COLLECT, Fault.HORDE)
    assert "within the 1 s that the operator allows" in outcome.message
    assert told.artifacts == {}


async def test_a_job_may_be_cancelled_before_it_starts(agent_with, claim_of, stuck_server, stand_in):
    async with agent_with(allow_egress=(stuck_server,)) as agent:
        told = await agent.give(claim_of(volumes=stuck_volume(stuck_server)))
        await stand_in.until(lambda: told.statuses)
        stand_in.cancel.set()
        await stand_in.until(lambda: told.outcome)
    assert (told.outcome.outcome.stage, told.outcome.outcome.reason) == (Stage.DOWNLOAD, Reason.CANCELLED)


async def test_a_cancelled_job_is_stopped_and_what_it_made_is_kept(agent, claim_of, stand_in):
    script = "trap 'echo bye; exit 0' TERM; echo x > /artifacts/x; echo on; while :; do sleep 0.05; done"
    told = await agent.give(claim_of(args=["sh", "-c", script], artifacts_dir="/artifacts"))
    await stand_in.until(lambda: told.logs["stdout"])
    stand_in.cancel.set()
    await stand_in.until(lambda: told.outcome)
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason, outcome.exit_code) == (Stage.EXECUTION, Reason.CANCELLED, 0)
    assert told.logs["stdout"] == b"on\nbye\n"
    assert told.artifacts == {"/artifacts/x": b"x\n"}


async def test_a_fenced_attempt_is_killed_and_says_nothing_more(agent, claim_of, stand_in, running_containers):
    """The facilitator takes the attempt away: the container goes at once, no outcome, the next job is taken."""
    told = await agent.give(
        claim_of(args=["sh", "-c", "trap '' TERM; echo on; while :; do echo x; sleep 0.05; done"])
    )
    await stand_in.until(lambda: told.logs["stdout"])
    stand_in.fenced = True
    await running_containers(0)
    stand_in.fenced = False
    said = len([request for request in stand_in.requests if "/claims/" not in request])
    after = await agent.do(claim_of(args=["echo", "next"]))
    assert after.logs["stdout"] == b"next\n"
    assert told.outcome is None
    first = [request for request in stand_in.requests if request.split("/")[2] in next(iter(stand_in.told))]
    assert len(first) <= said


async def test_a_job_past_its_deadline_is_the_hordes_failure(agent, claim_of):
    told = await agent.do(claim_of(args=["sh", "-c", "echo on; sleep 60"], deadline_s=1.5))
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason) == (Stage.EXECUTION, Reason.DEADLINE_EXCEEDED)
    assert told.logs["stdout"] == b"on\n"


async def test_a_flood_of_output_is_kept_as_head_and_tail_and_blocks_nothing(agent, claim_of):
    """8 MB through a cap of 64 KiB: the first and the last half of the cap, and the rest counted."""
    cap, lines = 65536, 1_000_000
    told = await agent.do(claim_of(Limits(log_bytes=cap), args=["seq", "-w", str(lines)]))
    written = b"".join(b"%07d\n" % n for n in range(1, lines + 1))
    total = told.outcome.logs["stdout"]
    assert told.outcome.outcome == Succeeded(exit_code=0)
    assert (total.size, total.dropped, total.head) == (cap, len(written) - cap, cap // 2)
    assert told.logs["stdout"] == written[: cap // 2] + written[-cap // 2 :]


async def test_an_agent_that_is_stopped_hands_its_job_back(agent, claim_of, stand_in):
    """Ctrl-C: the container is killed, the job handed back, nothing is left (which the fixture checks)."""
    told = await agent.give(claim_of(args=["sh", "-c", "echo on; sleep 60"]))
    await stand_in.until(lambda: told.logs["stdout"])
    began = time.monotonic()
    await agent.stop()
    assert time.monotonic() - began < 5
    assert told.returned
    assert told.outcome is None


async def test_a_draining_agent_finishes_its_job_and_takes_no_other(agent, claim_of, stand_in):
    told = await agent.give(claim_of(args=["sh", "-c", "echo on; sleep 0.5"]))
    await stand_in.until(lambda: told.logs["stdout"])
    agent.drain.set()
    await asyncio.wait_for(agent.task, 20)
    assert told.outcome.outcome == Succeeded(exit_code=0)
    assert not told.returned


async def test_slots_run_side_by_side(agent_with, claim_of, stand_in):
    """Two slots run two jobs at once, each with half of the machine; a third waits for its turn."""
    async with agent_with(slots=2) as agent:
        first, second = [await agent.give(claim_of(args=["sh", "-c", "echo on; sleep 60"])) for _ in range(2)]
        await stand_in.until(lambda: first.logs["stdout"] and second.logs["stdout"])
        third = await agent.give(claim_of(args=["echo", "third"]))
        assert {offer.slots for offer in stand_in.offers} == {2}
        assert not third.renewals
        stand_in.cancel.set()
        await stand_in.until(lambda: first.outcome and second.outcome and third.outcome)


async def test_what_a_killed_agent_left_is_removed_and_nothing_else(settings, hotkey, agent_with, image, docker):
    """By the executor's own label: a running container and a workspace go, other executors' containers stay."""
    label = "org.computehorde.executor"
    own = docker(
        "run", "-d", "--network", "none", "--label", f"{label}={hotkey.ss58_address}", image, "sleep", "600"
    )
    foreign = docker("run", "-d", "--network", "none", "--label", f"{label}=5Other", image, "sleep", "600")
    try:
        left = settings.data / "work" / "7d1f0000-0000-4000-8000-000000000001-2"
        (left / "output").mkdir(parents=True)
        (left / "output" / "big").write_bytes(b"x")
        async with agent_with() as agent:
            await agent.stand_in.until(lambda: agent.stand_in.offers)
            running = docker("ps", "-aq", "--no-trunc").split()
            assert own not in running
            assert foreign in running
            assert not left.exists()
    finally:
        docker("rm", "-f", own, foreign)


async def test_two_agents_do_not_share_a_directory(agent, settings):
    await agent.stand_in.until(lambda: agent.stand_in.offers)
    with pytest.raises(ExecutorError, match="another agent uses"):
        await run(dataclasses.replace(settings, slots=2))


async def test_an_executor_that_is_refused_ends_and_says_why(settings, stand_in):
    stand_in.refused = True
    with pytest.raises(FacilitatorError, match="Hotkey not allowed"):
        await asyncio.wait_for(run(settings), 10)


async def test_the_facilitator_may_be_away_for_a_while(agent, claim_of, stand_in):
    """A job that runs while the facilitator answers nothing but errors is reported in full when it is back."""
    told = await agent.give(claim_of(args=["sh", "-c", "echo on; sleep 0.5; echo off"]))
    await stand_in.until(lambda: told.logs["stdout"])
    stand_in.faults = [503] * 5
    await stand_in.until(lambda: told.outcome)
    assert told.logs["stdout"] == b"on\noff\n"
    assert told.statuses == ALL


def test_an_outcome_is_no_longer_than_a_message():
    """What is quoted of stderr stays short, whatever a job writes."""
    ended = Ended(1, out_of_memory=False, error="")
    flood = Execution(ended, Stop.NOT, b"\xff" * 10_000 + b"\nlast\n")
    outcome = outcome_of(flood, memory=1, engine_serves=True)
    assert isinstance(outcome, Failed)
    assert len(outcome.message) < 2200
    assert outcome.message.endswith("last")
    assert json.dumps(outcome.message)
