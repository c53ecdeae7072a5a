"""A large PUT to nginx on loopback: our sender and curl in turn, in seconds of wall clock and of CPU.

    python tests/bench/upload.py [--mib 1024] [--rounds 7]

Both read the same file from memory (/dev/shm), where nginx stores what it gets. The CPU is the sender's alone.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from horde_core.uploads import SingleFilePut
from horde_executor.egress import Egress
from horde_executor.send import send
from servers import Nginx, nginx

MIB = 1024**2


def timed(who: int, work: Callable[[], object]) -> tuple[float, float]:
    before, began = resource.getrusage(who), time.monotonic()
    work()
    wall, after = time.monotonic() - began, resource.getrusage(who)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(web: Nginx, file: Path) -> None:
    upload = SingleFilePut(output_upload_type="single_file_put", url=web.url("/ours"), relative_path="x")
    handle = os.open(file, os.O_RDONLY)
    try:
        result = asyncio.run(send(upload, handle, file.stat().st_size, egress=Egress.parse([web.address])))
    finally:
        os.close(handle)
    if result.problem:
        raise SystemExit(result.problem)


def curls(web: Nginx, file: Path) -> None:
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "-T", str(file), web.url("/curl")]
    subprocess.run(command, check=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=7)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place, nginx(Path(place) / "nginx") as web:
        file = Path(place) / "file"
        with file.open("wb") as filling:
            for _ in range(chosen.mib):
                filling.write(os.urandom(MIB))
        rounds = []
        for _ in range(chosen.rounds):
            mine = timed(resource.RUSAGE_SELF, lambda: ours(web, file))
            theirs = timed(resource.RUSAGE_CHILDREN, lambda: curls(web, file))
            rounds.append((mine, theirs))
        if (web.root / "ours").stat().st_size != file.stat().st_size:
            raise SystemExit("the file did not arrive whole")
    for name, index in (("ours", 0), ("curl", 1)):
        wall = statistics.median(pair[index][0] for pair in rounds)
        cpu = statistics.median(pair[index][1] for pair in rounds)
        print(f"{name}: {wall:.2f} s ({chosen.mib / wall:.0f} MiB/s), CPU {cpu:.2f} s")
    print(f"median of the ratios, ours to curl: {statistics.median(m[0] / t[0] for m, t in rounds):.2f}")


main()
