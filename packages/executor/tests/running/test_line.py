"""The first process of a container and the agent's line to it, in real containers."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from horde_core.outcomes import Succeeded
from horde_executor.container import Share, container_config
from horde_executor.engine import Engine
from horde_executor.line import Exit, Line

SURVIVOR = "sleep 60"
Started = tuple[str, Line, Mapping[str, asyncio.StreamReader]]


async def test_the_end_of_the_command_is_the_end_of_the_job(agent, claim_of):
    """What it left running holds up nothing, not even while it keeps the output open; every byte arrives."""
    began = time.monotonic()
    told = await agent.do(claim_of(args=["sh", "-c", f"({SURVIVOR}; echo late) & printf done"]))
    assert told.outcome.outcome == Succeeded(exit_code=0)
    assert told.logs["stdout"] == b"done"
    assert time.monotonic() - began < 30


async def test_the_command_starts_as_in_any_container(agent, claim_of):
    """Nothing of the line is in it: three descriptors, no signal blocked; orphans are reaped, signals arrive."""
    script = """
        echo fds $(ls /proc/self/fd | wc -l)
        grep SigBlk /proc/self/status
        (true & exec true) & wait
        until [ $(ps -o ppid,args | grep -c '^ *1 ') = 1 ]; do sleep 0.05; done
        echo zombies $(ps -o stat | grep -c Z)
        trap 'echo told; exit 0' TERM
        kill -TERM 1
        while :; do sleep 0.05; done
    """
    told = await agent.do(claim_of(args=["sh", "-c", script]))
    said = told.logs["stdout"].decode().splitlines()
    # `ls` has its own three and the directory that it reads.
    assert said == ["fds 4", "SigBlk:\t0000000000000000", "zombies 0", "told"]


@pytest.fixture
def started(engine: Engine, claim_of, tmp_path, hotkey) -> Callable[..., AbstractAsyncContextManager[Started]]:
    """Runs a command in a container and yields it with its line."""

    @asynccontextmanager
    async def start(*command: str, secrets: Mapping[str, str] | None = None) -> AsyncIterator[Started]:
        spec = claim_of().spec
        image = await engine.image(spec.docker_image)
        assert image
        async with Line.opened(tmp_path) as line:
            share, label = Share(2**28, 1, 64, 2**27), {"org.computehorde.executor": hotkey.ss58_address}
            config = container_config(spec, image, command, mounts=line.mounts, share=share, label=label)
            container = await engine.create(config)
            try:
                await engine.start(container)
                yield container, line, await line.release(secrets or {})
            finally:
                await engine.remove(container)
        (tmp_path / "line").unlink()

    return start


async def test_secret_variables_reach_the_command_alone(started, docker):
    """Of any size and also in the place of others; neither the engine nor the first process has them."""
    secrets = {"WORD": "ż=\n'", "LONG": "x" * 131_000, "PATH": "/bin:/secret", "EMPTY": ""}
    script = """
        printf '%s|%s|%s|%s|' "$WORD" ${#LONG} "$PATH" "${EMPTY-unset}"
        tr '\\0' '\\n' < /proc/1/environ | grep -cE '^(WORD|LONG|EMPTY)=|/secret'
    """
    async with started("sh", "-c", script, secrets=secrets) as (container, line, output):
        assert (await line.ended()).code == 1  # grep found nothing
        assert (await output["stdout"].read()).decode() == "ż=\n'|131000|/bin:/secret||0\n"
        env = docker("inspect", "--format", "{{json .Config.Env}}", container)
        assert not [word for word in ("WORD", "LONG", "EMPTY", "/secret") if word in env]


async def test_a_container_ends_with_its_agent(engine, started):
    """When the line breaks, because the agent died, the container is gone, whatever its command thinks of that."""
    stubborn = "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"
    async with started("sh", "-c", stubborn) as (container, line, output):
        assert await output["stdout"].readline() == b"up\n"
        line.close()
        async with asyncio.timeout(10):
            assert await engine.wait(container) == 125


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (["sh", "-c", "exit 7"], Exit(code=7)),
        (["sh", "-c", "kill -9 $$"], Exit(code=137)),
        (["nosuch"], Exit(errno=errno.ENOENT)),
        (["/tmp"], Exit(errno=errno.EACCES)),
    ],
    ids=["code", "signal", "missing", "directory"],
)
async def test_the_line_tells_how_the_command_ended(started, command, end):
    """The exit code, or 128 and the signal, or why there was nothing to execute."""
    async with started(*command) as (_, line, _):
        assert await line.ended() == end
