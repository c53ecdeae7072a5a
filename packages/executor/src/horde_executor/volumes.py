"""The input volumes of a job: fetched several at a time, then put into its `/volume` tree in their order."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from horde_core import paths
from horde_core.volumes import (
    AnyVolume,
    BlobVolume,
    HuggingfaceVolume,
    InlineVolume,
    SingleFileVolume,
    ZipUrlVolume,
)
from horde_executor import threads
from horde_executor.archive import ArchiveCaps
from horde_executor.blob_volumes import ReadBlob, fetch_blob
from horde_executor.cache import Cache, Wanted
from horde_executor.fetch import Fetched, Progress
from horde_executor.hub import Hub, HubFile
from horde_executor.meter import Meter, Part, Report
from horde_executor.placing import Brought, Placing, path_of
from horde_executor.room import Room
from horde_executor.shelf import PUBLIC, Name
from horde_executor.tasks import first_of
from horde_executor.urls import Target

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Caps:
    """What the volumes of one job may hold together, in bytes on the disk, and each of their archives."""

    total_bytes: int = 256 * 1024**3
    archive: ArchiveCaps = field(default_factory=ArchiveCaps)


@dataclass(frozen=True, slots=True)
class Supply:
    """Where volumes come from. `owner` is whose job it is; where that is "", nothing private is kept."""

    cache: Cache
    hub: Hub
    blobs: ReadBlob
    owner: str


def comes_from_cache(volumes: Sequence[AnyVolume]) -> bool:
    """Whether some volume may be made of the cache's own files, which the job must not be able to write to."""
    return any(
        isinstance(volume, SingleFileVolume | HuggingfaceVolume | BlobVolume)
        and not (isinstance(volume, BlobVolume) and volume.unpack)
        for volume in volumes
    )


async def place(
    volumes: Sequence[AnyVolume],
    root: Path,
    *,
    supply: Supply,
    linked: bool = False,
    caps: Caps | None = None,
    progress: Report | None = None,
) -> None:
    """Put all volumes of a job below `root`.

    Args:
        volumes: as the spec has them; the order decides.
        root: the directory behind `/volume`. What is made there can be used by any user of the container.
        supply: where they come from.
        linked: the job cannot write to `root` itself, so files of the cache are linked there instead of copied.
        caps: the operator's limits.
        progress: called in the event loop with the sums of all transfers.

    Raises:
        JobFailure: at the stage `download`; the first that failed decides, the others are stopped.
    """
    caps = caps or Caps()
    placing = Placing(root, Room(caps.total_bytes), caps.archive, linked)
    with ExitStack() as holds:
        fetching = _Fetching(supply, placing.room, Meter(progress), holds)
        brought = await fetching.all(volumes)
        pairs = list(zip(volumes, brought, strict=True))
        await threads.run(lambda stop: placing.run(pairs, stop), name="place volumes")


class _Fetching:
    """The transfers of one job. What they bring is held until it is placed."""

    def __init__(self, supply: Supply, room: Room, meter: Meter, holds: ExitStack) -> None:
        self._supply = supply
        self._room = room
        self._meter = meter
        self._holds = holds
        self._places = asyncio.Semaphore(AT_ONCE)

    async def all(self, volumes: Sequence[AnyVolume]) -> list[list[Brought]]:
        """What is fetched for each volume."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._volume(volume)) for volume in volumes]
        except ExceptionGroup as group:
            first = first_of(group)
            raise first from first.__cause__
        return [task.result() for task in tasks]

    async def _volume(self, volume: AnyVolume) -> list[Brought]:
        match volume:
            case InlineVolume():
                return []
            case SingleFileVolume(url=url):
                return [await self._url(volume, url)]
            case ZipUrlVolume(contents=url):
                return [await self._url(volume, url)]
            case BlobVolume():
                return [await self._blob(volume)]
            case HuggingfaceVolume():
                return await self._repository(volume)

    async def _url(self, volume: SingleFileVolume | ZipUrlVolume, url: str) -> Brought:
        parts = paths.components(volume.relative_path or "")
        wanted = Wanted(label=path_of(volume), url=url, name=self._name_of_url(url))
        return await self._one(wanted, parts, self._meter.part(), counts=isinstance(volume, SingleFileVolume))

    async def _blob(self, volume: BlobVolume) -> Brought:
        async def bring(file: BinaryIO, room: Room, progress: Progress) -> Fetched:
            label = path_of(volume)
            await fetch_blob(self._supply.blobs, volume, file, name=label, room=room, progress=progress)
            return Fetched(volume.size, volume.sha256)

        owner, content = self._supply.owner, f"sha256 {volume.sha256}"
        wanted = Wanted(
            label=path_of(volume),
            url="",
            name=Name(owner, content) if owner else None,
            sha256=volume.sha256,
            bring=bring,
        )
        parts = paths.components(volume.relative_path or "")
        return await self._one(wanted, parts, self._meter.part(volume.size), counts=not volume.unpack)

    async def _repository(self, volume: HuggingfaceVolume) -> list[Brought]:
        whole = self._meter.part()  # stands for its files until they are known
        async with self._places:
            files = await self._supply.hub.files(volume, label=path_of(volume))
        self._room.check(sum(file.size for file in files), path_of(volume))
        parts = [self._meter.part(file.size) for file in files]
        whole.had(0)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._file(volume, file, part)) for file, part in zip(files, parts, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _file(self, volume: HuggingfaceVolume, file: HubFile, part: Part) -> Brought:
        scope = PUBLIC if volume.token is None else self._supply.owner
        content = f"sha256 {file.sha256}" if file.sha256 else f"git {file.git_sha1}"
        wanted = Wanted(
            label=f"{path_of(volume)}/{'/'.join(file.parts)}",
            url=file.url,
            name=Name(scope, content) if scope else None,
            token=volume.token,
            sha256=file.sha256,
            git_sha1=file.git_sha1,
        )
        return await self._one(wanted, (*paths.components(volume.relative_path or ""), *file.parts), part)

    async def _one(self, wanted: Wanted, parts: tuple[str, ...], part: Part, *, counts: bool = True) -> Brought:
        """Fetch a content and hold it. An archive counts by what is in it, not by itself."""
        async with self._places:
            blob = await self._supply.cache.obtain(wanted, part, limit=self._room.limit)
            self._holds.callback(self._supply.cache.release, blob)
        if counts:
            self._room.take(blob.size, wanted.label)
        return Brought(parts, blob)

    def _name_of_url(self, url: str) -> Name | None:
        """What a query opened is its owner's alone: it may be a signature, or any other secret."""
        try:
            target = Target.parse(url)
        except ValueError:  # `fetch` says why
            return None
        scope = self._supply.owner if target.query else PUBLIC
        return Name(scope, f"url {target.identity}") if scope else None
