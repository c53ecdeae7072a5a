"""How long the slowest answers of the client API take, from the last byte asked with to the first answered.

    python tests/bench/answers.py [--large 10] [--jobs 256]

Published clients give up 5 s after they have sent a request, unless the answer has begun. Two requests are large:
the creation of a job with 32 MiB of inline data, here one alone and then several at once; and the list of the
most jobs that fit on a page, each with logs and artifacts above what a list shows of them. No job runs: the
executor's part is played, and the facilitator is real.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from bittensor_wallet import Keypair

from horde_core.signing import Scope, sign_request
from processes import Command, running

CLASS = "always_on.test"
MIB = 1024**2
FACILITATOR = """
import asyncio, sys
from pathlib import Path
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings
data, user, executor = sys.argv[1:]
settings = Settings(Path(data), port=0, admit={"user": frozenset([user]), "executor": frozenset([executor])})
asyncio.run(serve(settings, ready=lambda url: print(f"ready {url}", flush=True)))
"""


class Person:
    """A hotkey that has logged in."""

    def __init__(self, name: str) -> None:
        self.hotkey = Keypair.create_from_uri(f"//{name}")
        self.headers: dict[str, str] = {}

    async def login(self, http: httpx2.AsyncClient) -> None:
        """Get a token."""
        nonce = (await http.get("/auth/nonce")).json()["nonce"]
        body = {
            "hotkey": self.hotkey.ss58_address,
            "signature": self.hotkey.sign(nonce.encode()).hex(),
            "nonce": nonce,
        }
        answer = await http.post("/auth/login", json=body)
        self.headers = {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}

    def signed(self, body: Mapping[str, Any]) -> dict[str, str]:
        """The headers of a signed request."""
        return self.headers | sign_request(body, Scope.SIGNED_FIELDS, self.hotkey, time.time_ns()).headers()


def spec(number: int, inline: int = 0) -> dict[str, Any]:
    """A job, with so many bytes of base64."""
    volume = {"volume_type": "inline", "contents": "A" * (inline // 4 * 4), "relative_path": "x"}
    return {
        "executor_class": CLASS,
        "docker_image": "a/b:1",
        "args": [str(number)],
        "artifacts_dir": "/out",
        "execution_time_limit": 1,
        "volumes": [volume] if inline else [],
    }


async def timed(
    url: str, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, float, float]:
    """The status, and the seconds from the last byte sent to the first byte and to the last byte of the answer."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    fields = {"Host": place.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    writer.writelines([head.encode(), b"\r\n", body])
    await writer.drain()
    began = time.perf_counter()
    status = await reader.readline()
    first = time.perf_counter()
    await reader.read()
    writer.close()
    return int(status.split()[1]), first - began, time.perf_counter() - began


async def create(url: str, user: Person, count: int) -> None:
    """Several of the largest creations at once."""
    bodies = [spec(number, 32 * MIB - 2000) for number in range(count)]
    requests = [(user.signed(body), json.dumps(body).encode()) for body in bodies]
    answers = await asyncio.gather(*(timed(url, "POST", "/api/v1/job-docker/", *request) for request in requests))
    statuses = dict(sorted(Counter(status for status, _, _ in answers).items()))
    show(f"{count} creations of 32 MiB at once", max(first for _, first, _ in answers), f"statuses {statuses}")


async def fill(http: httpx2.AsyncClient, user: Person, executor: Person, number: int) -> None:
    """A job that has ended with 64 KiB on each stream and two artifacts."""
    body = spec(number)
    await http.post("/api/v1/job-docker/", json=body, headers=user.signed(body))
    offer = {"classes": [CLASS], "slots": 1, "version": "1"}
    claim = (await http.put(f"/executor/v1/claims/{number}", json=offer, headers=executor.headers)).json()
    base = f"/executor/v1/attempts/{claim['job']}/{claim['attempt']}"
    data = b"some line of a log\n" * 3500
    for stream in ("stdout", "stderr"):
        await http.put(f"{base}/logs/{stream}/0", content=data, headers=executor.headers)
    artifacts = []
    for name, size in (("small", 20_000), ("large", 100_000)):
        content = data[:20_000] * (size // 20_000)
        entry = {"path": f"/out/{name}", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        headers = executor.headers | {"X-SHA256": entry["sha256"]}
        await http.put(f"{base}/artifacts/out/{name}", content=content, headers=headers)
        artifacts.append(entry)
    steps = ("executor_ready", "volumes_ready", "execution_done")
    report = {
        "outcome": {"kind": "succeeded", "exit_code": 0},
        "events": [{"kind": "status", "status": step, "at_ns": time.time_ns()} for step in steps],
        "logs": {stream: {"size": len(data)} for stream in ("stdout", "stderr")},
        "artifacts": artifacts,
    }
    answer = await http.put(f"{base}/outcome", json=report, headers=executor.headers)
    answer.raise_for_status()


async def main(large: int, jobs: int) -> None:
    """Measure and print."""
    user, executor = Person("user"), Person("executor")
    with tempfile.TemporaryDirectory() as directory:
        addresses = (user.hotkey.ss58_address, executor.hotkey.ss58_address)
        served = Command(f"{directory}/data", *addresses, program=[sys.executable, "-c", FACILITATOR])
        with running(served):
            url = served.wait_for_line("ready ")
            async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
                await user.login(http)
                await executor.login(http)
                for number in range(jobs):
                    await fill(http, user, executor, number)
            print(f"{datetime.now(UTC):%Y-%m-%d}: seconds to the first byte of the answer")
            _, first, last = await timed(url, "GET", f"/api/v1/jobs/?page_size={jobs}", user.headers, b"")
            show(f"a list of {jobs} jobs", first, f"{last:.2f} s to the last")
            await create(url, user, 1)
            await create(url, user, large)


def show(what: str, seconds: float, more: str) -> None:
    """Print one line."""
    print(f"{what:35} {seconds:6.2f}   {more}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=256)
    options = parser.parse_args()
    asyncio.run(main(options.large, options.jobs))
