"""Volumes into the tree of a job, in their order, later ones on top: the blocking half of `volumes`.

A content of the cache is linked, which costs nothing, where the tree is one that the job cannot write to (its
`/volume` is then a layer above it, see `layers`); elsewhere it is copied. A link in a tree that is written to
would change the content for everybody.
"""

import errno
import io
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from horde_core import paths
from horde_core.volumes import (
    MOUNT,
    AnyVolume,
    BlobVolume,
    HuggingfaceVolume,
    InlineVolume,
    SingleFileVolume,
    ZipUrlVolume,
    decode_contents,
)
from horde_executor import archive, threads, tree
from horde_executor.archive import ArchiveCaps
from horde_executor.room import Room
from horde_executor.shelf import Blob

_CHUNK = 8 * 1024**2
_NO_LINK = (errno.EXDEV, errno.EMLINK)  # another file system; a content that is in too many trees


@dataclass(frozen=True, slots=True)
class Brought:
    """A content that was fetched for a volume, and its place in components below `/volume`."""

    parts: tuple[str, ...]
    blob: Blob


def path_of(volume: AnyVolume) -> str:
    """The path of a volume inside the container: its name in messages."""
    return f"{MOUNT}/{volume.relative_path}" if volume.relative_path else MOUNT


@dataclass(frozen=True, slots=True)
class Placing:
    """Puts volumes below `root`. `room` is what they may take; with `linked`, nobody writes into that tree."""

    root: Path
    room: Room
    caps: ArchiveCaps
    linked: bool

    def run(self, volumes: Sequence[tuple[AnyVolume, Sequence[Brought]]], stop: threading.Event) -> None:
        """Place all, each with what was fetched for it; blocking.

        Raises:
            JobFailure: at the stage `download`.
            Stopped: `stop` was set.
        """
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for volume, brought in volumes:
                threads.check(stop)
                try:
                    self._place(root, volume, brought, stop)
                except OSError as error:
                    raise tree.disk_failure(path_of(volume), error) from error
        finally:
            os.close(root)

    def _place(self, root: int, volume: AnyVolume, brought: Sequence[Brought], stop: threading.Event) -> None:
        parts, name = paths.components(volume.relative_path or ""), path_of(volume)
        match volume:
            case SingleFileVolume() | BlobVolume(unpack=False):
                self._put(root, brought[0], stop)
            case HuggingfaceVolume():
                with tree.directory(root, parts):
                    pass  # also when the repository is empty
                for one in brought:
                    threads.check(stop)
                    self._put(root, one, stop)
            case ZipUrlVolume() | BlobVolume():
                with brought[0].blob.path.open("rb") as file, tree.directory(root, parts) as directory:
                    archive.unpack(file, directory, name=name, room=self.room, stop=stop, caps=self.caps)
            case InlineVolume():
                contents = decode_contents(volume.contents)
                if volume.is_zip:
                    with tree.directory(root, parts) as directory:
                        source = io.BytesIO(contents)
                        archive.unpack(source, directory, name=name, room=self.room, stop=stop, caps=self.caps)
                    return
                self.room.take(len(contents), name)
                with tree.directory(root, parts[:-1]) as directory, tree.new_file(directory, parts[-1]) as file:
                    tree.write_all(file, contents)

    def _put(self, root: int, one: Brought, stop: threading.Event) -> None:
        with tree.directory(root, one.parts[:-1]) as directory:
            if self.linked:
                tree.remove_file(directory, one.parts[-1])
                try:
                    os.link(one.blob.path, one.parts[-1], dst_dir_fd=directory)
                except OSError as error:
                    if error.errno not in _NO_LINK:
                        raise
                else:
                    return
            with tree.new_file(directory, one.parts[-1]) as file, one.blob.path.open("rb") as source:
                while os.copy_file_range(source.fileno(), file, _CHUNK):
                    threads.check(stop)
