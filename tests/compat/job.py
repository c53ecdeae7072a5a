"""Run by the tests in an environment of its own: one job through whatever client is installed there.

usage: job.py URL WALLETS IMAGE    prints what became of the job, as JSON
"""

import asyncio
import json
import sys
from importlib.metadata import version

import bittensor_wallet

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJobSpec, ExecutorClass, InlineInputVolume


async def main(url: str, wallets: str, image: str) -> None:
    wallet = bittensor_wallet.Wallet(name="horde", hotkey="default", path=wallets)
    client = ComputeHordeClient(
        hotkey=wallet.hotkey,
        compute_horde_validator_hotkey=wallet.hotkey.ss58_address,
        facilitator_url=url,
    )
    spec = ComputeHordeJobSpec(
        executor_class=ExecutorClass.always_on__gpu_24gb,
        job_namespace="SN123.0",
        docker_image=image,
        args=["sh", "-c", "cat /volume/in/x; mkdir -p /out/a; echo y > /out/a/b; echo z >&2"],
        artifacts_dir="/out",
        input_volumes={"/volume/in": InlineInputVolume.from_file_contents("x", b"hello")},
        download_time_limit_sec=10,
        execution_time_limit_sec=30,
        upload_time_limit_sec=10,
    )
    job = await client.run_until_complete(spec, timeout=60)
    found = await client.get_job(job.uuid)
    assert found.result is not None
    print(
        json.dumps(
            {
                "sdk": version("compute-horde-sdk"),
                "status": str(job.status),
                "stdout": found.result.stdout,
                "stderr": found.result.stderr,
                "artifacts": {path: data.decode() for path, data in found.result.artifacts.items()},
                "listed": job.uuid in [j.uuid for j in await client.get_jobs(page=1, page_size=10)],
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
