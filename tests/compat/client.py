"""Run by the tests in an environment of its own: whatever client is installed there, against a horde.

usage: client.py GIVEN SCENARIO...    GIVEN is a JSON object with the fields of `Given`

Runs the scenarios side by side and prints what the client's user gets to see of each, as a JSON object by name.
Nothing in here belongs to the project: the clients are used as their users use them, only the URL differs.
"""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bittensor_wallet

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeError,
    ComputeHordeJob,
    ComputeHordeJobSpec,
    ExecutorClass,
    HTTPInputVolume,
    InlineInputVolume,
)

PATIENCE_S = 100


@dataclass
class Given:
    """Where the horde is and what lies around it. `poor` and `lister` name hotkeys that may spend nothing."""

    url: str
    wallets: str
    image: str
    hotkey: str = "default"
    poor: str = ""
    lister: str = ""
    executor_class: str = ExecutorClass.always_on__gpu_24gb
    files: str = ""
    slow: str = ""
    dead: str = ""
    directory: str = ""

    def client(self, hotkey: str | None = None) -> ComputeHordeClient:
        wallet = bittensor_wallet.Wallet(name="horde", hotkey=hotkey or self.hotkey, path=self.wallets)
        address = wallet.hotkey.ss58_address
        return ComputeHordeClient(wallet.hotkey, compute_horde_validator_hotkey=address, facilitator_url=self.url)

    def spec(self, script: str = "echo hi", **fields: Any) -> ComputeHordeJobSpec:
        defaults: dict[str, Any] = {
            "executor_class": self.executor_class,
            "job_namespace": "SN123.0",
            "docker_image": self.image,
            "args": ["sh", "-c", script],
            "download_time_limit_sec": 10,
            "execution_time_limit_sec": 30,
            "upload_time_limit_sec": 10,
        }
        return ComputeHordeJobSpec(**{**defaults, **fields})


def seen(job: ComputeHordeJob) -> dict[str, Any]:
    """What the client shows of a job."""
    shown: dict[str, Any] = {"uuid": job.uuid, "status": str(job.status)}
    if job.result is not None:
        shown["stdout"], shown["stderr"] = job.result.stdout, job.result.stderr
        shown["artifacts"] = {path: data.decode() for path, data in job.result.artifacts.items()}
    if history := getattr(job, "status_history", None):  # from 0.0.16 on
        shown["history"] = [str(entry.status) for entry in history]
    if error := getattr(job, "error", None):
        shown["error"] = {"kind": type(error).__name__, **dataclasses.asdict(error)}
    return shown


async def ended(given: Given, spec: ComputeHordeJobSpec, hotkey: str | None = None) -> dict[str, Any]:
    job = await given.client(hotkey).create_job(spec)
    await job.wait(timeout=PATIENCE_S)
    return seen(job)


async def job(given: Given) -> dict[str, Any]:
    """Data in, logs and artifacts out, found again by its name and in the list."""
    client = given.client()
    spec = given.spec(
        "cat /volume/in/x; mkdir -p /out/a; echo y > /out/a/b; echo z >&2",
        artifacts_dir="/out",
        env={"KEY": "Łódź"},
        input_volumes={"/volume/in": InlineInputVolume.from_file_contents("x", b"hello")},
    )
    done = await client.run_until_complete(spec, timeout=PATIENCE_S)
    listed = {job.uuid for job in await client.get_jobs(page=1, page_size=100)}
    found = await client.get_job(done.uuid)
    return {**seen(found), "listed": done.uuid in listed, "sdk": version("compute-horde-sdk")}


async def nonzero(given: Given) -> dict[str, Any]:
    return await ended(given, given.spec("echo some > /out/x; echo why >&2; exit 3", artifacts_dir="/out"))


async def no_command(given: Given) -> dict[str, Any]:
    return await ended(given, given.spec(args=["no-such-command"]))


async def no_input(given: Given) -> dict[str, Any]:
    volumes = {"/volume/x": HTTPInputVolume(url=f"{given.files}/missing")}
    return await ended(given, given.spec(input_volumes=volumes))


async def slow_input(given: Given) -> dict[str, Any]:
    volumes = {"/volume/x": HTTPInputVolume(url=given.slow)}
    return await ended(given, given.spec(input_volumes=volumes, download_time_limit_sec=1))


async def no_registry(given: Given) -> dict[str, Any]:
    return await ended(given, given.spec(docker_image=f"{given.dead}/none:1"))


async def no_allowance(given: Given) -> dict[str, Any]:
    return await ended(given, given.spec(), given.poor)


async def at_the_limit(given: Given) -> dict[str, Any]:
    script = "echo begun; echo some > /out/x; exec sleep 60"
    return await ended(given, given.spec(script, artifacts_dir="/out", execution_time_limit_sec=1))


