"""All volumes of a job in one tree: in order, later ones on top, usable by any user."""

import asyncio
import base64
import contextlib
import io
import os
import stat
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from horde_core.outcomes import Reason, Stage
from horde_core.volumes import AnyVolume, InlineVolume, SingleFileVolume, ZipUrlVolume
from horde_executor.archive import ArchiveCaps
from horde_executor.cache import Cache
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.hub import PUBLIC_HUB, Hub
from horde_executor.meter import Moved
from horde_executor.patience import Patience
from horde_executor.volumes import Caps, Supply, place

PATIENCE = Patience(tries=2, pause_s=0.01)


def no_blobs(sha256: str, start: int):
    raise AssertionError("nothing here was uploaded to a facilitator")


class Files(ThreadingHTTPServer):
    """Serves what is in `files`; counts how many requests are being served at once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.together: threading.Barrier | None = None
        self.holding = threading.Event()
        self.asked = threading.Semaphore(0)
        super().__init__(("127.0.0.1", 0), _Handler)

    def volume(self, path: str, content: bytes, at: str | None = None) -> SingleFileVolume:
        self.files[f"/{path}"] = content
        url = f"http://127.0.0.1:{self.server_port}/{path}"
        return SingleFileVolume(volume_type="single_file", url=url, relative_path=at or path)


class _Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        self.server.asked.release()
        if self.server.together is not None:
            self.server.together.wait(10)
        if self.path == "/hold":
            self.server.holding.wait(10)
        content = self.server.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # of a download that was stopped
            self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        """Tests say what matters."""


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.holding.set()
            server.shutdown()
            thread.join()


def inline(content: bytes, at: str | None = None) -> InlineVolume:
    contents = base64.b64encode(content).decode()
    return InlineVolume(volume_type="inline", contents=contents, relative_path=at)


def zipped(members: Mapping[str, bytes], at: str | None = None) -> InlineVolume:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return inline(data.getvalue(), at)


class Placed:
    """A `/volume` directory and the call that fills it."""

    def __init__(self, tmp_path: Path, port: int) -> None:
        self.root = tmp_path / "volume"
        self.root.mkdir()
        self.egress = Egress.parse([f"127.0.0.1:{port}"])
        self.told: list[Moved] = []
        self.cache = tmp_path / "cache"

    async def __call__(self, *volumes: AnyVolume, caps: Caps | None = None) -> dict[str, bytes]:
        async with Cache.opened(self.cache, egress=self.egress, patience=PATIENCE) as cache:
            supply = Supply(cache, Hub(PUBLIC_HUB, self.egress, PATIENCE, cache.tmp), no_blobs, owner="somebody")
            await place(volumes, self.root, supply=supply, caps=caps, progress=self.told.append)
        assert list((self.cache / "tmp").iterdir()) == []
        return {
            str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()
        }

    async def failing(self, *volumes: AnyVolume, caps: Caps | None = None) -> JobFailure:
        with pytest.raises(JobFailure) as failed:
            await self(*volumes, caps=caps)
        assert failed.value.stage is Stage.DOWNLOAD
        return failed.value


@pytest.fixture
def placed(tmp_path: Path, files: Files) -> Placed:
    return Placed(tmp_path, files.server_port)


async def test_every_kind_of_volume_lands_where_the_wire_says(placed: Placed, files: Files) -> None:
    assert await placed(
        inline(b"version=2\n", "conf/app.ini"),
        zipped({"cfg.json": b"{}", "sub/x": b"x"}, "data"),
        zipped({"top": b"t"}),
        files.volume("weights.bin", b"w" * 100_000, "models/a/weights.bin"),
        inline(b"", "empty"),
        zipped({}, "nothing"),
    ) == {
        "conf/app.ini": b"version=2\n",
        "data/cfg.json": b"{}",
        "data/sub/x": b"x",
        "top": b"t",
        "models/a/weights.bin": b"w" * 100_000,
        "empty": b"",
    }
    assert (placed.root / "nothing").is_dir()


async def test_everything_can_be_read_and_written_by_any_user(placed: Placed, files: Files) -> None:
    before = os.umask(0o077)
    try:
        await placed(files.volume("a", b"a", "http/a"), inline(b"b", "inline/b"), zipped({"c": b"c"}, "zip"))
    finally:
        os.umask(before)
    for path in placed.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666), path


async def test_later_volumes_overwrite_earlier_ones_whatever_arrives_first(placed: Placed, files: Files) -> None:
    first = files.volume("v1", b"first", "d/f")
    assert await placed(first, inline(b"second", "d/f")) == {"d/f": b"second"}
    assert await placed(inline(b"second", "d/f"), first) == {"d/f": b"first"}
    assert await placed(first, zipped({"f": b"third", "g": b"new"}, "d")) == {"d/f": b"third", "d/g": b"new"}
    assert await placed(first, files.volume("v2", b"fourth", "d/f")) == {"d/f": b"fourth", "d/g": b"new"}


async def test_four_downloads_run_at_a_time(placed: Placed, files: Files) -> None:
    """Each group of four answers only when all four have been asked for."""
    files.together = threading.Barrier(4)
    volumes = [files.volume(f"f{index}", bytes([index])) for index in range(8)]
    assert await placed(*volumes) == {f"f{index}": bytes([index]) for index in range(8)}


async def test_progress_adds_all_downloads_up(placed: Placed, files: Files) -> None:
    await placed(files.volume("a", b"a" * 1000), files.volume("b", b"b" * 500), inline(b"not counted", "c"))
    assert (placed.told[-1].done, placed.told[-1].total) == (1500, 1500)
    assert placed.told[-1].speed > 0


async def test_the_first_failure_stops_the_other_downloads_and_is_the_one_that_is_told(
    placed: Placed, files: Files
) -> None:
    missing = SingleFileVolume(
        volume_type="single_file", url=f"http://127.0.0.1:{files.server_port}/none?key=SECRET", relative_path="m/n"
    )
    async with asyncio.timeout(5):
        failed = await placed.failing(files.volume("hold", b"never"), missing)
    assert failed.reason is Reason.DOWNLOAD_FAILED
    assert failed.message.startswith("/volume/m/n cannot be fetched: http://127.0.0.1:")
    assert "404 Not Found" in failed.message
    assert "SECRET" not in failed.message
    assert list(placed.root.iterdir()) == []


async def test_cancelling_stops_all_downloads(placed: Placed, files: Files) -> None:
    task = asyncio.ensure_future(placed(files.volume("hold", b"never")))
    assert await asyncio.to_thread(files.asked.acquire, timeout=10)
    task.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([task])
    assert task.cancelled()
    assert list(placed.root.iterdir()) == []


async def test_the_operators_limit_counts_all_volumes_together(placed: Placed, files: Files) -> None:
    volumes = (files.volume("a", b"a" * 400), inline(b"b" * 300, "b"), zipped({"c": b"c" * 300}, "z"))
    assert len(await placed(*volumes, caps=Caps(total_bytes=1000))) == 3
    for limit, name in ((999, "/volume/z"), (699, "/volume/b"), (399, "/volume/a")):
        failed = await placed.failing(*volumes, caps=Caps(total_bytes=limit))
        assert failed.reason is Reason.DOWNLOAD_FAILED
        assert failed.message.startswith(f"{name} is too large: all volumes of a job may hold {limit} bytes")


@pytest.mark.parametrize(
    ("volumes", "says"),
    [
        ([("a", b"file"), ("a/b", b"inside a file")], "/volume/a/b cannot be placed"),
        ([("a/b", b"inside"), ("a", b"over a directory")], "/volume/a cannot be placed"),
    ],
)
async def test_a_file_and_a_directory_of_one_name_clash(
    placed: Placed, files: Files, volumes: list[tuple[str, bytes]], says: str
) -> None:
    """Also when a zip brings the one and another volume the other, which no check of the spec can see."""
    for kind in (inline, lambda content, at: files.volume(at.replace("/", "-"), content, at)):
        (first, first_content), (second, second_content) = volumes
        failed = await placed.failing(zipped({first: first_content}), kind(second_content, second))
        assert failed.reason is Reason.DOWNLOAD_FAILED
        assert failed.message.startswith(says)
        assert "give them different paths" in failed.message


async def test_a_broken_or_hostile_archive_is_told_with_its_path(placed: Placed) -> None:
    failed = await placed.failing(inline(b"PK\x03\x04 but no zip", "data"))
    assert failed.message.startswith("/volume/data: the zip archive is damaged")
    failed = await placed.failing(zipped({"../out": b"x"}, "data"))
    assert failed.message.startswith("/volume/data: the zip archive holds a path with")
    caps = Caps(archive=ArchiveCaps(entries=2))
    failed = await placed.failing(zipped({"1": b"", "2": b"", "3": b""}), caps=caps)
    assert failed.message.startswith("/volume: the zip archive holds more than 2 files")


async def test_a_zip_from_a_url_is_unpacked_and_a_plain_one_is_not(placed: Placed, files: Files) -> None:
    """What an archive holds counts against the job's room, the archive itself does not."""
    packed = base64.b64decode(zipped({"f": b"f" * 500, "sub/g": b"g"}).contents)
    url = files.volume("all.zip", packed).url
    archive = ZipUrlVolume(volume_type="zip_url", contents=url, relative_path="d")
    plain = inline(packed, "own.npz").model_copy(update={"plain": True})
    placed_files = await placed(archive, plain, caps=Caps(total_bytes=501 + len(packed)))
    assert placed_files == {"d/f": b"f" * 500, "d/sub/g": b"g", "own.npz": packed}
    files.files["/all.zip"] = b"no zip"
    assert (await placed.failing(archive)).message.startswith("/volume/d: the zip archive is damaged")


async def test_a_full_disk_is_the_hordes_fault(tmp_path: Path, files: Files) -> None:
    """A file system of 64 KiB, where this machine lets us mount one."""
    target = tmp_path / "small"
    target.mkdir()
    mounted = await _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(target))
    if mounted:
        pytest.skip("this user may not mount")
    try:
        placed = Placed(target, files.server_port)
        for volume in (
            files.volume("big", b"b" * 100_000),
            inline(b"b" * 100_000, "big"),
            zipped({"x": b"b" * 100_000}),
        ):
            failed = await placed.failing(volume)
            assert failed.reason is Reason.EXECUTOR_ERROR
            assert "the executor's disk is full while /volume" in failed.message
            for path in placed.root.iterdir():
                path.unlink()
    finally:
        assert await _run("umount", str(target)) == 0


async def _run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()
