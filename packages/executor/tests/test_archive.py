"""Zip archives: what is taken lands below the directory as it was packed, everything else is refused whole."""

import io
import os
import stat
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evil.archives import (
    DIRECTORY,
    END_LIKE_PLACE,
    HARMLESS,
    MIB,
    REFUSED,
    Raw,
    assemble,
    bomb,
    entries,
    member,
    packed,
)
from horde_core.outcomes import Reason, Stage
from horde_executor.archive import ArchiveCaps, unpack
from horde_executor.errors import JobFailure, Stopped
from horde_executor.room import Room


def unpack_into(
    root: Path,
    data: bytes,
    *,
    limit: int = 1 << 40,
    caps: ArchiveCaps | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack(
            io.BytesIO(data),
            directory,
            name="/volume/data",
            room=Room(limit),
            stop=stop or threading.Event(),
            caps=caps,
            progress=progress,
        )
    finally:
        os.close(directory)


def tree(root: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every path below with its mode and, for files, its content."""
    return {
        str(path.relative_to(root)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in root.rglob("*")
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory whose surroundings are watched: nothing may appear outside."""
    (tmp_path / "outside").write_text("untouched")
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)
    return inside


def nothing_outside(root: Path) -> bool:
    top = root.parents[1]
    names = {str(path.relative_to(top)) for path in top.rglob("*") if root not in path.parents}
    return names == {"b", "b/inside"} and (top.parent / "outside").read_text() == "untouched"


def test_files_directories_and_exec_bits_come_out_usable_by_anybody(root: Path) -> None:
    """Whatever the agent's umask and the modes in the archive."""
    before = os.umask(0o077)
    try:
        unpack_into(
            root,
            packed(
                (member("cfg.json"), b"{}"),
                (member("bin/run", 0o100700), b"#!"),
                (member("secret", 0o100000), b"s"),
                (member("setuid", 0o104755), b"u"),
                (member("empty/", DIRECTORY), b""),
                (member("deep/er/and deeper/é.txt", 0), b"e" * 3 * MIB),
            ),
        )
    finally:
        os.umask(before)
    assert tree(root) == {
        "cfg.json": (0o666, b"{}"),
        "bin": (0o777, None),
        "bin/run": (0o777, b"#!"),
        "secret": (0o666, b"s"),
        "setuid": (0o777, b"u"),
        "empty": (0o777, None),
        "deep": (0o777, None),
        "deep/er": (0o777, None),
        "deep/er/and deeper": (0o777, None),
        "deep/er/and deeper/é.txt": (0o666, b"e" * 3 * MIB),
    }


def test_a_later_archive_merges_directories_and_replaces_files(root: Path) -> None:
    unpack_into(root, packed((member("d/old"), b"1"), (member("d/both", 0o100755), b"1 longer")))
    unpack_into(root, packed((member("d/new"), b"2"), (member("d/both"), b"not yet"), (member("d/both"), b"2")))
    assert tree(root) == {
        "d": (0o777, None),
        "d/old": (0o666, b"1"),
        "d/new": (0o666, b"2"),
        "d/both": (0o666, b"2"),
    }


def test_a_zip64_archive_and_one_with_something_before_it_are_read(root: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, archive.open("big", "w", force_zip64=True) as file:
        file.write(b"64")
    unpack_into(root, b"#!/bin/sh self-extracting\n" + data.getvalue())
    assert tree(root) == {"big": (0o666, b"64")}


@pytest.mark.parametrize(("data", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_hostile_archive_is_refused_in_clear_words_and_leaves_nothing_outside(
    root: Path, data: bytes, says: str
) -> None:
    with pytest.raises(JobFailure) as failed:
        unpack_into(root, data)
    assert (failed.value.stage, failed.value.reason) == (Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED)
    assert failed.value.message.startswith("/volume/data: the zip archive ")
    assert says in failed.value.message
    assert nothing_outside(root)
    if says != "damaged":
        assert tree(root) == {}, "something was written before the archive was judged"


def test_what_an_earlier_volume_put_there_cannot_be_used_to_get_out(root: Path) -> None:
    """Should a link be there against all rules, it is not followed."""
    (root / "link").symlink_to(root.parent)
    (root / "file").symlink_to(root.parent / "target")
    with pytest.raises(JobFailure, match="file and a directory would have the same name"):
        unpack_into(root, packed((member("link/x"), b"x")))
    unpack_into(root, packed((member("file"), b"replaced")))
    assert (root / "file").read_bytes() == b"replaced"
    assert not (root / "file").is_symlink()
    assert nothing_outside(root)


@pytest.mark.parametrize(("data", "files"), [row[1:] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
def test_what_is_odd_but_harmless_comes_out_as_it_says(root: Path, data: bytes, files: dict[str, bytes]) -> None:
    unpack_into(root, data)
    assert {path: content for path, (_, content) in tree(root).items() if content is not None} == files
    assert nothing_outside(root)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_directory_of_one_name_in_two_archives_clash(root: Path, first: str, second: str) -> None:
    unpack_into(root, packed((member(first), b"1")))
    with pytest.raises(JobFailure, match="give them different paths") as failed:
        unpack_into(root, packed((member(second), b"2")))
    assert failed.value.reason is Reason.DOWNLOAD_FAILED


def test_bombs_are_refused_before_a_byte_is_written(root: Path) -> None:
    data = bomb(80 * MIB)
    with pytest.raises(JobFailure, match=r"to 80\.0 MiB, more than 200 times its size"):
        unpack_into(root, data)
    with pytest.raises(JobFailure, match="too large"):
        unpack_into(root, data, caps=ArchiveCaps(ratio=2000), limit=79 * MIB)
    assert tree(root) == {}
    unpack_into(root, data, caps=ArchiveCaps(ratio=2000), limit=80 * MIB)
    assert (root / "zeros").stat().st_size == 80 * MIB


def test_what_packs_well_but_is_small_is_no_bomb(root: Path) -> None:
    unpack_into(root, bomb(32 * MIB))
    assert (root / "zeros").stat().st_size == 32 * MIB


def test_a_member_that_is_longer_than_it_says_is_cut_off_and_refused(root: Path) -> None:
    data = bytearray(packed((member("a"), bytes(5 * MIB))))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 100)
    with pytest.raises(JobFailure, match="damaged"):
        unpack_into(root, bytes(data))
    assert (root / "a").stat().st_size <= 100


@pytest.mark.parametrize("place", [0, END_LIKE_PLACE])
def test_entries_are_counted_before_they_are_kept_in_memory(root: Path, place: int) -> None:
    """60,000 entries are refused with 10 MiB of memory beyond the archive, wherever its end seems to be."""
    data = entries(60_000, place)
    tracemalloc.start()
    try:
        with pytest.raises(JobFailure, match="more than 20000 files and directories"):
            unpack_into(root, data, caps=ArchiveCaps(entries=20_000))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 10 * MIB
    finally:
        tracemalloc.stop()


def test_directories_that_paths_imply_count_as_entries(root: Path) -> None:
    with pytest.raises(JobFailure, match="more than 6 files and directories"):
        unpack_into(root, packed((member("1/2/3/4/5/6/7"), b"x")), caps=ArchiveCaps(entries=6))
    assert tree(root) == {}


def test_a_table_of_contents_has_a_limit_too(root: Path) -> None:
    """Few entries can be large by their comments."""
    with pytest.raises(JobFailure, match=r"has a table of contents of 64\.0 KiB; the limit is 10\.0 KiB"):
        unpack_into(root, assemble(Raw(b"a", comment=b"c" * 65_500)), caps=ArchiveCaps(entries=10))
    unpack_into(root, assemble(Raw(b"a", comment=b"c" * 9000)), caps=ArchiveCaps(entries=10))


def test_a_refusal_does_not_repeat_a_name_of_any_length(root: Path) -> None:
    """Neither one of the table of contents, nor one that zipfile complains about."""
    for data in (assemble(Raw(b"n" * 65535)), assemble(Raw(b"safe", local_name=b"n" * 65535))):
        with pytest.raises(JobFailure) as failed:
            unpack_into(root, data)
        assert len(failed.value.message) < 400


def test_extraction_ends_when_nobody_waits_for_it_any_more(root: Path) -> None:
    stop = threading.Event()
    with pytest.raises(Stopped):
        unpack_into(root, packed((member("a"), os.urandom(8 * MIB))), stop=stop, progress=lambda _: stop.set())
    assert (root / "a").stat().st_size <= 2 * MIB


NAMES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", ".", "..", "a", "b", "A", "é", "e\u0301", " ", "~", "C:", "...", "con", "a\\b", "\u202e"]
        ),
        st.text(max_size=5),
    ),
    max_size=4,
).map("/".join)


def is_plain(name: str) -> bool:
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


def encodable(name: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES.filter(encodable), max_size=5))
def test_names_come_out_as_they_are_or_the_archive_is_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """No name is mended, and none leads out of the directory."""
    top = tmp_path_factory.mktemp("names")
    root = top / "a" / "b" / "c" / "inside"
    root.mkdir(parents=True)
    files = [(member(name, DIRECTORY if name.endswith("/") else 0o100644), name.encode()) for name in names]
    data = packed(*((info, b"" if info.filename.endswith("/") else content) for info, content in files))
    try:
        unpack_into(root, data)
    except JobFailure as failure:
        assert failure.reason is Reason.DOWNLOAD_FAILED  # noqa: PT017 - one of two good endings
        assert tree(root) == {}
    else:
        found = {path for path, (_, content) in tree(root).items() if content is not None}
        assert found == {name for name in names if not name.endswith("/")}
        assert all((root / name).read_bytes() == name.encode() for name in found)
        assert all(is_plain(name.removesuffix("/")) for name in names)
    assert {str(path.relative_to(top)) for path in top.rglob("*") if root not in path.parents} == {
        "a", "a/b", "a/b/c", "a/b/c/inside",
    }  # fmt: skip


VALID = packed(
    (member("d/a"), b"content " * 20), (member("b", method=0), b"stored"), (member("e/", DIRECTORY), b"")
)


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
def test_a_damaged_archive_never_fails_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    data = bytearray(VALID)
    for position, byte in changes:
        data[position] = byte
    try:
        unpack_into(root, bytes(data[: len(data) - cut]))
    except JobFailure as failure:
        assert failure.reason is Reason.DOWNLOAD_FAILED  # noqa: PT017 - one of two good endings
