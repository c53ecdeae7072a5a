"""Large files both ways, over connections that break: what arrived is never sent again."""

import asyncio
import copy
import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeError,
    HTTPInputVolume,
    InlineInputVolume,
    blocking,
)
from compute_horde_sdk.v1._spec import uploads_of
from horde_core.outcomes import Succeeded
from horde_core.volumes import BlobVolume, InlineVolume

MIB = 1024**2
SIZE = 40 * MIB


class Breaking:
    """A TCP proxy that counts the bytes each way, and breaks a connection when so many have passed on it."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.up = self.down = self.broken = 0
        self.break_up: int | None = None
        self.break_down: int | None = None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        ways = {
            asyncio.create_task(self._pump(reader, far_writer, "up")),
            asyncio.create_task(self._pump(far_reader, writer, "down")),
        }
        with suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, far_writer):
            each.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        passed = 0
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            passed += len(data)
            setattr(self, way, getattr(self, way) + len(data))
            limit = getattr(self, f"break_{way}")
            if limit is not None and passed > limit:
                self.broken += 1
                return

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)


@pytest.fixture
async def breaking(url: str, hotkey) -> AsyncIterator[tuple[Breaking, ComputeHordeClient]]:
    """The proxy, and a client behind it."""
    proxy = Breaking(url)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=address) as client:
        yield proxy, client
        await proxy.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A directory with more than travels inside a job; its bytes are in no other test."""
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "src" / "deep" / "data").write_bytes(os.urandom(SIZE))
    return tmp_path / "src"


@asynccontextmanager
async def taken(executor, job) -> AsyncIterator[tuple[object, list]]:
    """The attempt that the job's executor got, with its volumes."""
    attempt = await executor.take()
    assert attempt.claim.job == job.uuid
    yield attempt, attempt.claim.spec.volumes
    await attempt.end(Succeeded(exit_code=0))


async def test_a_large_directory_goes_up_once_however_often_the_connection_breaks(breaking, executor, spec, large):
    """Each break costs what was on its way, no more; and the next job with it sends nothing at all."""
    proxy, client = breaking
    volume = InlineInputVolume.from_directory(large)
    told: list[tuple[int, int]] = []
    proxy.break_up = 7 * MIB
    job = await client.create_job(
        spec(input_volumes={"/volume/src": volume}),
        upload_callback=lambda done, total: told.append((done, total)),
    )
    assert proxy.broken >= 4
    assert volume.size < proxy.up < volume.size + proxy.broken * 2 * MIB
    assert told[-1] == (volume.size, volume.size)
    async with taken(executor, job) as (_, [named]):
        assert named == BlobVolume(
            volume_type="blob", sha256=sha256_of(volume), size=volume.size, relative_path="src", unpack=True
        )
    before = proxy.up
    again = InlineInputVolume.from_directory(large)
    job = await client.create_job(spec(input_volumes={"/volume/x": again, "/volume/y": volume}))
    async with taken(executor, job) as (_, volumes):
        assert {v.sha256 for v in volumes} == {named.sha256}
    assert proxy.up - before < 10_000


def sha256_of(volume: InlineInputVolume) -> str:
    return hashlib.sha256(b64decode(volume.contents)).hexdigest()


async def test_small_content_travels_inside_and_what_is_too_much_together_does_not(
    ours, proxy, executor, spec, monkeypatch
):
    """Volumes stay inside a job in their order, as long as they leave room for the rest."""
    monkeypatch.setattr("compute_horde_sdk.v1._spec.INLINE_TOTAL", 4000)
    volumes = {f"/volume/{n}": InlineInputVolume(contents=b64encode(bytes([n]) * 999).decode()) for n in range(6)}
    job = await ours.create_job(spec(input_volumes=volumes))
    async with taken(executor, job) as (_, found):
        assert [type(v) for v in found] == 4 * [InlineVolume] + 2 * [BlobVolume]
        assert [v.unpack for v in found[4:]] == [False, False]
    assert proxy.count("PUT /api/v1/blobs/") == 4, "one that asks for the room and one piece, each"


