"""Outputs of whole attempts: real containers, a real nginx, and a stand-in that remembers what it was told."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Self

import pytest

from horde_core.lifecycle import Status
from horde_core.outcomes import Fault, Reason, Stage, Succeeded, fault_of
from horde_core.wire.executor import ExposedEvent, Limits, ProgressEvent
from servers import nginx


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory):
    with nginx(tmp_path_factory.mktemp("nginx")) as served:
        yield served


@pytest.fixture
def working(agent_with, web):
    return lambda **changes: agent_with(allow_egress=(web.address,), **changes)


def put(url: str, path: str, when: str = "success", **fields) -> dict:
    return {"output_upload_type": "single_file_put", "url": url, "relative_path": path, "when": when, **fields}


def job(script: str, *uploads: dict, **spec) -> dict:
    return {"args": ["sh", "-c", script], "uploads": list(uploads), **spec}


def at(web, name: str) -> Path:
    return web.root / name


async def test_outputs_go_up_after_a_success(working, claim_of, web):
    """Files of any depth, and the logs under their two names; the answers come along with the outcome."""
    script = "mkdir /output/d; echo result > /output/d/r; echo out; echo err >&2; echo own > /output/stderr.txt"
    names = {"ok/r": "d/r", "ok/r2": "d/r", "ok/out": "stdout.txt", "ok/err": "stderr.txt"}
    uploads = [put(web.url(f"/{name}"), path) for name, path in names.items()]
    async with working() as agent:
        told = await agent.do(claim_of(**job(script, *uploads)))
        assert not told.returned
    report = told.outcome
    assert report.outcome == Succeeded(exit_code=0)
    assert {name: at(web, name).read_text() for name in names} == {
        "ok/r": "result\n", "ok/r2": "result\n", "ok/out": "out\n", "ok/err": "own\n"
    }  # fmt: skip
    assert [(answer.path, answer.status) for answer in report.uploads] == [(p, 201) for p in names.values()]
    assert "upload" in report.stage_seconds
    assert told.statuses == [Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE]


async def test_nothing_leaves_before_the_facilitator_knows_that_it_will(working, claim_of, web, stand_in):
    """A facilitator that does not hear of it holds the upload up. (This job is stopped at its limit, too.)"""

    def told_of_events() -> int:
        return sum("/events/" in request for request in stand_in.requests)

    script = "echo x > /output/x; sleep 60"
    claim = claim_of(Limits(grace_s=1), **job(script, put(web.url("/late"), "x"), execution_time_limit=1))
    async with working() as agent:
        told = await agent.give(claim)
        await stand_in.until(lambda: Status.VOLUMES_READY in told.statuses)
        stand_in.deaf_to, before = "/events/", told_of_events()
        await stand_in.until(lambda: told_of_events() > before + 3)
        assert not at(web, "late").exists()
        stand_in.deaf_to = ""
        await stand_in.until(lambda: told.outcome)
    assert told.outcome.outcome.stopped_at_limit
    assert at(web, "late").read_text() == "x\n"
    assert len([event for event in told.events.values() if isinstance(event, ExposedEvent)]) == 1


async def test_a_failed_job_sends_its_logs_and_what_is_always_sent(working, claim_of, web):
    """The rest stays: half of a result must not replace a good one. Problems do not hide the exit code."""
    uploads = [
        put(web.url("/fail/r"), "r"),
        put(web.url("/fail/checkpoint"), "c", "always"),
        put(web.url("/fail/log"), "stdout.txt"),
        put(web.url("/fail/missing"), "m", "always"),
    ]
    script = "echo half > /output/r; echo state > /output/c; echo why; exit 3"
    async with working() as agent:
        told = await agent.do(claim_of(**job(script, *uploads)))
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason, outcome.exit_code) == (Stage.EXECUTION, Reason.NONZERO_RETURN_CODE, 3)
    problems = {"/output/m": "/output/m is not there: the job did not write it"}
    assert outcome.context == {"upload_problems": problems}
    assert not at(web, "fail/r").exists()
    assert at(web, "fail/checkpoint").read_text() == "state\n"
    assert at(web, "fail/log").read_text() == "why\n"


async def test_an_output_that_is_missing_or_refused_fails_the_job_and_the_others_go_up(working, claim_of, web):
    uploads = [
        put(web.url("/mixed/good"), "good"),
        put(web.url("/refused/x?sig=SECRET-SECRET"), "good"),
        put(web.url("/mixed/none"), "none"),
        put("http://127.0.0.1:1/x?sig=SECRET-SECRET", "good"),
    ]
    async with working() as agent:
        told = await agent.do(claim_of(**job("echo x > /output/good", *uploads)))
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason, outcome.exit_code) == (Stage.UPLOAD, Reason.UPLOAD_FAILED, 0)
    assert fault_of(outcome.reason) is Fault.JOB
    assert outcome.message == "/output/none is not there: the job did not write it"
    assert set(outcome.context["upload_problems"]) == {"/output/none", "/output/good"}
    assert at(web, "mixed/good").read_text() == "x\n"
    assert sorted(answer.status for answer in told.outcome.uploads) == [201, 403]
    assert "SECRET" not in told.outcome.model_dump_json()


async def test_evil_outputs_of_a_real_container_are_not_sent(working, claim_of, web):
    script = (
        "cd /output; ln -s /etc/passwd link; echo x > f; ln f hard; mkfifo pipe; mkdir d;"
        " dd if=/dev/zero of=holes bs=1 count=1 seek=900000000000 2>/dev/null"
    )
    names = ("link", "hard", "pipe", "d", "holes")
    async with working() as agent:
        told = await agent.do(claim_of(**job(script, *(put(web.url(f"/evil/{n}"), n) for n in names))))
    assert set(told.outcome.outcome.context["upload_problems"]) == {f"/output/{name}" for name in names}
    assert not at(web, "evil").exists()
    assert not [event for event in told.events.values() if isinstance(event, ExposedEvent)]


class Deaf:
    """A server that takes connections and reads nothing."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connected = threading.Semaphore(0)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connected.release()

    def is_left(self) -> bool:
        """Whether the client of the first connection has closed it."""
        self._open[0].settimeout(10)
        while self._open[0].recv(1 << 20):
            pass
        return True

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join()


