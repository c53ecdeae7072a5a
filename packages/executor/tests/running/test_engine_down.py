"""An engine of our own that goes down while a job runs: the platform's failure, whatever the exit code says."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from horde_core.outcomes import Reason, Stage, Succeeded

# Without namespaces of its own a second engine takes away the machine's default bridge and leaves a mount behind.
ALONE = ("unshare", "--mount", "--net")


@dataclass
class OwnEngine:
    """A dockerd with everything of its own below one directory."""

    directory: Path
    image: bytes
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    def start(self) -> None:
        places = [f"--{name}={self.directory}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        nets = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        names = ["--containerd-namespace=horde-test", "--containerd-plugins-namespace=horde-test-plugins"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*ALONE, "dockerd", f"--host={self.url}", *places, *nets, *names], stdout=log, stderr=log
            )
        while subprocess.run(["docker", "-H", self.url, "version"], capture_output=True, check=False).returncode:
            assert self.process.poll() is None, (self.directory / "log").read_text()
        subprocess.run(
            ["docker", "-H", self.url, "load", "-q"], input=self.image, stdout=subprocess.DEVNULL, check=True
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def containers(self) -> list[str]:
        command = ["docker", "-H", self.url, "ps", "-aq"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def own_engine(image: str) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("no dockerd of our own can be started here")
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    # The engine's sockets lie deep below, and a socket's path may have 108 bytes.
    with tempfile.TemporaryDirectory(prefix="engine") as directory:
        engine = OwnEngine(Path(directory), saved)
        engine.start()
        yield engine
        engine.stop()


async def test_an_engine_that_goes_down_is_the_hordes_failure(agent_with, claim_of, stand_in, own_engine):
    """The job that it takes along fails by the horde's fault; when it is back the next job runs, all is clean."""
    async with agent_with(docker_url=own_engine.url) as agent:
        told = await agent.give(claim_of(args=["sh", "-c", "echo on; trap 'exit 143' TERM; sleep 60 & wait"]))
        await stand_in.until(lambda: told.logs["stdout"])
        await asyncio.to_thread(own_engine.stop)
        await stand_in.until(lambda: told.outcome)
        assert (told.outcome.outcome.stage, told.outcome.outcome.reason) == (
            Stage.EXECUTION,
            Reason.EXECUTOR_ERROR,
        )
        assert told.logs["stdout"] == b"on\n"

        claims = len(stand_in.offers)
        later = await agent.give(claim_of(args=["echo", "again"]))
        assert len(stand_in.offers) == claims, "a job was claimed without an engine"
        await asyncio.to_thread(own_engine.start)
        await stand_in.until(lambda: later.outcome)
        assert later.outcome.outcome == Succeeded(exit_code=0)
    assert own_engine.containers() == []