async def retried(given: Given) -> dict[str, Any]:
    """A job that fails until its input says something else."""
    name = f"input-{version('compute-horde-sdk')}"
    says = Path(given.directory) / name
    says.write_text("echo first; exit 1")
    attempts: list[ComputeHordeJob] = []

    async def mend_after_the_first_end(attempt: ComputeHordeJob) -> None:
        attempts.append(attempt)
        await attempt.wait(timeout=PATIENCE_S)
        says.write_text("echo second")

    spec = given.spec("sh /volume/x", input_volumes={"/volume/x": HTTPInputVolume(url=f"{given.files}/{name}")})
    last = await given.client().run_until_complete(
        spec, job_attempt_callback=mend_after_the_first_end, timeout=PATIENCE_S, max_attempts=3
    )
    return {"attempts": [seen(attempt) for attempt in attempts], "last": seen(last)}


async def given_up(given: Given) -> dict[str, Any]:
    """A job that fails as often as it is tried."""
    attempts: list[ComputeHordeJob] = []
    last = await given.client().run_until_complete(
        given.spec("exit 5"), job_attempt_callback=attempts.append, timeout=PATIENCE_S, max_attempts=2
    )
    return {"attempts": [attempt.uuid for attempt in attempts], "last": seen(last)}


async def pages(given: Given) -> dict[str, Any]:
    """More jobs than fit on a page; none of them is taken on, so that they cost nothing."""
    client = given.client(given.lister)
    created = [(await client.create_job(given.spec())).uuid for _ in range(23)]
    return {
        "created": created,
        "iterated": [job.uuid async for job in client.iter_jobs()],
        "second_of_nine": [job.uuid for job in await client.get_jobs(page=2, page_size=9)],
        "beyond": await raised(client.get_jobs(page=100)),
    }


async def callbacks(given: Given) -> dict[str, Any]:
    """Every step is told once, in order (from 0.0.16 on)."""
    told: list[str] = []
    job = await given.client().create_job(given.spec())
    await job.wait(timeout=PATIENCE_S, status_callback=lambda _job, entry: told.append(str(entry.status)))
    return {"told": told, **seen(job)}


async def refusals(given: Given) -> dict[str, Any]:
    """What the user reads when a request is refused."""
    client = given.client()
    return {
        "class": await raised(client.create_job(given.spec(executor_class="always_on.unknown"))),
        "limit": await raised(client.create_job(given.spec(execution_time_limit_sec=-1))),
        "image": await raised(client.create_job(given.spec(docker_image="Not An Image"))),
        "base64": await raised(
            client.create_job(given.spec(input_volumes={"/volume/x": InlineInputVolume(contents="%")}))
        ),
        "unknown": await raised(client.get_job("00000000-0000-0000-0000-000000000000")),
        "malformed": await raised(client.get_job("no-uuid")),
    }


async def too_large(given: Given) -> dict[str, Any]:
    """A request above the cap, of which the client must hear and must not send it again and again."""
    client = given.client()
    sent = paths_of(client)
    volumes = {"/volume/x": InlineInputVolume(contents="A" * (33 * 1024 * 1024))}
    told = await raised(client.create_job(given.spec(input_volumes=volumes)))
    return {"raised": told, "sent": sent.count("/api/v1/job-docker/")}


async def waited(given: Given) -> dict[str, Any]:
    """A job that ends when somebody puts a file into its `/output`."""
    script = "echo up; touch /output/up; while [ ! -e /output/go ]; do sleep 0.1; done; echo done"
    client = given.client()
    sent = paths_of(client)
    job = await client.create_job(given.spec(script))
    await job.wait(timeout=PATIENCE_S)
    return {**seen(job), "logins": sent.count("/auth/login")}


def paths_of(client: ComputeHordeClient) -> list[str]:
    """The path of every request that the client sends from now on."""
    paths: list[str] = []

    async def note(request: Any) -> None:
        paths.append(request.url.path)

    client._client.event_hooks["request"].append(note)  # the client has no public place for it
    return paths


async def raised(doing: Awaitable[object]) -> dict[str, str]:
    """The error that the client raises."""
    try:
        await doing
    except ComputeHordeError as error:
        return {"kind": type(error).__name__, "text": str(error)}
    return {"kind": "", "text": "nothing was raised"}


SCENARIOS: dict[str, Callable[[Given], Awaitable[dict[str, Any]]]] = {
    scenario.__name__: scenario
    for scenario in (
        job, nonzero, no_command, no_input, slow_input, no_registry, no_allowance, at_the_limit, retried, given_up,
        pages, callbacks, refusals, too_large, waited,
    )
}  # fmt: skip


async def main(given: str, *names: str) -> None:
    facts = Given(**json.loads(given))
    told = await asyncio.gather(*(SCENARIOS[name](facts) for name in names), return_exceptions=True)
    # One scenario that breaks must not hide what the others saw.
    shown = [what if isinstance(what, dict) else {"crashed": repr(what)} for what in told]
    print(json.dumps(dict(zip(names, shown, strict=True))))


asyncio.run(main(*sys.argv[1:]))
