"""The input volumes of a job, put into its `/volume` tree as the wire says: in order, later ones on top.

What is fetched comes first, several at a time, into files of ours; placing follows in order.
"""

import asyncio
import io
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from horde_core import paths
from horde_core.outcomes import Reason, Stage
from horde_core.volumes import (
    MOUNT,
    AnyVolume,
    BlobVolume,
    HuggingfaceVolume,
    InlineVolume,
    SingleFileVolume,
    decode_contents,
)
from horde_executor import archive, threads, tree
from horde_executor.archive import ArchiveCaps
from horde_executor.blob_volumes import ReadBlob, fetch_blob
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import Progress, fetch
from horde_executor.patience import Patience
from horde_executor.room import Room

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Caps:
    """What the volumes of one job may hold together, in bytes on the disk, and each of their archives."""

    total_bytes: int = 256 * 1024**3
    archive: ArchiveCaps = field(default_factory=ArchiveCaps)


async def place(
    volumes: Sequence[AnyVolume],
    root: Path,
    scratch: Path,
    *,
    egress: Egress,
    caps: Caps | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    blobs: ReadBlob | None = None,
) -> None:
    """Put all volumes of a job below `root`.

    Args:
        volumes: as the spec has them; the order decides.
        root: the directory behind `/volume`. What is made there can be used by any user of the container.
        scratch: a directory on the same file system, for downloads on their way; after a failure some stay there.
        egress: the addresses that downloads may reach.
        caps: the operator's limits.
        patience: how long downloads bear with a server.
        progress: called in the event loop with the bytes of all downloads so far, and their total once known.
        blobs: where blobs come from; None where there are none.

    Raises:
        JobFailure: at the stage `download`; the first that failed decides, the others are stopped.
    """
    caps = caps or Caps()
    for volume in volumes:
        _check_supported(volume)
    room = Room(caps.total_bytes)
    placing = _Placing(tuple(volumes), root, scratch, room, caps)
    await _download_all(placing, egress, patience, _Total(progress), blobs)
    await threads.run(placing.run, name="place volumes")


def path_of(volume: AnyVolume) -> str:
    """The path of a volume inside the container: its name in messages."""
    return f"{MOUNT}/{volume.relative_path}" if volume.relative_path else MOUNT


def _check_supported(volume: AnyVolume) -> None:
    if isinstance(volume, InlineVolume | SingleFileVolume | BlobVolume):
        return
    what = "a Hugging Face repository" if isinstance(volume, HuggingfaceVolume) else "a zip archive given by URL"
    raise JobFailure(
        Stage.DOWNLOAD,
        Reason.DOWNLOAD_FAILED,
        f"{path_of(volume)} is {what}, which this executor cannot fetch. Use an inline volume or the URLs of"
        " single files.",
    )


async def _download_all(
    placing: "_Placing", egress: Egress, patience: Patience | None, total: "_Total", blobs: ReadBlob | None
) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def download(index: int, volume: SingleFileVolume, progress: Progress) -> None:
        async with places:
            with placing.download(index).open("w+b") as file:
                await fetch(
                    volume.url,
                    file,
                    name=path_of(volume),
                    egress=egress,
                    room=placing.room,
                    patience=patience,
                    progress=progress,
                )

    async def fetch_from(read: ReadBlob, index: int, volume: BlobVolume, progress: Progress) -> None:
        async with places:
            with placing.download(index).open("wb") as file:
                name = path_of(volume)
                await fetch_blob(read, volume, file, name=name, room=placing.room, progress=progress)

    try:
        async with asyncio.TaskGroup() as group:
            for index, volume in enumerate(placing.volumes):
                if isinstance(volume, SingleFileVolume):
                    group.create_task(download(index, volume, total.part()))
                elif isinstance(volume, BlobVolume) and blobs is not None:
                    group.create_task(fetch_from(blobs, index, volume, total.part()))
    except ExceptionGroup as group:
        first = group.exceptions[0]
        raise first from first.__cause__


class _Total:
    """The progress of several downloads as one."""

    def __init__(self, report: Progress | None) -> None:
        self._report = report
        self._parts: list[tuple[int, int | None]] = []

    def part(self) -> Progress:
        """The callback of one more download."""
        index = len(self._parts)
        self._parts.append((0, None))

        def progress(done: int, total: int | None) -> None:
            self._parts[index] = (done, total)
            totals = [total for _, total in self._parts if total is not None]
            known = sum(totals) if len(totals) == len(self._parts) else None
            if self._report is not None:
                self._report(sum(done for done, _ in self._parts), known)

        return progress


class _Placing:
    """The blocking half: files and archives into the tree, in order."""

    def __init__(self, volumes: tuple[AnyVolume, ...], root: Path, scratch: Path, room: Room, caps: Caps) -> None:
        self.volumes = volumes
        self.room = room
        self._root = root
        self._scratch = scratch
        self._caps = caps

    def download(self, index: int) -> Path:
        """Where the volume with this index is kept until it is placed."""
        return self._scratch / f"volume-{index}"

    def run(self, stop: threading.Event) -> None:
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for index, volume in enumerate(self.volumes):
                threads.check(stop)
                try:
                    self._place(root, index, volume, stop)
                except OSError as error:
                    raise tree.disk_failure(path_of(volume), error) from error
        finally:
            os.close(root)

    def _place(self, root: int, index: int, volume: AnyVolume, stop: threading.Event) -> None:
        parts = paths.components(volume.relative_path or "")
        match volume:
            case BlobVolume(unpack=True):
                with tree.directory(root, parts) as directory, self.download(index).open("rb") as source:
                    self._unpack(source, directory, path_of(volume), stop)
                self.download(index).unlink()
                self.room.give(volume.size)
            case SingleFileVolume() | BlobVolume():
                with tree.directory(root, parts[:-1]) as directory:
                    tree.move_in(self.download(index), directory, parts[-1])
            case InlineVolume():
                contents = decode_contents(volume.contents)
                if volume.is_zip:
                    with tree.directory(root, parts) as directory:
                        self._unpack(io.BytesIO(contents), directory, path_of(volume), stop)
                else:
                    self.room.take(len(contents), path_of(volume))
                    with (
                        tree.directory(root, parts[:-1]) as directory,
                        tree.new_file(directory, parts[-1]) as file,
                    ):
                        tree.write_all(file, contents)
            case _:
                raise AssertionError("refused before anything began")

    def _unpack(self, source: BinaryIO, directory: int, name: str, stop: threading.Event) -> None:
        archive.unpack(source, directory, name=name, room=self.room, stop=stop, caps=self._caps.archive)
