"""kill -9 in mid-job: what was acknowledged is there, the lease gets a full period, the job goes on."""

import asyncio
import sys
from contextlib import asynccontextmanager

import httpx2

PROGRAM = """
import asyncio, sys
from pathlib import Path
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings
admit = {role: frozenset(names.split(",")) for role, names in zip(("user", "executor"), sys.argv[3:5])}
settings = Settings(Path(sys.argv[1]), port=int(sys.argv[2]), admit=admit, lease_s=4)
asyncio.run(serve(settings, ready=lambda url: print(url, flush=True)))
print("ended in order", flush=True)
"""


@asynccontextmanager
async def process(data, *people, port=0):
    """A facilitator in a process of its own; yields the process and its URL."""
    arguments = [sys.executable, "-c", PROGRAM, str(data), str(port), *(p.ss58_address for p in people)]
    started = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        url = (await asyncio.wait_for(started.stdout.readline(), 30)).decode().strip()
        yield started, url
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_a_killed_facilitator_goes_on_where_it_was(data, people):
    """The same token, the same lease, the same attempt; and the end is reached once."""
    user, executor = people("user", "executor")
    async with process(data, user.hotkey, executor.hotkey) as (first, url):
        for person in (user, executor):
            person.http = httpx2.AsyncClient(base_url=url, trust_env=False)
            await person.login()
        body = user.spec()
        headers = user.signed(body)
        job = (await user.post(body, headers)).json()["uuid"]
        hold = await (await executor.hold()).confirmed()
        await hold.events(0, "executor_ready", "volumes_ready")
        await hold.log("stdout", 0, b"before")
        await hold.artifact("/artifacts/x", b"x")
        first.kill()
        await first.wait()

    async with process(data, user.hotkey, executor.hotkey, port=int(url.rsplit(":", 1)[1])) as (second, _):
        assert (await user.job(job))["stdout"] == "before"
        assert (await user.post(body, headers)).json()["uuid"] == job
        assert (await hold.lease(wait_s=0.5)).status_code == 200
        assert (await hold.log("stdout", 6, b" after")).status_code == 204
        sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        report = {
            "first_seq": 2,
            "events": [{"kind": "status", "status": "execution_done", "at_ns": 1}],
            "logs": {"stdout": {"size": 12}},
            "artifacts": [{"path": "/artifacts/x", "size": 1, "sha256": sha256}],
        }
        assert (await hold.outcome(**report)).status_code == 204
        assert (await hold.outcome(**report)).status_code == 204
        result = await user.job(job)
        assert (result["status"], result["stdout"]) == ("Completed", "before after")
        assert [e["status"] for e in result["status_history"]].count("accepted") == 1
        second.terminate()
        assert b"ended in order" in await asyncio.wait_for(second.stdout.read(), 10)
        assert await second.wait() == 0
    for person in (user, executor):
        await person.http.aclose()
