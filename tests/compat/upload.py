"""Run by the tests in an environment of its own: a job with outputs, through whatever client is installed there.

usage: upload.py URL WALLETS IMAGE UPLOAD_URL    prints what became of the outputs, as JSON
"""

import asyncio
import json
import sys
from importlib.metadata import version

import bittensor_wallet

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJobSpec, ExecutorClass, HTTPOutputVolume


async def main(url: str, wallets: str, image: str, upload_url: str) -> None:
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
        args=["sh", "-c", "mkdir /output/d; echo result > /output/d/r; echo out"],
        output_volumes={
            f"/output/{name}": HTTPOutputVolume(http_method="PUT", url=f"{upload_url}/{name}")
            for name in ("d/r", "stdout.txt")
        },
        download_time_limit_sec=10,
        execution_time_limit_sec=30,
        upload_time_limit_sec=10,
    )
    job = await client.run_until_complete(spec, timeout=60)
    found = await client.get_job(job.uuid)
    assert found.result is not None
    results = {path: sorted(result.headers) for path, result in found.result.upload_results.items()}
    print(json.dumps({"sdk": version("compute-horde-sdk"), "status": str(job.status), "results": results}))


asyncio.run(main(*sys.argv[1:]))
