"""How soon `wait()` returns after a container ended, over many jobs, with 200 waits open on the one client.

    python tests/bench/notice.py [--jobs 500] [--waits 200] [--slots 2]

Two spans are shown: from the engine's own FinishedAt, and from the moment at which the engine said that the
container died. What lies between is the engine's. All clocks are this machine's.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiodocker
from latency import SPEC

from compute_horde_sdk.v1 import ComputeHordeClient
from processes import Horde, running


@dataclass(frozen=True)
class Death:
    """When a container ended, and when the engine said so; seconds of UNIX time."""

    finished: float
    told: float


async def deaths(docker: aiodocker.Docker, ended: dict[str, Death]) -> None:
    """Note when each job's container ended. One that is removed before it can be looked at is left out."""
    subscriber = docker.events.subscribe(create_task=False)
    task = asyncio.create_task(docker.events.run(filters={"event": ["die"]}))
    try:
        while event := await subscriber.get():
            job = event["Actor"]["Attributes"].get("org.computehorde.job")
            if job:
                with suppress(aiodocker.DockerError):
                    container = await docker.containers.container(event["Actor"]["ID"]).show()
                    finished = container["State"]["FinishedAt"]  # nanoseconds, which fromisoformat cannot read
                    at = datetime.fromisoformat(finished[:26] + "+00:00").timestamp()
                    ended[job] = Death(at, event["timeNano"] / 1e9)
    finally:
        task.cancel()


async def one(client: ComputeHordeClient, gate: asyncio.Semaphore) -> tuple[str, float]:
    """Run a job; returns its id and the wall time at which wait() returned."""
    async with gate:
        job = await client.create_job(SPEC)
        await job.wait(timeout=300)
        assert job.status.is_successful(), job.error
        return job.uuid, time.time()


async def main(jobs: int, waits: int, slots: int) -> None:
    """Run the jobs and print the percentiles."""
    ended: dict[str, Death] = {}
    with tempfile.TemporaryDirectory() as data, running(Horde(Path(data) / "horde", "--slots", str(slots))) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client, aiodocker.Docker() as docker:
            watcher = asyncio.create_task(deaths(docker, ended))
            gate = asyncio.Semaphore(waits)
            started = time.perf_counter()
            returned = dict(await asyncio.gather(*(one(client, gate) for _ in range(jobs))))
            seconds = time.perf_counter() - started
            watcher.cancel()
    print(f"{datetime.now(UTC):%Y-%m-%d}: {jobs} jobs, {waits} waits, {slots} slots, {jobs / seconds:.1f} jobs/s")
    seen = [(death, returned[job]) for job, death in ended.items() if job in returned]
    print(f"{len(seen)} containers seen; milliseconds")
    show("FinishedAt → the engine says it", [death.told - death.finished for death, _ in seen])
    show("the engine says it → wait() returned", [at - death.told for death, at in seen])
    show("FinishedAt → wait() returned", [at - death.finished for death, at in seen])


def show(what: str, seconds: list[float]) -> None:
    """Print the percentiles of a span."""
    ms = sorted(1000 * s for s in seconds)
    points = {q: ms[min(len(ms) - 1, int(q / 100 * len(ms)))] for q in (50, 90, 99, 100)}
    print(f"{what:38} " + "  ".join(f"p{q} {v:6.1f}" for q, v in points.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--waits", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.waits, options.slots))
