"""How soon `wait()` returns after a container ended, over many jobs, with 200 waits open on the one client.

    python tests/bench/notice.py [--jobs 500] [--waits 200] [--slots 2]

The end of a container is the engine's own FinishedAt, read from its events; both clocks are this machine's.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import aiodocker
from latency import SPEC

from compute_horde_sdk.v1 import ComputeHordeClient
from processes import Horde, running


async def deaths(docker: aiodocker.Docker, ended: dict[str, float]) -> None:
    """Note the time at which the engine says that each job's container died."""
    subscriber = docker.events.subscribe(create_task=False)
    task = asyncio.create_task(docker.events.run(filters={"event": ["die"]}))
    try:
        while event := await subscriber.get():
            attributes = event["Actor"]["Attributes"]
            job = next((v for k, v in attributes.items() if k.endswith(".job")), None)
            if job:
                ended[job] = event["timeNano"] / 1e9
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
    ended: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as data, running(Horde(Path(data) / "horde", "--slots", str(slots))) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client, aiodocker.Docker() as docker:
            watcher = asyncio.create_task(deaths(docker, ended))
            gate = asyncio.Semaphore(waits)
            started = time.perf_counter()
            returned = dict(await asyncio.gather(*(one(client, gate) for _ in range(jobs))))
            seconds = time.perf_counter() - started
            watcher.cancel()
    late = sorted(1000 * (at - ended[job]) for job, at in returned.items())
    p = {q: late[min(len(late) - 1, int(q / 100 * len(late)))] for q in (50, 90, 99, 100)}
    print(f"{datetime.now(UTC):%Y-%m-%d}: {jobs} jobs, {waits} waits, {slots} slots, {jobs / seconds:.1f} jobs/s")
    print("container ended → wait() returned, ms: " + ", ".join(f"p{q} {v:.1f}" for q, v in p.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--waits", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.waits, options.slots))
