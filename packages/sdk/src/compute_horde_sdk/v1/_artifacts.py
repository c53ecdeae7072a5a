"""Artifacts as files in a directory of the user's."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import httpx2

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError
from horde_core import paths
from horde_core.wire.executor import ArtifactEntry

CHUNK = 1024**2


async def download(
    api: Api, uuid: str, artifacts_dir: str, entries: list[ArtifactEntry], directory: Path
) -> dict[str, Path]:
    """Fetch artifacts into a directory; returns where each is, by its path in the container.

    Raises:
        ComputeHordeError: an artifact cannot be fetched, is damaged, or has a name that cannot be used.
        OSError: a file cannot be written.
    """
    placed = {entry.path: _place(directory, artifacts_dir, entry.path) for entry in entries}
    for entry in entries:
        await asyncio.to_thread(placed[entry.path].parent.mkdir, parents=True, exist_ok=True)
        async with api.artifact_stream(uuid, entry.path) as response:
            await _write(response, entry, placed[entry.path])
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


async def _write(response: httpx2.Response, entry: ArtifactEntry, target: Path) -> None:
    """Write a file that appears under its name only when it is whole and right."""
    digest = sha256()
    draft = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    file = await asyncio.to_thread(draft.open, "wb")
    try:
        with file:
            async for chunk in response.aiter_bytes(CHUNK):
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if digest.hexdigest() != entry.sha256:
            raise ComputeHordeError(f"artifact {entry.path} does not have the content that the executor stored")
        draft.replace(target)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
