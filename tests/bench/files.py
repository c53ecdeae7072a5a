"""Large files both ways through a `horde up`, and what else suffers from it meanwhile.

    python tests/bench/files.py [--input-mib 1024] [--artifact-mb 300]

Three things, each with a probe in a process of its own that gets a job every 20 ms and watches the facilitator's
memory: a directory goes up as the input of a job; a job leaves three artifacts in a tree, which the SDK downloads
and checks; the JSON of a job with 50 MiB of artifacts is read as published clients read it. Needs room for about
five times the input and the artifacts.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from memory import pss_kib

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJob, ComputeHordeJobSpec, InlineInputVolume
from compute_horde_sdk.v1._transport import Call
from processes import IMAGE, ROOT, Horde, descendants, running

MB = 10**6
MIB = 1024**2
EVERY_S = 0.02
SPAWN = multiprocessing.get_context("spawn")


def spec(script: str, **fields: object) -> ComputeHordeJobSpec:
    limits = {f"{stage}_time_limit_sec": 600 for stage in ("download", "execution", "upload")}
    args = ["sh", "-c", script]
    return ComputeHordeJobSpec("always_on.test", "bench", IMAGE, args=args, **{**limits, **fields})


def facilitator_of(up: Horde) -> int:
    """The process id of the facilitator."""
    for pid in descendants(up.process.pid):
        if b"facilitator" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("there is no facilitator")


def probe(config: Path, uuid: str, pid: int, line: Connection) -> None:
    """Get the job every 20 ms until told to end; sends milliseconds, and KiB of memory before and at most."""

    async def main() -> None:
        times: list[float] = []
        async with ComputeHordeClient.from_config(config) as client:
            for _ in range(20):
                await client.get_job(uuid, whole=False)
            first = most = pss_kib(pid)
            line.send("ready")
            due = time.perf_counter()
            while not line.poll():
                due += EVERY_S
                await asyncio.sleep(max(0, due - time.perf_counter()))
                began = time.perf_counter()
                await client.get_job(uuid, whole=False)
                times.append(1000 * (time.perf_counter() - began))
                if len(times) % 5 == 0:
                    most = max(most, pss_kib(pid))
        line.send((times, first, most))

    asyncio.run(main())


@asynccontextmanager
async def probed(what: str, up: Horde, uuid: str) -> AsyncIterator[None]:
    """Probe while the context lasts, and print what came of it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=probe, args=(up.config, uuid, facilitator_of(up), theirs))
    process.start()
    await asyncio.to_thread(ours.recv)
    yield
    ours.send("end")
    times, first, most = await asyncio.to_thread(ours.recv)
    process.join()
    times.sort()
    p50, p99 = (times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
    print(
        f"{what}: facilitator {first / 1024:.0f} MiB before, {(most - first) / 1024:+.0f} MiB at most; "
        f"{len(times)} probes, ms: p50 {p50:.1f}, p99 {p99:.1f}, max {times[-1]:.1f}"
    )


def most_memory_kib() -> int:
    """The most memory that this process had since it was started, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def submit(config: Path, directory: Path, line: Connection) -> None:
    """Hand in a job with the directory; sends its id, seconds and the most memory of this process in MiB."""

    async def main() -> None:
        before = most_memory_kib()
        began = time.perf_counter()
        volume = InlineInputVolume.from_directory(directory)
        packed = time.perf_counter()
        async with ComputeHordeClient.from_config(config) as client:
            job = await client.create_job(
                spec("cat /volume/in/* | sha256sum", input_volumes={"/volume/in": volume})
            )
            created = time.perf_counter()
            again = await client.create_job(spec("true", input_volumes={"/volume/in": volume}))
            known = time.perf_counter()
            await again.cancel()
        memory = (most_memory_kib() - before) / 1024
        line.send((job.uuid, packed - began, created - packed, known - created, memory))

    asyncio.run(main())


async def measure_input(client: ComputeHordeClient, up: Horde, room: Path, size_mib: int, watched: str) -> None:
    """A directory of eight files as the input of a job."""
    digest = hashlib.sha256()
    (room / "in").mkdir()
    for number in range(8):
        data = os.urandom(size_mib * MIB // 8)
        (room / "in" / str(number)).write_bytes(data)
        digest.update(data)
    async with probed("input", up, watched):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=submit, args=(up.config, room / "in", theirs))
        process.start()
        uuid, pack_s, upload_s, again_s, memory = await asyncio.to_thread(ours.recv)
        process.join()
        job = await client.get_job(uuid)
        await job.wait(timeout=600)
    assert job.result is not None
    assert job.result.stdout.startswith(digest.hexdigest()), job.error
    print(
        f"input of {size_mib} MiB: packed at {size_mib / pack_s:.0f} MiB/s, "
        f"uploaded at {size_mib / upload_s:.0f}, "
        f"fetched and unpacked at {size_mib / job.stage_seconds['download']:.0f}; "
        f"{memory:.0f} MiB more in the SDK's process; the second job was created in {again_s:.2f} s"
    )


async def measure_artifacts(client: ComputeHordeClient, up: Horde, room: Path, size_mb: int, watched: str) -> None:
    """Three artifacts in a tree."""
    make = "mkdir -p /out/a/b && cd /out && for f in one a/two a/b/three; do head -c {} /dev/urandom > $f; done"
    script = make.format(size_mb * MB) + "; sha256sum one a/two a/b/three"
    async with probed("artifacts", up, watched):
        job = await client.create_job(spec(script, artifacts_dir="/out"))
        await job.wait(timeout=600)
        began = time.perf_counter()
        placed = await job.download_artifacts(room / "out")
        seconds = time.perf_counter() - began
    assert job.result is not None
    hashes = dict(reversed(line.split()) for line in job.result.stdout.splitlines())
    for path, file in placed.items():
        with file.open("rb") as content:
            assert hashlib.file_digest(content, "sha256").hexdigest() == hashes[path.removeprefix("/out/")]
    print(
        f"{len(placed)} artifacts of {size_mb} MB, hashes right: delivered at "
        f"{3 * size_mb / job.stage_seconds['collect']:.0f} MB/s, downloaded at {3 * size_mb / seconds:.0f}; "
        f"not in the result: {[(item.path, item.size) for item in job.result.truncated]}"
    )


async def measure_json(client: ComputeHordeClient, up: Horde, watched: str) -> None:
    """What published clients read: artifacts as base64 inside the JSON."""
    script = "cd /out; for n in 1 2 3 4 5; do head -c 10485760 /dev/urandom > $n; done"
    job: ComputeHordeJob = await client.create_job(spec(script, artifacts_dir="/out"))
    await job.wait(timeout=600)
    async with probed("JSON of 50 MiB", up, watched):
        began = time.perf_counter()
        async with client._transport.stream(Call("GET", f"/api/v1/jobs/{job.uuid}/")) as answer:
            text = b"".join([piece async for piece in answer.aiter_raw()])
        seconds = time.perf_counter() - began
    assert len(json.loads(text)["artifacts"]) == 5
    print(f"JSON of {len(text) / MIB:.0f} MiB read in {seconds:.2f} s")


async def main(input_mib: int, artifact_mb: int) -> None:
    with tempfile.TemporaryDirectory() as room, running(Horde(Path(room) / "horde")) as up:
        up.ready()
        async with ComputeHordeClient.from_config(up.config) as client:
            watched = await client.create_job(spec("echo hi"))
            await watched.wait(timeout=60)
            await measure_json(client, up, watched.uuid)
            await measure_artifacts(client, up, Path(room), artifact_mb, watched.uuid)
            await measure_input(client, up, Path(room), input_mib, watched.uuid)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input-mib", type=int, default=1024)
    parser.add_argument("--artifact-mb", type=int, default=300)
    wanted = parser.parse_args()
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    asyncio.run(main(wanted.input_mib, wanted.artifact_mb))
