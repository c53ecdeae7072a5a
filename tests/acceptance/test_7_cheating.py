"""A copy on a machine that the operator trusts shows who forges results; the horde then goes without that one."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bittensor_wallet import Keypair, keyfile

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJob, ComputeHordeJobSpec, Difference, VerifiedRun
from processes import HORDE, Command, running

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(180)]
# A container sees where its files lie on its host, and so which of two executors runs it: this stands for forgery.
FORGED = "sed -n 's|.*/agent-\\([a-z]*\\)/.*|\\1|p' /proc/self/mountinfo | head -n1 > /out/who; echo 4 > /out/sum"
HONEST = "date; echo 4 > /out/sum"


class Place:
    """A facilitator, and executors that join it one by one."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.keys = {name: self._key(name) for name in ("user", "ordinary", "trusted")}
        roles = {"user": "user", "operator": "user", "executor": "ordinary", "trusted": "trusted"}
        admitted = [f"{role}={self.keys[name].ss58_address}" for role, name in roles.items()]
        words = [word for each in admitted for word in ("--admit", each)]
        command = Command(
            "facilitator", "--data", str(directory / "f"), "--port", "0", "--cheat-out", "30m", *words
        )
        self.url = stack.enter_context(running(command)).wait_for_line("ready ")

    def _key(self, name: str) -> Keypair:
        hotkey = Keypair.create_from_mnemonic(Keypair.generate_mnemonic())
        (self._directory / name).write_bytes(keyfile.serialized_keypair_to_keyfile_data(hotkey))
        return hotkey

    def address(self, name: str) -> str:
        return self.keys[name].ss58_address

    def join(self, name: str) -> None:
        """Start an executor and wait until it serves."""
        data, key = str(self._directory / f"agent-{name}"), str(self._directory / name)
        agent = Command("executor", "run", "--facilitator", self.url, "--data", data, "--hotkey", key)
        self._stack.enter_context(running(agent)).wait_for_line("ready ")

    def operate(self, *words: str) -> str:
        """Run a command as the operator."""
        command = [HORDE, *words, "--facilitator", self.url, "--hotkey", str(self._directory / "user")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def cordoned(self, name: str) -> str | None:
        """Why an executor gets no jobs, as operators see it."""
        found: list[dict[str, Any]] = json.loads(self.operate("executors", "--json"))["executors"]
        return next(it["cordoned"] for it in found if it["hotkey"] == self.address(name))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place(tmp_path, stack)


class Client(ComputeHordeClient):
    """A client that tells of the jobs that it creates."""

    created: asyncio.Queue[ComputeHordeJob]

    async def create_job(self, *args: Any, **kwargs: Any) -> ComputeHordeJob:
        job = await super().create_job(*args, **kwargs)
        self.created.put_nowait(job)
        return job


@pytest.fixture
async def client(place: Place) -> AsyncIterator[Client]:
    user = place.keys["user"]
    async with Client(user, user.ss58_address, facilitator_url=place.url) as client:
        client.created = asyncio.Queue()
        yield client


async def verified(
    client: Client, place: Place, *specs: ComputeHordeJobSpec
) -> list[VerifiedRun[ComputeHordeJob]]:
    """Verify jobs that the ordinary executor runs: the trusted one, which would take them too, comes only then."""
    runs = [asyncio.create_task(client.run_verified(spec, timeout=90)) for spec in specs]
    for _ in specs:
        await (await client.created.get()).wait()
    await asyncio.to_thread(place.join, "trusted")
    return await asyncio.gather(*runs)


async def test_a_forged_result_is_found_and_its_executor_taken_out(place, client, job_spec):
    """The difference is told by path; after the report jobs go elsewhere, until an operator dismisses it.

    Of an honest job the artifacts are equal, whatever it wrote otherwise, and a report changes nothing.
    """
    place.join("ordinary")
    specs = [job_spec(script, artifacts_dir="/out") for script in (FORGED, HONEST)]
    forged, honest = await verified(client, place, *specs)
    assert forged.differences == (Difference("/out/who", "content"),)
    assert forged.job.result.artifacts == {"/out/who": b"ordinary\n", "/out/sum": b"4\n"}
    assert forged.trusted_job.result.artifacts["/out/who"] == b"trusted\n"
    assert forged.image_digest == forged.job.image_digest == forged.trusted_job.image_digest
    assert (honest.equal, honest.differences) == (True, ())
    assert forged.is_independent
    assert honest.is_independent

    await client.report_cheated_job(honest.job.uuid, honest.trusted_job.uuid)
    assert (await client.cheat_report(honest.job.uuid)).state == "unfounded"
    assert place.cordoned("ordinary") is None
    await client.report_cheated_job(forged.job.uuid, forged.trusted_job.uuid)
    report = await client.cheat_report(forged.job.uuid)
    assert (report.state, report.executor_hotkey) == ("confirmed", place.address("ordinary"))
    assert timedelta(minutes=29) < report.out_until - report.reported_at < timedelta(minutes=31)
    assert place.cordoned("ordinary") == f"cheat report about job {forged.job.uuid}"
    for _ in range(2):
        job = await client.run_until_complete(specs[1], timeout=60)
        assert job.executor_hotkey == place.address("trusted")

    assert forged.job.uuid in place.operate("cheats")
    place.operate("cheats", "dismiss", forged.job.uuid[:8], "--why", "it only looked around")
    assert place.cordoned("ordinary") is None
    report = await client.cheat_report(forged.job.uuid)
    assert (report.state, report.why) == ("dismissed", "it only looked around")
    place.operate("cheats", "confirm", forged.job.uuid)
    assert place.cordoned("ordinary") is not None


async def test_the_machine_of_a_horde_up_is_its_own_reference(horde, job_spec):
    """One machine is enough to see whether a job is deterministic, and it is said that nothing else is shown."""
    async with ComputeHordeClient.from_config(horde.config) as client:
        run = await client.run_verified(job_spec("echo 4"), timeout=90)
    assert (run.equal, run.is_independent) == (True, False)
    assert run.job.executor_hotkey == run.trusted_job.executor_hotkey
