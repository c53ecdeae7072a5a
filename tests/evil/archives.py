"""Archives that somebody means harm with: what must be refused, in which words, and what may come out of others.

`member` and `packed` go through `zipfile`, which writes nothing impossible; `Raw` and `assemble` write whatever
they are told, one field at a time (the numbers are those of PKWARE's APPNOTE 6.3.10, chapter 4).
"""

import io
import os
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace

MIB = 1024**2
LINK, FILE, DIRECTORY = 0o120777, 0o100644, 0o040755


def member(name: str, mode: int = FILE, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    info.compress_type = method
    info.create_system = 3
    return info


def packed(*members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for info, content in members:
            archive.writestr(info, content)
    return data.getvalue()


def bomb(size: int) -> bytes:
    """An archive with one member of zeros; `size` in bytes, whole MiB."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    return data.getvalue()


@dataclass(frozen=True)
class Raw:
    """A member, with every field that can lie. None means the truth."""

    name: bytes
    content: bytes = b"x"
    mode: int = FILE
    system: int = 3  # who wrote it: 0 FAT, 3 UNIX, 19 OS X
    attributes: int = 0  # the lower half of the external attributes: those of FAT
    flags: int = 0x800  # the name is UTF-8
    method: int = 0
    version: int = 20
    extra: bytes = b""
    comment: bytes = b""
    local_name: bytes | None = None
    local_extra: bytes = b""
    local_flags: int | None = None
    local_method: int | None = None
    stored: bytes | None = None  # the packed content
    descriptor: bytes = b""  # what follows the content
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    offset: int | None = None

    @property
    def body(self) -> bytes:
        return self.content if self.stored is None else self.stored

    @property
    def sizes(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        packed_size = len(self.body) if self.packed_size is None else self.packed_size
        return crc, packed_size, len(self.content) if self.size is None else self.size

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        flags = self.flags if self.local_flags is None else self.local_flags
        method = self.method if self.local_method is None else self.local_method
        lengths = (len(name), len(self.local_extra))
        head = struct.pack("<4s5H3L2H", b"PK\x03\x04", self.version, flags, method, 0, 33, *self.sizes, *lengths)
        return head + name + self.local_extra + self.body + self.descriptor

    def central(self, offset: int) -> bytes:
        lengths = (len(self.name), len(self.extra), len(self.comment))
        external = (self.mode << 16) | self.attributes
        place = offset if self.offset is None else self.offset
        made_by = (20, self.system, self.version, self.flags, self.method, 0, 33)
        head = struct.pack("<4sBB5H3L5H2L", b"PK\x01\x02", *made_by, *self.sizes, *lengths, 0, 0, external, place)
        return head + self.name + self.extra + self.comment


def deflated(name: bytes, content: bytes) -> Raw:
    packer = zlib.compressobj(9, wbits=-15)
    return Raw(name, content, method=8, stored=packer.compress(content) + packer.flush())


def assemble(
    *members: Raw,
    prefix: bytes = b"",
    count: int | None = None,
    table_size: int | None = None,
    table_at: int | None = None,
    before_end: bytes = b"",
    comment: bytes = b"",
) -> bytes:
    """Write an archive. `before_end` stands between the table of contents and the end record."""
    data, table = prefix, b""
    for raw in members:
        table += raw.central(len(data))
        data += raw.local()
    return data + table + before_end + end_record(
        len(members) if count is None else count,
        len(table) if table_size is None else table_size,
        len(data) if table_at is None else table_at,
        comment,
    )  # fmt: skip


def end_record(count: int, table_size: int, table_at: int, comment: bytes = b"") -> bytes:
    counts = (count & 0xFFFF, count & 0xFFFF)
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *counts, table_size, table_at, len(comment)) + comment


def zip64_end(count: int, table_size: int, table_at: int, *, disks: int = 1, where: int = 0) -> bytes:
    """The end record of zip64 and what leads to it; the 32-bit one follows."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, table_size, table_at)
    return record + struct.pack("<4sLQL", b"PK\x06\x07", 0, where, disks)


def zip64_extra(*values: int) -> bytes:
    return extra(1, b"".join(struct.pack("<Q", value) for value in values))


def extra(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def named_twice(name: bytes, other: bytes) -> bytes:
    """Info-ZIP's field 0x7075 says how the member is called in UTF-8."""
    return assemble(Raw(name, b"1", extra=extra(0x7075, struct.pack("<BL", 1, zlib.crc32(name)) + other)))


def overlapping(copies: int = 40) -> bytes:
    """Many members that quote one and the same packed kernel (D. Fifield, "A better zip bomb", WOOT 2019)."""
    kernel = deflated(b"00", bytes(MIB))
    first = replace(kernel, offset=0)
    names = [f"{index:02}".encode() for index in range(1, copies)]
    table = first.central(0) + b"".join(replace(first, name=name).central(0) for name in names)
    data = kernel.local()
    return data + table + end_record(copies, len(table), len(data))


def quoting() -> bytes:
    """The local header of the second member lies, stored, inside the content of the first."""
    second = Raw(b"second", b"2" * 100)
    first = Raw(b"first", second.local())
    table = first.central(0) + second.central(len(first.local()) - len(second.local()))
    return first.local() + table + end_record(2, len(table), len(first.local()))


def into_table() -> bytes:
    """The content of the only member reaches into the table of contents."""
    raw = Raw(b"a", b"x" * 30, packed_size=60, size=60)
    return assemble(raw)


def with_flag(flag: int) -> bytes:
    return assemble(Raw(b"a", flags=flag))


def entries(count: int, place: int = 0) -> bytes:
    """A table of contents without contents. `place` is where it says that it begins, which nobody needs."""
    table = Raw(b"a").central(0) * count
    return table + end_record(count, len(table), place)


END_LIKE_PLACE = int.from_bytes(b"PK\x05\x06", "little")
"""Makes the end record look as if another one began inside it."""


def implied(members: int, depth: int) -> bytes:
    """Few members, each at the bottom of directories of its own."""
    below = "/".join(["d"] * (depth - 2))
    return packed(*((member(f"{index}/{below}/f", method=0), b"") for index in range(members)))


# What it is, the archive, and words of the refusal.
REFUSED: list[tuple[str, bytes, str]] = [
    # names that lead somewhere else
    ("absolute", packed((member("/etc/passwd"), b"x")), "absolute path"),
    ("double slash", packed((member("//etc/passwd"), b"x")), "absolute path"),
    ("parent", packed((member("../outside"), b"x")), "'..'"),
    ("parent inside", packed((member("a/../../outside"), b"x")), "'..'"),
    ("parent at the end", packed((member("a/.."), b"x")), "'..'"),
    ("parent directory", packed((member("../new/", DIRECTORY), b"")), "'..'"),
    ("dot", packed((member("./a"), b"x")), "'.'"),
    ("dot inside", packed((member("a/./b"), b"x")), "'.'"),
    ("empty component", packed((member("a//b"), b"x")), "empty component"),
    ("empty component at the end", packed((member("a//", DIRECTORY), b"")), "empty component"),
    ("only a slash", packed((member("/", DIRECTORY), b"")), "empty component"),
    ("no name", packed((member(""), b"x")), "empty component"),
    ("backslash", packed((member("..\\..\\outside"), b"x")), "backslash"),
    ("drive", packed((member("C:\\outside"), b"x")), "backslash"),
    ("share", packed((member("\\\\server\\share\\x"), b"x")), "backslash"),
    ("control character", packed((member("a\nb"), b"x")), "control character"),
    ("control character of eight bits", packed((member("a\x9bb"), b"x")), "control character"),
    ("escape sequence", packed((member("\x1b[2Ja"), b"x")), "control character"),
    ("NUL", assemble(Raw(b"safe\0/../../outside")), "NUL"),
    ("not UTF-8", assemble(Raw(b"caf\xe9")), "damaged"),
    ("overlong UTF-8 for a slash", assemble(Raw(b"..\xc0\xafoutside")), "damaged"),
    ("long component", packed((member("n" * 256), b"x")), "too long"),
    ("long component in bytes", packed((member("é" * 128), b"x")), "too long"),
    ("long path", packed((member("/".join(["p" * 200] * 11)), b"x")), "too long"),
    ("the longest name", assemble(Raw(b"n" * 65535)), "too long"),
    ("deep path", packed((member("/".join("d" * 65)), b"x")), "too deep"),
    ("another name in the Unicode field", named_twice(b"safe", b"../outside"), "two names"),
    ("another name there, harmless", named_twice(b"one", b"two"), "two names"),
    ("another name in the local header", assemble(Raw(b"safe", local_name=b"../outside")), "differ"),
    ("a very long one there", assemble(Raw(b"safe", local_name=b"n" * 65535)), "File name"),
    # what is no file
    ("symlink", packed((member("link", LINK), b"/etc")), "symbolic link"),
    ("symlink, then through it", packed((member("l", LINK), b".."), (member("l/outside"), b"x")), "symbolic link"),
    ("symlink, said by OS X", assemble(Raw(b"link", b"/etc", mode=LINK, system=19)), "symbolic link"),
    ("symlink, said by FAT", assemble(Raw(b"link", b"/etc", mode=LINK, system=0)), "symbolic link"),
    ("symlink, said by nobody known", assemble(Raw(b"link", b"/etc", mode=LINK, system=255)), "symbolic link"),
    ("symlink named like a directory", assemble(Raw(b"link/", b"/etc", mode=LINK)), "symbolic link"),
    ("device", packed((member("null", 0o020666), b"")), "device"),
    ("block device", packed((member("disk", 0o060666), b"")), "device"),
    ("whiteout", packed((member(".wh.x", 0o020000), b"")), "device"),
    ("fifo", packed((member("pipe", 0o010666), b"")), "special file"),
    ("socket", packed((member("socket", 0o140666), b"")), "special file"),
    ("door", packed((member("door", 0o150666), b"")), "special file"),
    ("a type that there is not", packed((member("odd", 0o170644), b"")), "special file"),
    # what clashes
    ("file, then directory", packed((member("a"), b"1"), (member("a/b"), b"2")), "inside a member"),
    ("directory, then file", packed((member("a/b"), b"1"), (member("a"), b"2")), "file and as a directory"),
    ("directory and file", packed((member("a/", DIRECTORY), b""), (member("a"), b"2")), "file and as a directory"),
    ("file named like a directory", packed((member("a/", FILE), b"")), "named like a directory"),
    ("directory with content", packed((member("a/", 0), b"x")), "named like a directory"),
    ("directory named like a file", packed((member("a", DIRECTORY), b"")), "not named like one"),
    # what cannot be read, or by us alone
    ("encrypted", with_flag(0x1), "encrypted"),
    ("patch data", with_flag(0x20), "encrypted"),
    ("strongly encrypted", with_flag(0x40), "encrypted"),
    ("masked", with_flag(0x2000), "encrypted"),
    ("encrypted as WinZip does", assemble(Raw(b"a", method=99, flags=1)), "encrypted"),
    ("lzma", packed((member("a", method=zipfile.ZIP_LZMA), b"x")), "method"),
    ("bzip2", packed((member("a", method=zipfile.ZIP_BZIP2), b"x")), "method"),
    ("deflate64", assemble(Raw(b"a", method=9)), "method"),
    ("zstandard", assemble(Raw(b"a", method=93)), "method"),
    ("a method that there is not", assemble(Raw(b"a", method=77)), "method"),
    ("of the far future", assemble(Raw(b"a", version=255)), "damaged"),
    # sizes and places that lie
    ("overlapping members", overlapping(), "overlap"),
    ("a member inside another", quoting(), "overlap"),
    ("a member in the table of contents", into_table(), "does not lie before"),
    ("the same member twice in the table", assemble(Raw(b"a"), Raw(b"b", offset=0)), "overlap"),
    ("shorter than it says", assemble(replace(deflated(b"a", b"x" * 10), size=1000)), "damaged"),
    ("shorter than it says, stored", assemble(Raw(b"a", b"x" * 10, size=20)), "damaged"),
    ("packed longer than the archive", assemble(Raw(b"a", packed_size=2**31)), "does not lie before"),
    ("no beginning", assemble(Raw(b"a", offset=2**31)), "does not lie before"),
    ("none, by 64 bits", assemble(Raw(b"a", offset=2**32 - 1, extra=zip64_extra(2**63))), "does not lie before"),
    ("8 EiB", assemble(Raw(b"a", size=2**32 - 1, extra=zip64_extra(2**63 - 1))), "more than 200 times"),
    ("16 EiB", assemble(Raw(b"a", size=2**32 - 1, extra=zip64_extra(2**64 - 1))), "more than 200 times"),
    ("64 bits that are not there", assemble(Raw(b"a", size=2**32 - 1, extra=extra(1, b"1234"))), "damaged"),
    ("an extra field past the end", assemble(Raw(b"a", extra=struct.pack("<HH", 1, 5000))), "damaged"),
    ("a table of contents larger than the archive", assemble(Raw(b"a"), table_size=10**6), "damaged"),
    ("a table of contents in the middle of an entry", assemble(Raw(b"a"), table_size=20), "damaged"),
    ("on several disks", assemble(Raw(b"a"), before_end=zip64_end(1, 47, 32, disks=3)), "damaged"),
    ("zip64 that leads astray", assemble(Raw(b"a"), before_end=zip64_end(1, 2**63, 2**63)), "damaged"),
    ("more members than may be", implied(1700, 60), "more than 100000 files"),
    # content
    ("empty", b"", "damaged"),
    ("no zip", b"version=2\n", "damaged"),
    ("gzip", b"\x1f\x8b\x08\0" + bytes(100), "damaged"),
    ("only the magic", b"PK\x03\x04", "damaged"),
    ("only the end, cut", b"PK\x05\x06" + bytes(10), "damaged"),
    ("cut", packed((member("a"), b"x" * 5000))[:-30], "damaged"),
    ("cut in front", packed((member("a"), os.urandom(5000)))[200:], "damaged"),
    ("content changed", packed((member("a", method=0), b"right")).replace(b"right", b"wrong"), "damaged"),
    ("wrong checksum", assemble(Raw(b"a", crc=1)), "damaged"),
    ("deflate that is none", assemble(Raw(b"a", method=8, stored=b"\xff" * 20, size=20)), "damaged"),
]  # fmt: skip

_NESTED = packed((member("inner"), b"inner"))
_LINK_OF_PKWARE = extra(0xD, bytes(12) + b"/etc/passwd")
_LINK_OF_ASI = extra(0x756E, struct.pack("<LHL2H", 0, LINK, 11, 0, 0) + b"/etc/passwd")
# Odd, but no harm: what it is, the archive, and the files that come out of it.
HARMLESS: list[tuple[str, bytes, dict[str, bytes]]] = [
    ("an empty archive", end_record(0, 0, 0), {}),
    ("an archive inside", packed((member("a.zip"), _NESTED)), {"a.zip": _NESTED}),
    *((f"named {name!r}", packed((member(name), b"1")), {name: b"1"}) for name in (
        "CON", "nul.txt", "C:x", "a. /b. ", "\uff0e\uff0e/x", "\u2024\u2024/y", "%2e%2e/x", "$(reboot)", "-rf",
        "~/.ssh/k", ".../x", "a\u202eb",
    )),
    ("names that differ by case", packed((member("A"), b"1"), (member("a"), b"2")), {"A": b"1", "a": b"2"}),
    ("names that differ by normal form", packed((member("\xe9"), b"1"), (member("e\u0301"), b"2")),
     {"\xe9": b"1", "e\u0301": b"2"}),
    ("a member twice", packed((member("a"), b"1"), (member("a"), b"2")), {"a": b"2"}),
    *((what, archive, {"a": b"1"}) for what, archive in (
        ("a program before it", assemble(Raw(b"a", b"1"), prefix=b"#!/bin/sh\nexit 1\n")),
        ("a program before it that nobody counted", b"MZ" + bytes(98) + assemble(Raw(b"a", b"1"))),
        ("a count that lies", assemble(Raw(b"a", b"1"), count=9)),
        ("a comment", assemble(Raw(b"a", b"1"), comment=b"PK and more")),
        ("wrong sizes behind the content", assemble(Raw(b"a", b"1", flags=8, descriptor=b"PK\x07\x08wrong"))),
        ("another method in the local header", assemble(Raw(b"a", b"1", local_method=8))),
        ("encrypted, says the local header alone", assemble(Raw(b"a", b"1", local_flags=0x801))),
        ("the link field of PKWARE", assemble(Raw(b"a", b"1", extra=_LINK_OF_PKWARE))),
        ("the link field of ASi", assemble(Raw(b"a", b"1", extra=_LINK_OF_ASI))),
        ("a reparse point of Windows", assemble(Raw(b"a", b"1", mode=0, system=0, attributes=0x400))),
        ("a directory by attribute alone", assemble(Raw(b"a", b"1", mode=0, system=0, attributes=0x10))),
        ("the same name twice", named_twice(b"a", b"a")),
        ("setuid and sticky", assemble(Raw(b"a", b"1", mode=0o107777))),
    )),
    ("a count that lies downwards", assemble(Raw(b"a", b"1"), Raw(b"b", b"2"), count=1), {"a": b"1", "b": b"2"}),
]  # fmt: skip
