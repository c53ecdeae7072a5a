"""Fuzz what unpacks archives: bytes that are nearly zips, and zips that are made up field by field."""

import atexit
import io
import os
import random
import shutil
import stat
import struct
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from evil.archives import HARMLESS, REFUSED, Raw, assemble, extra
from fuzz.guided import Target, main
from horde_core.outcomes import Reason, Stage
from horde_executor.archive import ArchiveCaps, unpack
from horde_executor.errors import JobFailure
from horde_executor.room import Room

CAPS = ArchiveCaps(entries=50)
LIMIT = 1024**2
LONGEST = 4096

_ENTRY, _HEADER, _END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def check(data: bytes) -> None:
    """Unpack into a directory whose surroundings are watched; refuse for one reason, or bring what is there."""
    refusal: JobFailure | None = None
    root = os.open(_INSIDE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack(io.BytesIO(data), root, name="/volume", room=Room(LIMIT), stop=threading.Event(), caps=CAPS)
    except JobFailure as failure:
        refusal = failure
    finally:
        os.close(root)
    if refusal is not None:
        assert (refusal.stage, refusal.reason) == (Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED), refusal.message
        assert refusal.message.startswith("/volume")
        assert len(refusal.message) < 1000
    assert list(_TOP.iterdir()) == [_INSIDE.parent], "something is beside the directory"
    assert list(_INSIDE.parent.iterdir()) == [_INSIDE], "something is beside the directory"
    _judge(data, is_taken=refusal is None)
    for path in _INSIDE.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _judge(data: bytes, *, is_taken: bool) -> None:
    files: dict[str, Path] = {}
    count = size = 0
    for directory, names, others in os.walk(_INSIDE):
        for name in (*names, *others):
            path = Path(directory, name)
            found = path.lstat()
            assert stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1), name
            assert stat.S_IMODE(found.st_mode) in (0o666, 0o777) or not is_taken, name
            count += 1
            if stat.S_ISREG(found.st_mode):
                size += found.st_size
                files[str(path.relative_to(_INSIDE))] = path
    assert count <= CAPS.entries, "more entries than allowed"
    assert size <= LIMIT, "more bytes than allowed"
    if not is_taken:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:  # another reading: the last of each name is what is there
        wanted = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        assert set(files) == set(wanted)
        for name, info in wanted.items():
            assert archive.read(info) == files[name].read_bytes(), name


def made(data: bytes) -> None:
    """A zip of a few members, whose fields are drawn from the data."""
    check(_assembled(data))


def _assembled(data: bytes) -> bytes:
    import atheris

    draw = atheris.FuzzedDataProvider(data)

    def maybe(low: int, high: int) -> int | None:
        return draw.ConsumeIntInRange(low, high) if draw.ConsumeIntInRange(0, 15) == 0 else None

    members: list[Raw] = []
    for _ in range(draw.ConsumeIntInRange(0, 5)):
        name = b"/".join(
            draw.PickValueInList(
                [b"a", b"b", b"..", b".", b"", b"\0", b"\\", b"d", b"\xc3\xa9", b"\xff", b"n" * 300]
            )
            if draw.ConsumeBool()
            else draw.ConsumeBytes(draw.ConsumeIntInRange(0, 6))
            for _ in range(draw.ConsumeIntInRange(1, 4))
        )
        content = draw.ConsumeBytes(draw.ConsumeIntInRange(0, 40)) * draw.PickValueInList([1, 1, 1, 500, 40_000])
        method = draw.PickValueInList([0, 0, 8, 8, 8, 9, 12])
        packer = zlib.compressobj(wbits=-15)
        stored = packer.compress(content) + packer.flush() if method == 8 else content
        kind = draw.PickValueInList([0o100000, 0o100000, 0o100000, 0, 0o040000, 0o120000, 0o020000, 0o010000])
        members.append(
            Raw(
                name,
                content,
                mode=kind | draw.ConsumeIntInRange(0, 0o7777),
                system=draw.PickValueInList([0, 3, 19]),
                flags=draw.PickValueInList([0x800, 0x800, 0, 8, 1, draw.ConsumeIntInRange(0, 0xFFFF)]),
                method=method,
                stored=stored,
                local_name=draw.PickValueInList([None, None, None, b"other"]),
                extra=extra(
                    draw.PickValueInList([1, 0x7075, 0x756E]), draw.ConsumeBytes(draw.ConsumeIntInRange(0, 24))
                )
                if draw.ConsumeIntInRange(0, 3) == 0
                else b"",
                crc=maybe(0, 2**32 - 1),
                size=maybe(0, 2**32 - 1),
                packed_size=maybe(0, 2**32 - 1),
                offset=maybe(0, 400),
            )
        )
    return assemble(
        *members,
        prefix=draw.PickValueInList([b"", b"", b"MZ" * 50]),
        count=maybe(0, 0xFFFF),
        table_size=maybe(0, 400),
        table_at=maybe(0, 2**32 - 1),
        before_end=draw.ConsumeBytes(draw.ConsumeIntInRange(0, 80)) if maybe(0, 1) else b"",
    )


def mutated(data: bytes, longest: int, seed: int) -> bytes:
    """What libFuzzer makes of the bytes; most times with lengths and checksums mended, which no chance hits."""
    import atheris

    chance = random.Random(seed)
    changed = bytearray(atheris.Mutate(data, longest))
    if chance.random() < 0.8:
        _mend(changed)
    return bytes(changed[:longest])


def _mend(data: bytearray) -> None:
    """Make the end record fit the first table of contents, and the checksums the stored contents."""
    table, end = data.find(_ENTRY), data.rfind(_END)
    if 0 <= table < end <= len(data) - 22:
        struct.pack_into("<2L", data, end + 12, end - table, table)
    at = table
    while 0 <= at <= len(data) - 46 and data[at : at + 4] == _ENTRY:
        (method,), (packed_size,), (begin,) = (
            struct.unpack_from(form, data, at + place) for form, place in (("<H", 10), ("<L", 20), ("<L", 42))
        )
        if begin <= len(data) - 30 and data[begin : begin + 4] == _HEADER:
            name, more = struct.unpack_from("<2H", data, begin + 26)
            content = bytes(data[begin + 30 + name + more :][:packed_size])
            if method == 0:
                struct.pack_into("<L", data, at + 16, zlib.crc32(content))
                struct.pack_into("<L", data, at + 24, len(content))
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))


def _zips() -> Iterator[bytes]:
    for _, data, *_ in (*REFUSED, *HARMLESS):
        if len(data) <= LONGEST:
            yield data


def _drawn() -> Iterator[bytes]:
    chance = random.Random(1)
    for size in (20, 60, 200, 600, 2000):
        for _ in range(8):
            yield chance.randbytes(size)


def _watched() -> tuple[Path, Path]:
    """A directory in memory, and the one below it that archives go into."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = Path(tempfile.mkdtemp(prefix="horde-fuzz-", dir=memory))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    inside = top / "a" / "inside"
    inside.mkdir(parents=True)
    return top, inside


TARGETS = {
    "bytes": Target(check, _zips, longest=LONGEST, mutate=mutated),
    "made": Target(made, _drawn, longest=LONGEST),
}

if __name__ == "__main__":
    sys.exit(main("archives", tuple(TARGETS), __doc__))
else:
    _TOP, _INSIDE = _watched()
