"""Zip archives from strangers: planned first, extracted second.

The plan reads the table of contents, judges every name, type, size and place, and refuses the whole archive before
a byte is written. The extraction goes through directory descriptors (`tree`), so that even a wrong plan could not
lead outside. What an earlier volume put in place merges: directories are shared, files are replaced.
"""

import errno
import os
import stat
import struct
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from horde_core.outcomes import Reason, Stage
from horde_executor import threads, tree
from horde_executor.errors import JobFailure, RefusedArchive
from horde_executor.room import Room, readable

MAX_NAME_BYTES = 255  # Linux: NAME_MAX
MAX_PATH_BYTES = 2048
MAX_DEPTH = 64
# Below this size nothing is a bomb, however well it packs; deflate reaches 1032 on zeros alone.
HARMLESS_BYTES = 64 * 1024**2

_CHUNK = 1024**2
_DAMAGED = "is damaged, or none at all"
_ENTRY = b"PK\x01\x02"
_LOCAL_HEADER_BYTES = 30
_TABLE_BYTES = 1024  # for each entry: names, and what else packers write
_UNICODE_PATH = 0x7075  # APPNOTE 4.6.9
_LONGEST_CAUSE = 200
_ENCRYPTED = 0x1 | 0x20 | 0x40 | 0x2000  # APPNOTE 4.4.4: encrypted, patch data, strong encryption, masked
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)
_EXECUTABLE = 0o111
# What zipfile raises on a broken archive, depending on where it breaks.
_BROKEN = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True)
class ArchiveCaps:
    """What an archive may hold: entries (directories that its paths imply included), and inflation."""

    entries: int = 100_000
    ratio: int = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or directory to make: its path in components, and its member in the archive."""

    parts: tuple[str, ...]
    is_directory: bool
    executable: bool
    member: zipfile.ZipInfo


def unpack(
    source: BinaryIO,
    root: int,
    *,
    name: str,
    room: Room,
    stop: threading.Event,
    caps: ArchiveCaps | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Extract a zip archive into the directory `root` (a descriptor).

    Args:
        source: the archive; readable and seekable.
        root: the directory.
        name: the path of the volume, which every message begins with.
        room: what the files may take; it is counted there.
        stop: set when nobody waits for the result any more.
        caps: what the archive may hold.
        progress: called with the number of bytes of each piece written.

    Raises:
        JobFailure: `download_failed` for whatever is wrong with the archive, `executor_error` for this disk.
        Stopped: `stop` was set.
    """
    caps = caps or ArchiveCaps()
    try:
        size = source.seek(0, os.SEEK_END)
        watched = _Watched(source, caps)
        with zipfile.ZipFile(watched) as archive:
            watched.is_table = False
            entries = plan(archive.infolist(), size, archive.start_dir, caps)
            room.take(sum(entry.member.file_size for entry in entries), name)
            for entry in entries:
                threads.check(stop)
                _extract(archive, entry, root, stop, progress)
    except RefusedArchive as error:
        raise _failed(name, str(error)) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a position before the beginning, by a lying table of contents
            raise _failed(name, _DAMAGED) from error
        raise tree.disk_failure(name, error) from error
    except _BROKEN as error:
        cause = str(error)[:_LONGEST_CAUSE]
        raise _failed(name, f"{_DAMAGED} ({cause})" if cause else _DAMAGED) from error


class _Watched:
    """The archive as `zipfile` reads it, which makes an object of every entry before anybody can count them.

    So they are counted in the bytes that it gets. Looking for the table of contents a second time, by rules of our
    own, would leave room for an archive that shows either of us another one.
    """

    def __init__(self, source: BinaryIO, caps: ArchiveCaps) -> None:
        self.is_table = True
        self.seek = source.seek
        self.tell = source.tell
        self.seekable = source.seekable
        self._source = source
        self._caps = caps

    def read(self, size: int = -1) -> bytes:
        limit = self._caps.entries * _TABLE_BYTES
        if self.is_table and size > limit:
            raise RefusedArchive(f"has a table of contents of {readable(size)}; the limit is {readable(limit)}")
        data = self._source.read(size)
        if self.is_table and data.count(_ENTRY) > self._caps.entries:
            raise RefusedArchive(_too_many(self._caps.entries))
        return data


def plan(members: Sequence[zipfile.ZipInfo], size: int, table: int, caps: ArchiveCaps) -> tuple[Entry, ...]:
    """Judge all members of an archive of `size` bytes and say what is to be made.

    The members must lie one after the other before the table of contents, which begins at `table`.

    A file that is there twice (so archives look that were appended to) is made twice: the last one stays.

    Raises:
        RefusedArchive: something in it is not taken.
    """
    is_directory: dict[tuple[str, ...], bool] = {}
    entries: list[Entry] = []
    total = 0
    for member in members:
        entry = _judge(member)
        for depth in range(1, len(entry.parts)):
            if not is_directory.setdefault(entry.parts[:depth], True):
                raise RefusedArchive(f"holds {_quoted(member)} inside a member that is a file")
        if is_directory.setdefault(entry.parts, entry.is_directory) is not entry.is_directory:
            raise RefusedArchive(f"holds {_quoted(member)} as a file and as a directory")
        if len(is_directory) > caps.entries:
            raise RefusedArchive(_too_many(caps.entries))
        total += member.file_size
        entries.append(entry)
    if total > HARMLESS_BYTES and total > caps.ratio * size:
        raise RefusedArchive(
            f"would grow from {readable(size)} to {readable(total)}, more than {caps.ratio} times its size;"
            " an archive like that is refused. Fetch the files by URL instead"
        )
    _check_places(members, table)
    return tuple(entries)


