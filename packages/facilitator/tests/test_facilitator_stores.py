"""The contracts of the blob store, of the bus, and of what readers see of a log."""

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_facilitator.blobs import artifact_key, attempt_prefix, log_key
from horde_facilitator.bus import LocalBus
from horde_facilitator.directory import DirectoryBlobs
from horde_facilitator.errors import StoreError
from horde_facilitator.logview import LogView


@pytest.fixture
async def blobs(tmp_path):
    """The stores to which the contract applies."""
    async with DirectoryBlobs.opened(tmp_path / "blobs") as store:
        yield store


async def whole(blobs, key: str, piece: int = 7) -> bytes:
    size = await blobs.size(key)
    return b"".join([data async for data in blobs.read(key, 0, size, piece)])


async def test_a_blob_is_complete_or_absent(blobs, tmp_path):
    """It appears under its key only when it is kept; what is not kept leaves nothing."""
    key = artifact_key("j", 1, "0" * 64)
    data = bytes(range(256)) * 10_000
    async with blobs.receive() as incoming:
        for start in range(0, len(data), 65_536):
            await incoming.add(data[start : start + 65_536])
        stored = await incoming.finish()
        assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert await blobs.size(key) is None
        await incoming.keep(key)
    assert await whole(blobs, key, 100_000) == data
    async with blobs.receive() as incoming:
        await incoming.add(b"half")
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


async def test_appends_skip_what_is_there_and_refuse_gaps(blobs):
    """Repeats change nothing; bytes beyond the end are not written."""
    key = log_key("j", 1, "stdout")
    assert await blobs.size(key) is None
    assert await blobs.append(key, 5, b"gap") == 0
    assert await blobs.append(key, 0, b"") == 0
    assert await blobs.append(key, 0, b"hello") == 5
    assert await blobs.append(key, 0, b"hello") == 5
    assert await blobs.append(key, 3, b"lo world") == 11
    assert await blobs.append(key, 20, b"gap") == 11
    await asyncio.gather(*(blobs.append(key, 11, b"!!!") for _ in range(20)))
    assert await blobs.append(key, 14, b"?", sync=False) == 15
    await blobs.sync(key)
    await blobs.sync(log_key("j", 1, "stderr"))
    assert await whole(blobs, key) == b"hello world!!!?"


async def test_pieces_have_exactly_their_size(blobs):
    """All but the last, so that pieces of base64 can be joined."""
    key = log_key("j", 1, "stdout")
    await blobs.append(key, 0, b"0123456789")
    assert [data async for data in blobs.read(key, 1, 9, 3)] == [b"123", b"456", b"78"]
    with pytest.raises(StoreError):
        assert [data async for data in blobs.read(key, 5, 11, 3)]
    with pytest.raises(StoreError):
        assert [data async for data in blobs.read("j/1/none", 0, 1, 3)]


async def test_deleting_removes_one_attempt_and_may_be_repeated(blobs):
    """Others keep theirs; writing again after it is possible."""
    for attempt in (1, 11):
        await blobs.append(log_key("j", attempt, "stdout"), 0, b"x")
    for _ in range(2):
        await blobs.delete(attempt_prefix("j", 1))
        assert await blobs.size(log_key("j", 1, "stdout")) is None
        assert await blobs.size(log_key("j", 11, "stdout")) == 1
    await blobs.delete(attempt_prefix("j", 11))
    assert await blobs.append(log_key("j", 2, "stdout"), 0, b"x") == 1


async def test_wake_ups_melt_into_one_and_none_is_lost():
    """What woke while nobody waited is told by the next wait; topics of others are not."""
    bus = LocalBus()
    with bus.listen(["a", "b"]) as listener:
        for _ in range(3):
            bus.wake(["a", "c"])
        bus.wake(["b"])
        assert await listener.wait(0) == {"a", "b"}
        assert await listener.wait(0) == set()
        waiting = asyncio.create_task(listener.wait(10))
        await asyncio.sleep(0)
        bus.wake(["a"])
        assert await waiting == {"a"}
        listener.drop("a")
        bus.wake(["a", "b"])
        assert await listener.wait(0) == {"b"}
        bus.close()
        assert listener.ended
        assert await listener.wait(10) == set()
    with bus.listen(["a"]) as late:
        assert late.ended


@given(
    head=st.binary(max_size=20),
    tail=st.binary(max_size=20),
    dropped=st.integers(0, 1000),
    start=st.integers(0, 80),
    length=st.integers(0, 80),
)
def test_every_range_of_a_log_is_the_same_bytes_as_of_the_whole(head, tail, dropped, start, length):
    """Head, mark and tail read as one text, from wherever one begins."""
    view = LogView(len(head + tail), len(head), dropped)
    text = head + view.mark + tail
    stored = head + tail
    seen = b"".join(piece.mark or stored[piece.start : piece.stop] for piece in view.pieces(start, start + length))
    assert view.length == len(text)
    assert seen == text[start : start + length]
