"""The directory of an attempt: what the container sees of it, and that nothing of it stays."""

import asyncio
import fcntl
import os
import stat
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from horde_executor import workspace
from horde_executor.errors import WorkspaceError
from horde_executor.removal import remove_tree
from horde_executor.workspace import Mount, Place, Workspace, leftovers, make, opened, workspace_of

JOB = "9c0f8a5e-3b1f-4c55-a3cf-1d2f6d9f7f10"
HOSTS = "127.0.0.1\tlocalhost\n"
SET_FLAGS, IMMUTABLE, APPEND_ONLY = 0x40086602, 0x10, 0x20


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    made = workspace_of(tmp_path / "data", JOB, 2)
    make(made, HOSTS, "/results")
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def test_a_workspace_is_there_for_the_block_and_gone_afterwards(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        async with opened(tmp_path, JOB, 3, hosts=HOSTS, artifacts_dir="/output/a/b") as space:
            assert space.root == tmp_path / "work" / f"{JOB}-3"
            assert mode(space.root) == mode(space.tmp) == 0o700
            for path in (
                space.volume,
                space.output,
                space.artifacts,
                space.output / "a",
                space.output / "a" / "b",
            ):
                assert mode(path) == 0o777
            assert (mode(space.hosts), space.hosts.read_text()) == (0o644, HOSTS)
            (space.output / "left").write_text("x")
    finally:
        os.umask(before)
    assert list((tmp_path / "work").iterdir()) == []


async def test_a_cancelled_block_removes_its_workspace_too(tmp_path: Path) -> None:
    inside = asyncio.Event()

    async def attempt() -> None:
        async with opened(tmp_path, JOB, 1, hosts=HOSTS, artifacts_dir=None):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(attempt())
    async with asyncio.timeout(5):
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_crash_left_is_found_and_does_not_disturb_the_same_attempt(space: Workspace) -> None:
    (space.volume / "old").write_text("x")
    data = space.root.parent.parent
    (data / "work" / "not-ours.txt").write_text("x")
    assert leftovers(data) == {(JOB, 2): space}
    assert leftovers(data / "nowhere") == {}
    make(space, HOSTS, None)
    assert list(space.volume.iterdir()) == []


@pytest.mark.parametrize("job", ["", "..", "../x", "a/b", "/etc", "a" * 65, "-x", "a\nb"])
def test_a_job_with_a_strange_name_gets_no_workspace(tmp_path: Path, job: str) -> None:
    with pytest.raises(WorkspaceError, match="no name of a job"):
        workspace_of(tmp_path, job, 1)


@pytest.mark.parametrize(
    ("artifacts_dir", "tree", "below"),
    [
        ("/results", "artifacts", ()),
        ("/tmp/a/b", "artifacts", ()),
        ("/outputs", "artifacts", ()),
        ("/volume2", "artifacts", ()),
        ("/output", "output", ()),
        ("/output/a/b", "output", ("a", "b")),
        ("/volume", "volume", ()),
        ("/volume/out", "volume", ("out",)),
    ],
)
def test_artifacts_share_the_tree_that_their_directory_lies_in(
    tmp_path: Path, artifacts_dir: str, tree: str, below: tuple[str, ...]
) -> None:
    space = workspace_of(tmp_path, JOB, 1)
    make(space, HOSTS, artifacts_dir)
    assert space.place_of(artifacts_dir) == Place(space.root / tree, below)
    assert mode(space.root.joinpath(tree, *below)) == 0o777
    own = (Mount(space.artifacts, artifacts_dir, read_only=False),) if tree == "artifacts" else ()
    assert space.mounts(artifacts_dir) == (*space.mounts(None), *own)


def test_the_container_always_has_volume_output_and_hosts(tmp_path: Path) -> None:
    space = workspace_of(tmp_path, JOB, 1)
    assert space.mounts(None) == (
        Mount(space.volume, "/volume", read_only=False),
        Mount(space.output, "/output", read_only=False),
        Mount(space.hosts, "/etc/hosts", read_only=True),
    )


def test_a_workspace_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(WorkspaceError, match=r"cannot make .*work"):
        make(workspace_of(tmp_path, JOB, 1), HOSTS, None)


# --- removal --------------------------------------------------------------------------------------------------


async def test_removal_may_be_repeated(space: Workspace) -> None:
    await workspace.remove(space)
    assert not space.root.exists()
    await workspace.remove(space)
    remove_tree(space.root / "deeper" / "still")


def test_removal_follows_no_link(space: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (space.output / "to-dir").symlink_to(outside)
    (space.output / "to-file").symlink_to(outside / "kept")
    (space.output / "dangling").symlink_to("nowhere")
    (space.output / "loop").symlink_to("loop")
    (space.output / "sub").mkdir()
    (space.output / "sub" / "up").symlink_to("../../../..")
    remove_tree(space.root)
    assert not space.root.exists()
    assert (outside / "kept").read_text() == "kept"
    link = tmp_path / "link"
    link.symlink_to(outside)
    remove_tree(link)
    assert not link.is_symlink()
    assert (outside / "kept").read_text() == "kept"


def test_removal_copes_with_any_modes_owners_kinds_and_names(space: Workspace) -> None:
    (space.output / "locked" / "inner").mkdir(parents=True)
    (space.output / "locked" / "inner" / "file").write_text("x")
    os.mkfifo(space.output / "pipe")
    for name in (b"caf\xe9", b"new\nline", b"-rf", b"*", b"\x01", b"n" * 255):
        directory = os.fsencode(space.volume) + b"/" + name
        os.mkdir(directory)  # noqa: PTH102 - bytes, as the kernel has them
        os.close(os.open(directory + b"/" + name, os.O_CREAT | os.O_WRONLY))
    (space.artifacts / "file").write_text("x")
    (space.artifacts / "hard").hardlink_to(space.artifacts / "file")
    with suppress(PermissionError):  # only root gives files away and makes devices
        os.chown(space.output / "locked", 12345, 12345)
        os.mknod(space.output / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (space.output / "locked" / "inner").chmod(0)
    (space.output / "locked").chmod(0)
    remove_tree(space.root)
    assert not space.root.exists()


def test_removal_goes_as_deep_as_a_job_can(space: Workspace) -> None:
    """Directories in each other whose path is far longer than the kernel takes, and where recursion would end."""
    name = "d" * 100
    current = os.open(space.output, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir(name, dir_fd=current)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=current))
        inner = os.open(name, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(current)
    remove_tree(space.root)
    assert not space.root.exists()


def set_flags(path: Path, flags: int) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(file, SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(file)


def test_removal_thaws_what_was_made_immutable(space: Workspace) -> None:
    inner = space.output / "frozen" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (space.output / "log").write_text("x")
    try:
        set_flags(space.output / "log", APPEND_ONLY)
    except OSError:
        pytest.skip("this user or file system has no such attributes")
    for path in (inner / "file", inner, inner.parent):
        set_flags(path, IMMUTABLE)
    remove_tree(space.root)
    assert not space.root.exists()


@pytest.mark.parametrize("place", ["output", "output/mounted"])
@pytest.mark.parametrize("options", [["-t", "tmpfs", "tmpfs"], ["--bind", "/BESIDE"]])
def test_what_somebody_mounted_inside_stays_whole_and_is_named(
    space: Workspace, tmp_path: Path, place: str, options: list[str]
) -> None:
    (tmp_path / "beside").mkdir()
    target = space.root / place
    target.mkdir(exist_ok=True)
    (space.volume / "other").write_text("x")
    command = ["mount", *(option.replace("/BESIDE", str(tmp_path / "beside")) for option in options), str(target)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        (target / "precious").write_text("kept")
        with pytest.raises(
            WorkspaceError, match=f"could not be removed: '{target.name}': Device or resource busy$"
        ):
            remove_tree(space.root)
        assert not (space.volume / "other").exists()
        assert [path.read_text() for path in space.root.rglob("precious")] == ["kept"]
    finally:
        subprocess.run(["umount", *(str(path) for path in space.root.rglob(target.name))], check=True)
    remove_tree(space.root)
    assert not space.root.exists()