def _check_places(members: Sequence[zipfile.ZipInfo], table: int) -> None:
    """Refuse what no packer writes: many members that share one content grow without packing well."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        begin = member.header_offset
        if 0 <= begin < end:
            raise RefusedArchive(f"holds members that overlap, {_quoted(member)} and another one. Pack it anew")
        end = begin + _LOCAL_HEADER_BYTES + len(member.orig_filename) + member.compress_size
        if begin < 0 or end > table:
            raise RefusedArchive(f"{_DAMAGED}: {_quoted(member)} does not lie before its table of contents")


def _judge(member: zipfile.ZipInfo) -> Entry:
    """One member by itself. `orig_filename` is what the archive says; `filename` was already mended."""
    stored_mode = member.external_attr >> 16
    kind = stat.S_IFMT(stored_mode)
    if "\0" in member.orig_filename:
        raise RefusedArchive(f"holds a name with a NUL character, {_quoted(member)}")
    if _other_name(member.extra) not in (None, member.orig_filename.encode(errors="surrogatepass")):
        raise RefusedArchive(f"has two names for one member, {_quoted(member)} and another one. Pack it anew")
    if member.flag_bits & _ENCRYPTED:
        raise RefusedArchive(f"is encrypted ({_quoted(member)}). Send it without a password")
    if kind not in _PLAIN:
        what = "a symbolic link" if stat.S_ISLNK(stored_mode) else "a device or another special file"
        raise RefusedArchive(f"holds {what}, {_quoted(member)}. Send plain files and directories only")
    if member.compress_type not in _METHODS:
        raise RefusedArchive(f"packs {_quoted(member)} by a method that is not supported. Use deflate or store")
    is_directory = member.orig_filename.endswith("/")
    if is_directory and (member.file_size or kind == stat.S_IFREG):
        raise RefusedArchive(f"holds {_quoted(member)}, which is named like a directory but is a file")
    if not is_directory and kind == stat.S_IFDIR:
        raise RefusedArchive(f"holds {_quoted(member)}, which is a directory but not named like one")
    executable = not is_directory and bool(stored_mode & _EXECUTABLE)
    return Entry(_checked_parts(member), is_directory, executable, member)


def _other_name(extra: bytes) -> bytes | None:
    """The name in UTF-8 that some packers write beside the first one, and some programs prefer."""
    while len(extra) >= 4:  # noqa: PLR2004 - kind and length
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH:
            return extra[9 : 4 + length]  # behind a version and the checksum of the first name
        extra = extra[4 + length :]
    return None


def _checked_parts(member: zipfile.ZipInfo) -> tuple[str, ...]:
    path = member.orig_filename.removesuffix("/")
    if path.startswith("/"):
        raise RefusedArchive(f"holds an absolute path, {_quoted(member)}. Pack with relative paths")
    if "\\" in path or any(unicodedata.category(c) == "Cc" for c in path):
        raise RefusedArchive(f"holds a name with a backslash or control character, {_quoted(member)}")
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise RefusedArchive(f"holds a path with an empty component, '.' or '..', {_quoted(member)}")
    try:
        longest, whole = max(len(part.encode()) for part in parts), len(path.encode())
    except UnicodeEncodeError:
        raise RefusedArchive(f"holds a name that is not valid Unicode, {_quoted(member)}") from None
    if longest > MAX_NAME_BYTES or whole > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise RefusedArchive(f"holds a path that is too long or too deep, {_quoted(member)}")
    return parts


def _extract(
    archive: zipfile.ZipFile,
    entry: Entry,
    root: int,
    stop: threading.Event,
    progress: Callable[[int], None] | None,
) -> None:
    if entry.is_directory:
        with tree.directory(root, entry.parts):
            return
    left = entry.member.file_size
    with (
        archive.open(entry.member) as packed,
        tree.directory(root, entry.parts[:-1]) as directory,
        tree.new_file(directory, entry.parts[-1], executable=entry.executable) as file,
    ):
        while piece := packed.read(_CHUNK):
            threads.check(stop)
            tree.write_all(file, piece)
            left -= len(piece)
            if progress is not None:
                progress(len(piece))
    if left:  # zipfile does not mind if less comes than was promised
        raise zipfile.BadZipFile(f"{_quoted(entry.member)} is shorter than it should be")


def _quoted(member: zipfile.ZipInfo) -> str:
    return repr(member.orig_filename if len(member.orig_filename) <= 80 else member.orig_filename[:77] + "...")  # noqa: PLR2004


def _too_many(limit: int) -> str:
    return f"holds more than {limit} files and directories. Split it, or pack the files into one"


def _failed(name: str, message: str) -> JobFailure:
    end = "" if message.endswith(".") else "."
    return JobFailure(Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED, f"{name}: the zip archive {message}{end}")
