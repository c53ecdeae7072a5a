"""Artifacts: what may be taken is taken with its full path, everything else is listed with the reason."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from horde_executor import beneath
from horde_executor.beneath import open_beneath, open_root
from horde_executor.collect import Artifact, Caps, Collected, collect
from horde_executor.errors import WorkspaceError
from horde_executor.workspace import Place

DIR = "/results"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret of the host")
    made = tmp_path / "artifacts"
    made.mkdir()
    return made


def collected(root: Path, *below: str, caps: Caps | None = None) -> Collected:
    return collect(Place(root, below), "/".join((DIR, *below)), caps)


def read(artifact: Artifact) -> bytes:
    with artifact.open() as file:
        return os.read(file, 1 << 20)


def reasons(found: Collected) -> dict[str, str]:
    return {entry.path: entry.why for entry in found.left_out}


def test_nested_files_come_with_full_paths_sizes_and_contents(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "deep.bin").write_bytes(b"deep")
    (root / "z.txt").write_text("z")
    (root / "empty").touch()
    (root / "é ü.txt").write_text("name")
    found = collected(root)
    assert found.left_out == ()
    assert {artifact.path: (artifact.size, read(artifact)) for artifact in found.artifacts} == {
        "/results/a/b/deep.bin": (4, b"deep"),
        "/results/empty": (0, b""),
        "/results/z.txt": (1, b"z"),
        "/results/é ü.txt": (4, b"name"),
    }
    assert [artifact.path for artifact in found.artifacts] == sorted(artifact.path for artifact in found.artifacts)


def test_a_file_without_rights_is_read_by_root_and_left_out_by_anybody_else(root: Path) -> None:
    (root / "locked").write_text("ours")
    (root / "locked").chmod(0)
    (root / "locked-dir").mkdir(mode=0)
    script = (
        "import sys; from pathlib import Path; from horde_executor.collect import collect;"
        "from horde_executor.workspace import Place;"
        "found = collect(Place(Path(sys.argv[1]), ()), '/results');"
        "print([artifact.path for artifact in found.artifacts]);"
        "print(sorted((entry.path, 'Permission denied' in entry.why) for entry in found.left_out))"
    )
    if os.geteuid() == 0:
        assert [read(artifact) for artifact in collected(root).artifacts] == [b"ours"]
    command = [sys.executable, "-c", script, root]
    without = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *command] if os.geteuid() == 0 else command
    said = subprocess.run(without, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == ["[]", "[('/results/locked', True), ('/results/locked-dir', True)]"]


def test_an_artifacts_directory_inside_another_tree_is_all_that_is_collected(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "outside").write_text("x")
    (root / "a" / "b" / "in").write_text("in")
    found = collected(root, "a", "b")
    assert [(artifact.path, read(artifact)) for artifact in found.artifacts] == [("/results/a/b/in", b"in")]


def test_a_directory_that_the_job_removed_is_empty(root: Path) -> None:
    assert collected(root, "gone", "too") == Collected((), ())
    assert collected(root) == Collected((), ())


def test_a_directory_that_the_job_replaced_is_left_out_and_not_followed(root: Path) -> None:
    (root / "link").symlink_to(root.parent)
    (root / "file").write_text("x")
    for below in (("link",), ("file",), ("link", "artifacts")):
        found = collected(root, *below)
        assert found.artifacts == ()
        assert [entry.path for entry in found.left_out] == ["/".join((DIR, *below))]
        assert "no directory that can be read" in found.left_out[0].why


def test_everything_but_plain_files_is_left_out_with_the_reason(root: Path) -> None:
    (root / "to-secret").symlink_to(root.parent / "secret")
    (root / "to-dir").symlink_to(root.parent)
    (root / "up").symlink_to("..")
    (root / "dangling").symlink_to("nowhere")
    (root / "good").write_text("good")
    os.link(root.parent / "secret", root / "hard")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    expected = {
        "/results/to-secret": "a symbolic link",
        "/results/to-dir": "a symbolic link",
        "/results/up": "a symbolic link",
        "/results/dangling": "a symbolic link",
        "/results/hard": "a hard link",
        "/results/pipe": "a pipe",
        "/results/socket": "a socket",
    }
    with suppress(PermissionError):  # only root makes devices
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        expected["/results/null"] = "a device"
    found = collected(root)
    assert [artifact.path for artifact in found.artifacts] == ["/results/good"]
    assert {path: why.split(" (")[0].split(";")[0] for path, why in reasons(found).items()} == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", "/results/caf\\xe9"),
        (b"new\nline", "/results/new\nline"),
        (b"back\\slash", "/results/back\\slash"),
        ("decomposed-e\u0301".encode(), "/results/decomposed-e\u0301"),
        ("invisible\u202e".encode(), "/results/invisible\u202e"),
    ],
)
def test_a_name_that_cannot_be_delivered_is_left_out_readably(root: Path, name: bytes, shown: str) -> None:
    os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    (root / "good").touch()
    found = collected(root)
    assert [artifact.path for artifact in found.artifacts] == ["/results/good"]
    assert list(reasons(found)) == [shown]
    assert "cannot be delivered" in reasons(found)[shown]
    assert found.left_out[0].model_dump_json().encode()


def test_directories_nested_too_deep_are_left_out(root: Path) -> None:
    inner = root.joinpath(*["d"] * 40)
    inner.mkdir(parents=True)
    (inner / "file").touch()
    found = collected(root)
    assert found.artifacts == ()
    assert list(reasons(found)) == ["/results/" + "/".join(["d"] * 32)]
    assert "deeper than 32" in next(iter(reasons(found).values()))


def test_sizes_count_as_they_are_told_also_of_sparse_files(root: Path) -> None:
    (root / "a").write_bytes(b"a" * 600)
    with (root / "b-sparse").open("wb") as file:
        file.truncate(1 << 40)
    (root / "c").write_bytes(b"c" * 401)
    (root / "d").write_bytes(b"d" * 400)
    found = collected(root, caps=Caps(size=1000))
    assert [artifact.path for artifact in found.artifacts] == ["/results/a", "/results/d"]
    assert [(entry.path, entry.size) for entry in found.left_out] == [
        ("/results/b-sparse", 1 << 40),
        ("/results/c", 401),
    ]
    assert "over the limit of 1000 bytes for all artifacts" in found.left_out[0].why


def test_more_files_than_allowed_are_left_out_aloud(root: Path) -> None:
    for name in "abc":
        (root / name).mkdir()
        for index in range(4):
            (root / name / f"{index}").touch()
    found = collected(root, caps=Caps(count=10))
    assert len(found.artifacts) == 7
    assert {path: why for path, why in reasons(found).items() if "more than the 10 files" in why}
    assert {artifact.path.split("/")[2] for artifact in found.artifacts} == {"a", "b"}


def test_the_list_of_what_was_left_out_has_an_end_that_says_so(root: Path) -> None:
    for index in range(20):
        (root / f"{index:02}").symlink_to("x")
    found = collected(root, caps=Caps(listed=5))
    assert len(found.left_out) == 6
    assert found.left_out[-1].path == DIR
    assert found.left_out[-1].why.startswith("15 more were left out")


def test_an_artifact_that_was_swapped_after_collecting_is_not_read(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_text("right")
    artifact = collected(root).artifacts[0]
    assert read(artifact) == b"right"
    (root / "d" / "a").unlink()
    (root / "d" / "a").symlink_to(root.parent / "secret")
    with pytest.raises(OSError, match="symbolic"):
        read(artifact)
    shutil.rmtree(root / "d")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "a").write_text("wrong")
    (root / "d").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        read(artifact)
    (root / "d").unlink()
    (root / "d").mkdir()
    (root / "d" / "a").write_text("longer than before")
    with pytest.raises(OSError, match="changed after it was collected"):
        read(artifact)


def test_no_race_of_names_leads_outside(root: Path) -> None:
    """While somebody swaps a directory and a link to the host's, thousands of openings never read the host's."""
    (root / "real").mkdir()
    (root / "real" / "secret").write_text("the job's own")
    (root / "link").symlink_to(root.parent)
    swapped = threading.Event()

    def swap() -> None:
        for turn in count():
            source = "real" if turn % 2 else "link"
            os.rename(root / source, root / "d")  # noqa: PTH104 - the fastest way
            os.rename(root / "d", root / source)  # noqa: PTH104
            if turn > 200:
                swapped.set()
            if done.is_set():
                return

    done = threading.Event()
    thread = threading.Thread(target=swap)
    thread.start()
    directory = open_root(root)
    seen: set[bytes] = set()
    try:
        assert swapped.wait(10)
        for _ in range(20_000):
            try:
                file = open_beneath(directory, "d/secret", os.O_RDONLY)
            except OSError:
                continue
            seen.add(os.read(file, 100))
            os.close(file)
    finally:
        done.set()
        thread.join()
        os.close(directory)
    assert seen <= {b"the job's own"}


@pytest.mark.parametrize("path", ["..", "../secret", "/etc/passwd", "a/../../secret", "/proc/self/root"])
def test_no_path_leads_out_of_the_root(root: Path, path: str) -> None:
    (root / "a").mkdir()
    directory = open_root(root)
    try:
        with pytest.raises(OSError, match=r"cross-device|symbolic"):
            open_beneath(directory, path, os.O_RDONLY)
    finally:
        os.close(directory)


def test_a_kernel_without_openat2_is_told_clearly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_OPENAT2", 9999)
    with pytest.raises(WorkspaceError, match=r"Linux 5\.6 or newer"):
        collected(root)