BIG = "dd if=/dev/zero of=/output/big bs=1M count=20 2>/dev/null"


async def test_the_upload_limit_ends_the_transfer_and_fails_the_job(agent_with, claim_of):
    """In mid-transfer, on a clock of its own, the job's fault; nothing is left running."""
    with Deaf() as server:
        async with agent_with(allow_egress=(server.address,)) as agent:
            url = f"http://{server.address}/x?sig=SECRET-SECRET"
            told = await agent.do(claim_of(**job(BIG, put(url, "big"), upload_time_limit=1)))
            assert await asyncio.to_thread(server.is_left)
        outcome = told.outcome.outcome
        assert (outcome.stage, outcome.reason, outcome.exit_code) == (Stage.UPLOAD, Reason.TIMEOUT, 0)
        assert fault_of(outcome.reason) is Fault.JOB
        assert "upload limit of 1 s was reached" in outcome.message
        assert "missing: /output/big" in outcome.message
        assert 1 <= told.outcome.stage_seconds["upload"] < 2
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("send ")]


async def test_a_cancel_ends_the_transfer_at_once(agent_with, claim_of, stand_in):
    with Deaf() as server:
        async with agent_with(allow_egress=(server.address,)) as agent:
            told = await agent.give(claim_of(**job(BIG, put(f"http://{server.address}/x", "big", "always"))))
            assert await asyncio.to_thread(server.connected.acquire, timeout=20)
            stand_in.cancel.set()
            assert await asyncio.to_thread(server.is_left)
            await stand_in.until(lambda: told.outcome)
    outcome = told.outcome.outcome
    assert (outcome.stage, outcome.reason) == (Stage.UPLOAD, Reason.CANCELLED)
    assert told.outcome.stage_seconds["upload"] < 5


async def test_a_job_that_was_cancelled_still_sends_what_is_always_sent(working, claim_of, web, stand_in):
    """What a user wants in any case is wanted then, too; the cancel is what the outcome says."""
    script = "trap 'echo state > /output/c; exit 1' TERM; echo ready; sleep 60 & wait"
    async with working() as agent:
        told = await agent.give(
            claim_of(Limits(grace_s=5), **job(script, put(web.url("/cancel/c"), "c", "always")))
        )
        await stand_in.until(lambda: told.logs["stdout"])
        stand_in.cancel.set()
        await stand_in.until(lambda: told.outcome)
    assert told.outcome.outcome.reason is Reason.CANCELLED
    assert told.outcome.outcome.stage is Stage.EXECUTION
    assert at(web, "cancel/c").read_text() == "state\n"


async def test_a_log_that_was_cut_goes_up_as_it_was_kept(working, claim_of, web):
    """Beginning and end, with a mark between them; what is kept is the same for the log itself."""
    limits = Limits(grace_s=1, log_bytes=10_000)
    script = "i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done"
    async with working() as agent:
        told = await agent.do(claim_of(limits, **job(script, put(web.url("/cut/log"), "stdout.txt"))))
    whole = "".join(f"line {n}\n" for n in range(10_000)).encode()
    dropped = len(whole) - 10_000
    mark = b"\n[... %d bytes left out ...]\n" % dropped
    assert at(web, "cut/log").read_bytes() == whole[:5000] + mark + whole[-5000:]
    assert told.outcome.logs["stdout"].dropped == dropped


async def test_progress_of_uploads_is_told(working, claim_of, web):
    async with working() as agent:
        told = await agent.do(claim_of(**job(BIG, put(web.url("/progress/big"), "big"))))
    shown = [e for e in told.events.values() if isinstance(e, ProgressEvent) and e.stage is Stage.UPLOAD]
    assert max(event.speed or 0 for event in shown) > 0
    assert shown
    assert {event.total for event in shown} == {20 * 2**20}
    assert at(web, "progress/big").stat().st_size == 20 * 2**20
