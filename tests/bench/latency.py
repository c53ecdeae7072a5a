"""How long `echo hi` takes: this horde, `docker run`, and the bare Engine API, in interleaved rounds.

    python tests/bench/latency.py [--rounds 30]

One warm-up round is not counted. The horde is a `horde up` of its own with one slot; the job goes from
`create_job` to the return of `wait()`. `docker run` is the command line with `--rm --network none`. The bare API
sequence is create, attach, start, wait, delete over one kept-alive connection with the same isolation as a job
has (`NetworkDisabled` and `NetworkMode: none`). Stage times are the executor's own.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import aiodocker

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJob, ComputeHordeJobSpec, ExecutorClass
from processes import IMAGE, ROOT, Horde, running

SPEC = ComputeHordeJobSpec(
    executor_class=ExecutorClass.always_on__test,
    job_namespace="bench",
    docker_image=IMAGE,
    args=["echo", "hi"],
    download_time_limit_sec=10,
    execution_time_limit_sec=10,
    upload_time_limit_sec=10,
)


async def horde_job(client: ComputeHordeClient) -> tuple[float, ComputeHordeJob]:
    """Seconds from `create_job` to the return of `wait()`."""
    start = time.perf_counter()
    job = await client.create_job(SPEC)
    await job.wait(timeout=60)
    seconds = time.perf_counter() - start
    assert job.result is not None
    assert job.result.stdout == "hi\n", job.error
    return seconds, job


def docker_run() -> float:
    """Seconds of the docker command."""
    start = time.perf_counter()
    command = ["docker", "run", "--rm", "--network", "none", IMAGE, "echo", "hi"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout == b"hi\n"
    return time.perf_counter() - start


async def bare_api(docker: aiodocker.Docker) -> float:
    """Seconds of the bare sequence on the Engine API."""
    start = time.perf_counter()
    config = {
        "Image": IMAGE,
        "Cmd": ["echo", "hi"],
        "NetworkDisabled": True,
        "AttachStdout": True,
        "HostConfig": {"NetworkMode": "none"},
    }
    container = await docker.containers.create(config)
    async with container.attach(stdout=True, stderr=True) as stream:
        await stream._init()
        await container.start()
        message = await stream.read_out()
    assert message is not None
    assert message.data == b"hi\n"
    await container.wait()
    await container.delete(v=True)
    return time.perf_counter() - start


def row(name: str, seconds: list[float]) -> str:
    """One line of figures in milliseconds."""
    ms = sorted(1000 * s for s in seconds)
    return f"{name:24} {statistics.median(ms):8.1f} {ms[0]:8.1f} {ms[int(0.9 * (len(ms) - 1))]:8.1f} {ms[-1]:8.1f}"


async def main(rounds: int) -> None:
    """Run the rounds and print the table."""
    times: dict[str, list[float]] = {"horde": [], "docker run": [], "bare API": []}
    stages: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as data, running(Horde(Path(data) / "horde")) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client, aiodocker.Docker() as docker:
            for index in range(rounds + 1):
                seconds, job = await horde_job(client)
                command = await asyncio.to_thread(docker_run)
                api = await bare_api(docker)
                if index:
                    for name, value in zip(times, (seconds, command, api), strict=True):
                        times[name].append(value)
                    for stage, value in job.stage_seconds.items():
                        stages.setdefault(stage, []).append(value)
    print(f"{'milliseconds':24} {'median':>8} {'min':>8} {'p90':>8} {'max':>8}")
    for name, values in times.items():
        print(row(name, values))
    for stage, values in stages.items():
        print(row(f"  horde: {stage}", values))
    ratios = [h / d for h, d in zip(times["horde"], times["docker run"], strict=True)]
    print(f"horde / docker run, median of {rounds} pairs: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    asyncio.run(main(parser.parse_args().rounds))
