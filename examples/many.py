"""Many jobs at once: hand in all of them, wait for all of them, put the answers together.

usage: python examples/many.py        while `horde up` runs in another terminal

Each job counts the primes of its own range. Jobs wait in the queue until a slot is free, so there may be
more of them than slots; `horde up --slots 4` runs four at a time.
"""

import asyncio
import os

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJobSpec, ExecutorClass

UP_TO = 20_000
PARTS = 8
COUNT = """
    BEGIN {
        for (n = from; n < to; n++) {
            prime = n > 1
            for (d = 2; d * d <= n && prime; d++) if (n % d == 0) prime = 0
            found += prime
        }
        print found + 0
    }
"""


def part(number: int) -> ComputeHordeJobSpec:
    """The job that counts the primes of one part."""
    size = UP_TO // PARTS
    borders = ["-v", f"from={number * size}", "-v", f"to={(number + 1) * size}"]
    return ComputeHordeJobSpec(
        executor_class=ExecutorClass.always_on__test,
        job_namespace="EXAMPLES.1",
        docker_image=os.environ.get("EXAMPLE_IMAGE", "busybox:1"),
        args=["awk", *borders, COUNT],
        download_time_limit_sec=10,
        execution_time_limit_sec=60,
        upload_time_limit_sec=10,
    )


async def primes(client: ComputeHordeClient, number: int) -> int:
    """Run one part and return its count; a part that the horde itself could not finish is tried again."""
    job = await client.run_until_complete(part(number), retry_on="horde")
    if job.result is None or not job.status.is_successful():
        raise RuntimeError(f"part {number} of {PARTS}: {job.error.message if job.error else job.status}")
    print(f"part {number}: {int(job.result.stdout):5} primes   (job {job.uuid})")
    return int(job.result.stdout)


async def main() -> None:
    """Count all primes below `UP_TO`."""
    async with ComputeHordeClient.from_config() as client:
        counts = await asyncio.gather(*(primes(client, number) for number in range(PARTS)))
    print(f"{sum(counts)} primes below {UP_TO}")


asyncio.run(main())