async def test_a_plain_file_is_itself_even_if_it_is_an_archive(ours, executor, spec, tmp_path):
    """Whether it travels in the job or goes up before it."""
    large = b"PK\x03\x04" + os.urandom(5 * MIB)
    for name, content in (("small", b"version=2"), ("zip", b"PK\x03\x04 and so on"), ("large", large)):
        (tmp_path / name).write_bytes(content)
    volumes = {f"/volume/{n}": InlineInputVolume.from_plain_file(tmp_path / n) for n in ("small", "zip", "large")}
    volumes["/volume/bytes"] = InlineInputVolume.from_bytes(large)
    job = await ours.create_job(spec(input_volumes=volumes))
    async with taken(executor, job) as (_, (small, packed, *blobs)):
        assert small.contents == b64encode(b"version=2").decode()
        assert packed.contents == b64encode(b"PK\x03\x04 and so on").decode()
        assert [small.is_zip, packed.is_zip] == [False, False]
        assert [(blob.size, blob.unpack) for blob in blobs] == [(len(large), False)] * 2


async def test_a_file_that_changed_before_it_was_uploaded_is_refused(ours, spec, tmp_path):
    """Its bytes are not those that were named."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5 * MIB))
    volumes = {"/volume/file": InlineInputVolume.from_plain_file(path)}
    with path.open("r+b") as file:
        file.write(b"other")
    with pytest.raises(ComputeHordeError, match="that arrived have the hash"):
        await ours.create_job(spec(input_volumes=volumes))
    path.write_bytes(b"short")
    with pytest.raises(ComputeHordeError, match="became shorter"):
        await ours.create_job(spec(input_volumes=volumes))


async def test_the_original_facilitator_takes_no_uploads(client, original, spec, large):
    """It says how much a job may carry, and creates nothing."""
    with pytest.raises(ComputeHordeError, match=r"4 MiB and all of a job 16 MiB; .*HTTPInputVolume"):
        await client.create_job(spec(input_volumes={"/volume/src": InlineInputVolume.from_directory(large)}))
    assert not original.jobs


def test_a_blocking_upload_tells_its_caller_in_the_callers_thread(url, hotkey, spec, tmp_path):
    """And the job is there when it is done."""
    (tmp_path / "file").write_bytes(os.urandom(5 * MIB))
    volume = InlineInputVolume.from_file(tmp_path / "file")
    told: list[int] = []
    with blocking.ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=url) as client:
        job = client.create_job(
            spec(input_volumes={"/volume/": volume}), upload_callback=lambda done, _: told.append(done)
        )
        assert told[-1] == volume.size
        job.cancel()


def test_a_packed_directory_is_a_value_like_others(large):
    """Equal content is an equal volume with an equal hash, and small and large ones look the same."""
    one, two = InlineInputVolume.from_directory(large), InlineInputVolume.from_directory(large)
    assert one == two == copy.deepcopy(one)
    assert one.content().sha256 == two.content().sha256 == sha256_of(one)
    assert InlineInputVolume.model_validate(one.model_dump()).contents == one.contents
    (large / "run.sh").write_text("#!/bin/bash\n")
    assert one != InlineInputVolume.from_directory(large)
    assert uploads_of({"/volume/a": one, "/volume/b": HTTPInputVolume(url="http://h/x")}) == {
        "/volume/a": one.content()
    }


async def test_artifacts_come_down_in_spite_of_breaks(breaking, executor, spec, tmp_path):
    """No byte twice but what was on its way; nothing half appears under a name."""
    proxy, client = breaking
    content = {f"/out/{name}": os.urandom(size) for name, size in {"a": 9 * MIB, "b/c": 20 * MIB, "d": 0}.items()}
    job = await client.create_job(spec(artifacts_dir="/out"))
    attempt = await executor.take()
    for path, data in content.items():
        await attempt.keep(path, data)
    await attempt.end(Succeeded(exit_code=0))
    await job.wait(timeout=20)
    assert job.result.artifacts == content
    before, proxy.break_down = proxy.down, 4 * MIB
    placed = await job.download_artifacts(tmp_path)
    assert {path: file.read_bytes() for path, file in placed.items()} == content
    assert proxy.broken >= 5
    assert proxy.down - before < 29 * MIB + proxy.broken * MIB
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "c", "d"]


async def test_too_little_room_is_told_before_anything_is_fetched(ours, executor, spec, tmp_path, monkeypatch):
    """With what is needed and what there is."""
    job = await ours.create_job(spec(artifacts_dir="/out"))
    attempt = await executor.take()
    await attempt.keep("/out/a", b"12345")
    await attempt.end(Succeeded(exit_code=0))
    await job.wait(timeout=20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4}))
    with pytest.raises(OSError, match="have 5 bytes, and 4 are free") as refused:
        await job.download_artifacts(tmp_path / "new")
    assert refused.value.filename == str(tmp_path / "new")
    assert not (tmp_path / "new").exists()
