"""What an attempt says: over real HTTP, to a stand-in that can fail, forget and fence."""

import asyncio
import hashlib
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horde_core.lifecycle import Status
from horde_core.outcomes import Stage
from horde_core.wire.executor import ClaimRequest, ProgressEvent, StatusEvent
from horde_executor.errors import FacilitatorError, Fenced
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.lease import Lease
from horde_executor.logs import LogSpool
from horde_executor.reporter import Reporter

ATTEMPT = Attempt("7d1f0000-0000-4000-8000-000000000001", 3)


def status(value: Status) -> StatusEvent:
    return StatusEvent(status=value, at_ns=time.time_ns())


@pytest.fixture
async def facilitator(stand_in, hotkey):
    async with Facilitator.connect(stand_in.url, hotkey) as facilitator:
        yield facilitator


@pytest.fixture
async def reporter(facilitator, tmp_path):
    reporter = Reporter(facilitator, ATTEMPT, log_cap=1000, spool=tmp_path)
    tasks = [asyncio.ensure_future(work()) for work in (reporter.send_events, reporter.send_logs)]
    yield reporter
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    reporter.close()


async def test_events_arrive_once_and_in_order_although_the_facilitator_fails(stand_in, reporter):
    """Errors of the server are outlived, a lost token is renewed, and every event keeps its number."""
    stand_in.faults = [503, 500, 429]
    reporter.event(status(Status.EXECUTOR_READY))
    reporter.event(status(Status.VOLUMES_READY))
    await stand_in.until(lambda: stand_in.told and len(stand_in.only().events) == 2)
    stand_in.tokens.clear()
    reporter.event(status(Status.EXECUTION_DONE))
    await stand_in.until(lambda: len(stand_in.only().events) == 3)
    order = [Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE]
    assert stand_in.only().statuses == order
    assert stand_in.logins == 2


async def test_what_is_held_goes_along_with_the_outcome_and_only_the_latest_progress_waits(stand_in, reporter):
    reporter.event(status(Status.VOLUMES_READY))
    async with asyncio.timeout(10):
        while reporter.unsent()[1]:  # noqa: ASYNC110 - the sender reads the acknowledgement and tells nobody
            await asyncio.sleep(0)
    for done in range(5):
        reporter.event(ProgressEvent(stage=Stage.DOWNLOAD, done=done), hold=True)
    done = status(Status.EXECUTION_DONE)
    reporter.event(done, hold=True)
    assert reporter.unsent() == (1, [ProgressEvent(stage=Stage.DOWNLOAD, done=4), done])


async def test_a_refusal_ends_the_senders(stand_in, facilitator, tmp_path):
    """409 stale_attempt becomes Fenced; any other refusal an error that is not repeated."""
    reporter = Reporter(facilitator, ATTEMPT, log_cap=1000, spool=tmp_path)
    reporter.event(status(Status.EXECUTOR_READY))
    stand_in.faults = [404]
    with pytest.raises(FacilitatorError, match="404"):
        await asyncio.wait_for(reporter.send_events(), 10)
    stand_in.fenced = True
    reporter.release()
    with pytest.raises(Fenced):
        await asyncio.wait_for(reporter.send_events(), 10)


async def test_output_arrives_while_the_job_runs_and_a_trickle_is_gathered(stand_in, reporter):
    """Many small pieces travel in few requests; each stream keeps its bytes exactly."""
    for _ in range(50):
        reporter.log("stdout", b"\x00\xff")
        reporter.log("stderr", b"e")
    await stand_in.until(lambda: stand_in.told and stand_in.only().logs["stdout"])
    assert stand_in.only().logs["stdout"] == b"\x00\xff" * 50
    reporter.log("stdout", b"end")
    reporter.end_logs()
    await stand_in.until(lambda: stand_in.only().logs["stdout"].endswith(b"end"))
    assert len([request for request in stand_in.requests if "/logs/" in request]) <= 4


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=20), st.integers(0, 50), st.data())
def test_a_stream_is_kept_as_its_head_and_its_tail(tmp_path_factory, sizes, cap, data):
    """Whatever a job writes and whenever it is sent: the delivered bytes are the first and the last ones."""
    written = os.urandom(sum(sizes))
    spool, position, delivered = LogSpool(tmp_path_factory.getbasetemp(), cap), 0, b""
    for size in sizes:
        spool.write(written[position : position + size])
        position += size
        if data.draw(st.booleans()):
            offset, piece = spool.next_piece(data.draw(st.integers(0, 30)))
            assert offset == len(delivered)
            delivered += piece
            spool.sent(len(piece))
    spool.end()
    while spool.pending:
        _, piece = spool.next_piece(7)
        delivered += piece
        spool.sent(len(piece))
    total = spool.total()
    assert total.size == len(delivered)
    assert total.size + total.dropped == len(written)
    if total.dropped:
        assert total.size == cap
        assert delivered == written[: total.head] + written[len(written) - (cap - total.head) :]
    else:
        assert delivered == written
    assert spool.last(5) == delivered[-5:]
    spool.close()


async def test_a_lease_is_confirmed_kept_and_tells_of_a_cancel(stand_in, facilitator):
    lease = Lease(ATTEMPT, confirm_s=5)
    keeping = asyncio.ensure_future(lease.keep(facilitator))
    await asyncio.wait_for(lease.confirmed.wait(), 10)
    assert not lease.cancelled.is_set()
    stand_in.cancel.set()
    await asyncio.wait_for(lease.cancelled.wait(), 10)
    lease.check()
    stand_in.fenced = True
    with pytest.raises(Fenced):
        await asyncio.wait_for(keeping, 10)


async def test_a_lease_ends_by_silence(hotkey, dead_port):
    """Nobody answers: after the time of the lease, and not much later, the attempt is given up."""
    async with Facilitator.connect(f"http://127.0.0.1:{dead_port}", hotkey) as facilitator:
        lease, began = Lease(ATTEMPT, confirm_s=0.6), time.monotonic()
        with pytest.raises(Fenced):
            await lease.keep(facilitator)
        assert 0.5 < time.monotonic() - began < 2
        with pytest.raises(Fenced):
            lease.check()


async def test_a_repeated_claim_gets_the_same_job_and_an_empty_queue_none(stand_in, facilitator, claim_of):
    offer = ClaimRequest(classes=["always_on.test"], slots=1, version="1", wait_s=0)
    assert await facilitator.claim("a", offer) is None
    stand_in.claims = [claim_of(), claim_of()]
    first = await facilitator.claim("b", offer)
    assert await facilitator.claim("b", offer) == first
    assert await facilitator.claim("c", offer) != first


async def test_an_artifact_is_streamed_and_a_failed_try_begins_anew(stand_in, facilitator):
    """The body is made afresh for every try, and odd characters of a path survive."""
    content = os.urandom(3_000_000)

    async def pieces():
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    stand_in.faults = [503]
    path = "/out/a dir/50% of #1? ż.bin"
    await facilitator.send_artifact(ATTEMPT, path, pieces, len(content), hashlib.sha256(content).hexdigest())
    assert stand_in.only().artifacts == {path: content}
