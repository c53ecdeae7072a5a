"""What TLS costs a job: `echo hi` through a horde that speaks plain HTTP and one that speaks HTTPS, in turn.

    python tests/bench/tls.py [--rounds 20]

Both are a `horde up` of their own on loopback with one slot; one has an own CA. A job goes from `create_job` to
the return of `wait()`, by a client whose connections are open. One warm-up round is not counted.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from latency import horde_job, row

from compute_horde_sdk.v1 import ComputeHordeClient
from processes import IMAGE, ROOT, Horde, running

KINDS = {"plain HTTP": (), "HTTPS": ("--tls-name", "localhost")}


async def main(rounds: int) -> None:
    """Run the rounds and print the table."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clients: dict[str, ComputeHordeClient] = {}
        for number, (kind, options) in enumerate(KINDS.items()):
            up = stack.enter_context(running(Horde(data / str(number), *options)))
            up.ready()
            clients[kind] = await stack.enter_async_context(ComputeHordeClient.from_config(up.config))
        for index in range(rounds + 1):
            for kind in sorted(KINDS, reverse=index % 2 == 0):
                seconds, _ = await horde_job(clients[kind])
                if index:
                    times[kind].append(seconds)
    print(f"{'milliseconds':24} {'median':>8} {'min':>8} {'p90':>8} {'max':>8}")
    for kind, values in times.items():
        print(row(kind, values))
    pairs = list(zip(times["HTTPS"], times["plain HTTP"], strict=True))
    ratio = statistics.median(tls / plain for tls, plain in pairs)
    difference = statistics.median(1000 * (tls - plain) for tls, plain in pairs)
    print(f"HTTPS / plain, median of {rounds} pairs: {ratio:.2f}; difference {difference:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    subprocess.run([ROOT / "scripts" / "busybox-image", IMAGE], check=True, stdout=subprocess.DEVNULL)
    asyncio.run(main(parser.parse_args().rounds))
