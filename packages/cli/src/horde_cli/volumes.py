"""Local files and directories as input volumes that travel inside the job."""

import base64
import io
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from compute_horde_sdk.v1 import HTTPInputVolume, InlineInputVolume

from horde_cli.errors import BadUsage
from horde_cli.values import InputOption

MOUNT = "/volume"
# The facilitator takes 32 MiB of JSON; base64 turns 3 bytes into 4, and the rest of the job needs room too.
MAX_LOCAL_BYTES = 23 * 1024**2


def volumes(options: Iterable[InputOption]) -> dict[str, InlineInputVolume | HTTPInputVolume]:
    """The volumes for some `--input` options, reading what is local.

    A file becomes a file, whatever is in it; a directory becomes its content; a URL is fetched by the executor.

    Raises:
        BadUsage: a source cannot be read, is neither file nor directory, or all together are too large.
    """
    found: dict[str, InlineInputVolume | HTTPInputVolume] = {}
    trees: dict[str, _Tree] = {}
    budget = _Budget()
    for option in options:
        source = Path(option.source).expanduser()
        if option.is_url:
            found[option.target] = HTTPInputVolume(url=option.source)
        elif source.is_dir():
            tree = trees.setdefault(option.target, _Tree())
            for name, path in _walk(source):
                if path.is_dir():
                    tree.add_directory(name)
                else:
                    tree.add_file(name, path.stat().st_mode, budget.read(path))
        else:
            parent, name = _place_of_file(option, source)
            data = budget.read(source)
            if data.startswith(b"PK"):
                # An inline volume that is a zip is unpacked; this one was named as a file, so it travels in another.
                trees.setdefault(parent, _Tree()).add_file(name, source.stat().st_mode, data)
            else:
                found[option.target] = _inline(data)
    # The root of all volumes is spelled with its slash in the reference.
    found.update({target if target != MOUNT else f"{MOUNT}/": tree.volume() for target, tree in trees.items()})
    return found


def _place_of_file(option: InputOption, source: Path) -> tuple[str, str]:
    if not source.exists():
        raise BadUsage(f"--input: {source} does not exist", "name a file, a directory, or an http(s) URL")
    if not source.is_file():
        raise BadUsage(f"--input: {source} is neither a file nor a directory")
    parent, _, name = option.target.rpartition("/")
    if not parent:
        raise BadUsage(f"--input: {source} is a file, so it needs a name", f"write {MOUNT}/{source.name}={source}")
    return parent, name


class _Budget:
    """How many bytes may still travel."""

    def __init__(self) -> None:
        self._left = MAX_LOCAL_BYTES

    def read(self, path: Path) -> bytes:
        try:
            size = path.stat().st_size
            if size <= self._left:
                data = path.read_bytes()
                self._left -= len(data)
                return data
        except OSError as error:
            raise BadUsage(f"--input: cannot read {path} ({error.strerror})") from error
        raise BadUsage(
            f"--input: the local files hold more than {MAX_LOCAL_BYTES // 1024**2} MiB together",
            "serve the large ones at a URL and give that",
        )


class _Tree:
    """A zip archive in the making, which becomes the content of a directory."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)

    def add_directory(self, name: str) -> None:
        self._archive.writestr(zipfile.ZipInfo(f"{name}/"), b"")

    def add_file(self, name: str, mode: int, data: bytes) -> None:
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        # The upper half holds the Unix mode, so that programs stay executable.
        member.external_attr = (stat.S_IFREG | stat.S_IMODE(mode)) << 16
        self._archive.writestr(member, data)

    def volume(self) -> InlineInputVolume:
        self._archive.close()
        return _inline(self._buffer.getvalue())


def _inline(data: bytes) -> InlineInputVolume:
    return InlineInputVolume(contents=base64.b64encode(data).decode())


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a directory with its name relative to that, in a stable order."""
    for directory, below, files in os.walk(root):
        below.sort()
        here = Path(directory)
        for name in below:
            path = here / name
            if path.is_symlink():
                raise BadUsage(f"--input: {path} is a link to a directory", "give that as an input of its own")
            yield path.relative_to(root).as_posix(), path
        for name in sorted(files):
            path = here / name
            if not path.is_file():
                raise BadUsage(f"--input: {path} is no regular file", "remove it, or name single files")
            yield path.relative_to(root).as_posix(), path
