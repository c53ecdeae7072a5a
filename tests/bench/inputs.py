"""How fast inputs come, and what the cache saves.

    python tests/bench/inputs.py [--mib 2048] [--rounds 5] [--hub-mib 1024] [--jobs 10]

Everything comes from an nginx, or a hub, on loopback. Three parts, with what they are compared with in turn:

- one file to disk with its sha256, beside `curl` followed by `sha256sum` on what it wrote;
- a job with that file when the cache has it, beside the same job without inputs, in a `horde up` of its own;
- so many jobs at once that want one repository which nobody has yet: downloads counted at the hub.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeJobSpec,
    ExecutorClass,
    HTTPInputVolume,
    HuggingfaceInputVolume,
)
from horde_executor.cache import Cache, Wanted
from horde_executor.egress import Egress
from horde_executor.meter import Meter
from hub_server import HubServer
from processes import IMAGE, ROOT, Horde, running

MIB = 1024**2
SPEC = ComputeHordeJobSpec(
    executor_class=ExecutorClass.always_on__test,
    job_namespace="bench",
    docker_image=IMAGE,
    args=["true"],
    download_time_limit_sec=600,
    execution_time_limit_sec=60,
    upload_time_limit_sec=10,
)


@contextlib.contextmanager
def nginx(place: Path) -> Iterator[str]:
    """Serve `place`/root; yields HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (place / "nginx.conf").write_text(
        f"daemon off; pid {place}/pid; error_log {place}/error; user root; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; sendfile on; server {{ listen {address}; root {place}/root; }} }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    server = subprocess.Popen([program, "-e", place / "error", "-c", place / "nginx.conf"])
    try:
        ready = ["curl", "--silent", "--retry", "9", "--retry-connrefused", "--output", os.devnull]
        subprocess.run([*ready, f"http://{address}/big"], check=True)
        yield address
    finally:
        server.terminate()
        server.wait()


async def one_file(address: str, place: Path, rounds: int) -> None:
    """The file through the cache, and by curl and sha256sum, in turn; each begins with nothing on the disk."""
    times: dict[str, list[float]] = {"cache": [], "curl; sha256sum": []}
    url, target = f"http://{address}/big", place / "curl"
    for index in range(rounds + 1):
        if index % 2:
            times["curl; sha256sum"].append(await asyncio.to_thread(by_hand, url, target))
        async with Cache.opened(place / "cache", egress=Egress.parse([address]), budget=0) as cache:
            began = time.perf_counter()
            wanted = Wanted(label="big", url=url, name=None)
            blob = await cache.obtain(wanted, Meter().part(), limit=1 << 40)
            times["cache"].append(time.perf_counter() - began)
            cache.release(blob)
        if not index % 2:
            times["curl; sha256sum"].append(await asyncio.to_thread(by_hand, url, target))
    for name, seconds in times.items():
        print(row(name, seconds[1:]))
    pairs = zip(times["curl; sha256sum"][1:], times["cache"][1:], strict=True)
    print(f"speed of the cache / of curl; sha256sum, median: {statistics.median(a / b for a, b in pairs):.2f}")


def by_hand(url: str, target: Path) -> float:
    """Seconds of the two commands."""
    began = time.perf_counter()
    subprocess.run(["curl", "--silent", "--output", target, url], check=True)
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


async def second_job(address: str, place: Path, rounds: int) -> None:
    """A job whose file the cache has, and one without inputs, in turn, after the first job has fetched it."""
    with_file = replace(SPEC, input_volumes={"/volume/big": HTTPInputVolume(url=f"http://{address}/big")})
    times: dict[str, list[float]] = {"first job with the file": [], "job with it": [], "job without": []}
    with running(Horde(place / "horde", "--allow-egress", address)) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client:
            await job_s(client, SPEC)
            times["first job with the file"].append(await job_s(client, with_file))
            await asyncio.sleep(5)  # what arrived is brought to the disk, beside the next jobs otherwise
            for _ in range(rounds):
                times["job with it"].append(await job_s(client, with_file))
                times["job without"].append(await job_s(client, SPEC))
    for name, seconds in times.items():
        print(row(name, seconds))
    pairs = zip(times["job with it"], times["job without"], strict=True)
    print(f"more by the file that is there, median: {1000 * statistics.median(a - b for a, b in pairs):.0f} ms")


async def at_once(mib: int, jobs: int, place: Path) -> None:
    """So many jobs at once that want one repository."""
    hub = HubServer()
    hub.add("org/model", {"weights": os.urandom(mib * MIB), "config.json": b"{}"})
    model = HuggingfaceInputVolume(repo_id="org/model")
    spec = replace(SPEC, args=["ls", "/volume/m/weights"], input_volumes={"/volume/m": model})
    with hub.serving():
        allowed = [option for address in hub.addresses for option in ("--allow-egress", address)]
        up = Horde(place / "horde-hub", "--slots", str(jobs), "--hf-endpoint", hub.url, *allowed)
        with running(up):
            up.ready()
            async with ComputeHordeClient.from_config(up.config) as client:
                seconds = await asyncio.gather(*(job_s(client, spec) for _ in range(jobs)))
    print(row(f"{jobs} jobs, {mib} MiB", list(seconds)))
    print(f"downloads of the large file: {hub.downloads()}")


async def job_s(client: ComputeHordeClient, spec: ComputeHordeJobSpec) -> float:
    """Seconds from `create_job` to the return of `wait()`."""
    began = time.perf_counter()
    job = await client.create_job(spec)
    await job.wait(timeout=600)
    assert job.status.is_successful(), job.error
    return time.perf_counter() - began


def row(name: str, seconds: list[float]) -> str:
    """One line of figures in seconds."""
    return f"{name:26} median {statistics.median(seconds):7.2f}  min {min(seconds):7.2f}  max {max(seconds):7.2f}"


async def main(mib: int, rounds: int, hub_mib: int, jobs: int) -> None:
    """All three parts."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "root").mkdir()
        with (place / "root" / "big").open("wb") as big:
            for _ in range(mib):
                big.write(os.urandom(MIB))
        with nginx(place) as address:
            await one_file(address, place, rounds)
            await second_job(address, place, rounds)
        (place / "root" / "big").unlink()
        shutil.rmtree(place / "horde")
        await at_once(hub_mib, jobs, place)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hub-mib", type=int, default=1024)
    parser.add_argument("--jobs", type=int, default=10)
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    asked = parser.parse_args()
    asyncio.run(main(asked.mib, asked.rounds, asked.hub_mib, asked.jobs))
