"""A job with data: a script and two tables go in, logs are seen while it runs, and files come out.

usage: python examples/weather.py DAILY.csv HOURLY_URL [DIRECTORY]        while `horde up` runs in another terminal

The script and the daily table travel inside the request; the hourly table is fetched from its URL by the executor,
if the operator allows that address: `horde up --allow-egress HOST:PORT`.
"""

import asyncio
import os
import sys
from pathlib import Path

import compute_horde_sdk.v1 as horde

SCRIPT = Path(__file__).with_name("weather.sh")


def weather_job(daily: Path, hourly_url: str) -> horde.ComputeHordeJobSpec:
    """Everything that the job is: what runs, with which data, and what it leaves."""
    return horde.ComputeHordeJobSpec(
        executor_class=horde.ExecutorClass.always_on__test,
        job_namespace="EXAMPLES.1",
        docker_image=os.environ.get("EXAMPLE_IMAGE", "busybox:1"),
        args=["sh", "/volume/script/weather.sh", f"/volume/data/{daily.name}", "/volume/web.csv", "/artifacts"],
        artifacts_dir="/artifacts",
        input_volumes={
            "/volume/script": horde.InlineInputVolume.from_file(SCRIPT),  # a directory that holds the file
            "/volume/data": horde.InlineInputVolume.from_file(daily, compress=True),
            "/volume/web.csv": horde.HTTPInputVolume(url=hourly_url),  # a file of this name
        },
        download_time_limit_sec=30,
        execution_time_limit_sec=60,
        upload_time_limit_sec=10,
    )


async def main(daily: str, hourly_url: str, directory: str = ".") -> None:
    """Run the job, print its log while it runs, and save what it wrote."""
    async with horde.ComputeHordeClient.from_config() as client:
        job = await client.create_job(weather_job(Path(daily), hourly_url))
        async for line in job.logs():
            print(f"[{line.stream}] {line.text}")
        await job.wait()
        if job.error:
            sys.exit(f"{job.status.value} at {job.error.stage}: {job.error.message}")
        for path, file in (await job.download_artifacts(directory)).items():
            print(f"{path} -> {file}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
