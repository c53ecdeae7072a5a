"""What the class of a job gives its container, seen from inside real ones."""

import logging

import pytest

from horde_core.outcomes import Reason, Succeeded
from horde_core.terms import Profile
from horde_core.wire.executor import Allotment
from horde_executor.container import Share, allotted

MIB = 2**20
LOOK = """
    cd /sys/fs/cgroup
    echo cap $(grep -E 'CapEff|CapBnd' /proc/self/status)
    echo memory $(cat memory/memory.limit_in_bytes || cat memory.max)
    echo cpu $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us || cat cpu.max)
    echo shm $(df -P /dev/shm | tail -1 | awk '{print $2}')
"""


async def seen(agent, claim) -> dict[str, str]:
    told = await agent.do(claim)
    assert told.outcome.outcome == Succeeded(exit_code=0), told.outcome
    return dict(line.split(" ", 1) for line in told.logs["stdout"].decode().splitlines())


async def test_a_class_bounds_cores_memory_and_shared_memory_of_a_container(agent_with, claim_of):
    """As much as it gives, and never more than the slot's share; without terms the share itself."""
    async with agent_with(memory=256 * MIB) as agent:
        given = Allotment(cpus=0.5, memory=64 * MIB, shm=16 * MIB)
        found = await seen(agent, claim_of(args=["sh", "-c", LOOK], allotment=given))
        assert (found["memory"], found["cpu"], found["shm"]) == (str(64 * MIB), "50000 100000", str(16 * 1024))
        much = Allotment(cpus=1000, memory=2**40, shm=2**40)
        found = await seen(agent, claim_of(args=["sh", "-c", LOOK], allotment=much))
        assert (found["memory"], found["shm"]) == (str(256 * MIB), str(256 * 1024))
        plain = await seen(agent, claim_of(args=["sh", "-c", LOOK]))
        assert (plain["memory"], plain["shm"], plain["cpu"]) == (str(256 * MIB), str(128 * 1024), found["cpu"])


async def test_the_profile_of_a_class_decides_about_capabilities(agent, claim_of):
    """Five by default, with which an image may chown; none if it is strict, and the job runs all the same."""
    strict = Allotment(profile=Profile.STRICT)
    found = await seen(agent, claim_of(args=["sh", "-c", LOOK]))
    assert found["cap"] == "CapEff: 00000000000000cb CapBnd: 00000000000000cb"
    found = await seen(agent, claim_of(args=["sh", "-c", LOOK], allotment=strict))
    assert found["cap"] == "CapEff: 0000000000000000 CapBnd: 0000000000000000"
    script = "cd /output && echo x > a && cp a /artifacts && chown 1234 a"
    told = await agent.do(claim_of(args=["sh", "-c", script], allotment=strict, artifacts_dir="/artifacts"))
    assert told.outcome.outcome.reason is Reason.NONZERO_RETURN_CODE
    assert "Operation not permitted" in told.outcome.outcome.message
    assert told.artifacts == {"/artifacts/a": b"x\n"}
    told = await agent.do(claim_of(args=["sh", "-c", script]))
    assert told.outcome.outcome == Succeeded(exit_code=0)


async def test_a_job_that_needs_more_memory_than_its_class_gives_is_told_that_figure(agent, claim_of):
    """Not the machine's share."""
    args = ["sh", "-c", "while :; do x=$x$x.; done"]
    told = await agent.do(claim_of(args=args, allotment=Allotment(memory=32 * MIB)))
    assert told.outcome.outcome.reason is Reason.OUT_OF_MEMORY
    assert "32.0 MiB of memory" in told.outcome.outcome.message


async def test_an_executor_says_what_a_job_gets_and_logs_which_classes_are_not_given_to_it(
    agent_with, stand_in, caplog
):
    """Without classes of its own it offers whatever there is."""
    stand_in.refusals = {"lab.big": "a job gets 1 cores there, and the class promises 8"}
    with caplog.at_level(logging.WARNING, "horde_executor"):
        async with agent_with(classes=(), slots=2, memory=256 * MIB):
            await stand_in.until(lambda: "jobs of the class 'lab.big' are not given" in caplog.text)
    assert stand_in.refusals["lab.big"] in caplog.text
    offer = stand_in.offers[0]
    assert (offer.classes, offer.share.memory) == (None, 128 * MIB)


@pytest.mark.parametrize(
    ("given", "memory", "shm"),
    [
        (Allotment(), 100, 50),
        (Allotment(memory=40), 40, 20),
        (Allotment(memory=40, shm=30), 40, 30),
        (Allotment(shm=90), 100, 90),
        (Allotment(memory=400, shm=400), 100, 100),
    ],
)
def test_shared_memory_is_a_part_of_the_memory(given, memory, shm):
    """Half of it, unless the class says how much."""
    found = allotted(Share(memory=100, cpus=1, pids=10, shm=50), given)
    assert (found.memory, found.shm, found.pids) == (memory, shm, 10)
