"""Artifacts as files in a directory of the user's."""

import asyncio
import errno
import shutil
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError, RefusedError, UnreachableError
from compute_horde_sdk.v1._transport import Outage
from horde_core import paths
from horde_core.wire.executor import ArtifactEntry

AT_ONCE = 4
CHUNK = 1024**2


async def download(
    api: Api, uuid: str, artifacts_dir: str, entries: list[ArtifactEntry], directory: Path
) -> dict[str, Path]:
    """Fetch artifacts into a directory, several at once; returns where each is, by its path in the container.

    Raises:
        ComputeHordeError: an artifact cannot be fetched, is damaged, or has a name that cannot be used.
        OSError: a file cannot be written, or there is too little room for all of them.
    """
    placed = {entry.path: _place(directory, artifacts_dir, entry.path) for entry in entries}
    await asyncio.to_thread(_check_room, directory, sum(entry.size for entry in entries))
    places = asyncio.Semaphore(AT_ONCE)

    async def fetch(entry: ArtifactEntry) -> None:
        async with places:
            target = placed[entry.path]
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            await _fetch(api, uuid, entry, target)

    try:
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                group.create_task(fetch(entry))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return placed


async def write(artifacts_dir: str, contents: Mapping[str, bytes], directory: Path) -> dict[str, Path]:
    """Write artifacts that are here already into a directory.

    Raises:
        ComputeHordeError: an artifact has a name that cannot be used.
        OSError: a file cannot be written.
    """
    placed = {path: _place(directory, artifacts_dir, path) for path in contents}
    for path, target in placed.items():
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(target.write_bytes, contents[path])
    return placed


def _place(directory: Path, artifacts_dir: str, path: str) -> Path:
    """Where an artifact goes: as it lay below `artifacts_dir`, and never outside of the directory."""
    base = artifacts_dir.rstrip("/") + "/"
    relative = path.removeprefix(base).lstrip("/")
    try:
        parts = paths.components(relative)
    except ValueError as error:
        raise ComputeHordeError(f"artifact {path!r} has no name for a file: {error}") from error
    if not parts:
        raise ComputeHordeError(f"artifact {path!r} has no name for a file")
    return directory.joinpath(*parts)


def _check_room(directory: Path, needed: int) -> None:
    """Refuse what will not fit before anything is fetched.

    Raises:
        OSError: there is too little room.
    """
    there = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"the artifacts have {needed} bytes, and {free} are free there", str(directory)
        )


async def _fetch(api: Api, uuid: str, entry: ArtifactEntry, target: Path) -> None:
    """Fetch a file, which appears under its name only when it is whole and right."""
    draft = _Draft(target.with_name(f".horde-{uuid4().hex}.part"))
    outage = Outage()
    try:
        while draft.size < entry.size:
            before = draft.size
            try:
                await _read_on(api, uuid, entry, draft)
                break
            except (RefusedError, UnreachableError) as error:
                if draft.size > before:
                    outage.heard()
                await outage.wait(error)
        if draft.digest.hexdigest() != entry.sha256:
            raise ComputeHordeError(f"artifact {entry.path} does not have the content that the executor stored")
        await asyncio.to_thread(draft.keep, target)
    finally:
        draft.discard()


async def _read_on(api: Api, uuid: str, entry: ArtifactEntry, draft: "_Draft") -> None:
    """Read from where the draft ends to the end of the artifact; what came before a break is kept."""
    async with api.artifact_stream(uuid, entry, draft.size) as response:
        if draft.size and response.status_code != HTTPStatus.PARTIAL_CONTENT:
            draft.restart()
        waiting = bytearray()
        try:
            async for data in response.aiter_raw():
                waiting += data
                if len(waiting) >= CHUNK:
                    await asyncio.to_thread(draft.write, bytes(waiting))
                    waiting.clear()
        finally:
            draft.write(waiting)


class _Draft:
    """A file in the making, beside its place, with the hash of what is in it."""

    def __init__(self, path: Path) -> None:
        self.digest = sha256()
        self.size = 0
        self._path = path
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.digest.update(data)
        self.size += len(data)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.digest, self.size = sha256(), 0

    def keep(self, target: Path) -> None:
        self._file.close()
        self._path.replace(target)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
