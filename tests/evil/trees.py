"""What a job can leave behind so that whoever reads its results reads something else, for ever, or too much.

Each tree is made in a directory next to which lies a file `secret`; every tree holds a file `good` besides. The
job's processes are gone when its results are read, so nothing grows or moves any more by then.
"""

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from horde_executor.removal import remove_tree

SECRET = "secret of the host"
COUNT = 300
"""The most entries that the readers of these trees may look at."""


@dataclass(frozen=True)
class Tree:
    """What is done to the directory, and the words with which it is left out as artifact, refused as output.

    None for an artifact: it is delivered, or there is nothing to deliver. `path` is what the output names.
    """

    what: str
    make: Callable[[Path], object]
    artifact: str | None
    output: str
    path: str = "x"


@contextmanager
def grown(tree: Tree, place: Path) -> Iterator[Path]:
    """The tree, made in a directory of its own below `place`."""
    (place / "secret").write_text(SECRET)
    root = place / "root"
    root.mkdir()
    (root / "good").write_text("good")
    with ExitStack() as later:
        later.callback(remove_tree, root)  # some are too deep for others
        left = tree.make(root)
        if callable(left):
            later.callback(left)
        yield root


def _link(to: str) -> Callable[[Path], object]:
    return lambda root: (root / "x").symlink_to(to)


def _loop(root: Path) -> None:
    (root / "x").symlink_to("y")
    (root / "y").symlink_to("x")


def _chain(root: Path) -> None:
    (root / "x").symlink_to("1")
    for index in range(1, 41):
        (root / str(index)).symlink_to(str(index + 1))
    (root / "41").write_text("the end")


def _way(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "x").write_text("x")
    (root / "way").symlink_to("real")


def _hard_link(root: Path) -> None:
    os.link(root.parent / "secret", root / "x")


def _two_names(root: Path) -> None:
    (root / "x").write_text("x")
    os.link(root / "x", root / "y")


def _linked_pipe(root: Path) -> None:
    os.mkfifo(root / "x")
    os.link(root / "x", root / "y")


def _socket(root: Path) -> None:
    directory = os.open(root, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{directory}/x")  # a name of its own would be too long
    os.close(directory)


def _device(kind: int, major: int, minor: int) -> Callable[[Path], object]:
    return lambda root: os.mknod(root / "x", kind | 0o666, os.makedev(major, minor))


def _sparse(root: Path) -> None:
    with (root / "x").open("wb") as file:
        file.truncate(1 << 42)


def _holes(root: Path) -> None:
    with (root / "x").open("wb") as file:
        for index in range(1, 33):
            file.seek(index << 37)
            file.write(b"x")


def _nest(depth: int, name: str) -> Callable[[Path], object]:
    """Deeper than any path may be long: made from within."""

    def make(root: Path) -> None:
        inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=inside)
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=inside)
            os.close(inside)
            inside = deeper
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=inside))
        os.close(inside)

    return make


def _crowd(root: Path) -> None:
    (root / "many").mkdir()
    for index in range(COUNT + 50):
        (root / "many" / str(index)).touch()


def _named(name: bytes) -> Callable[[Path], object]:
    return lambda root: os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY))


def _mounted(root: Path) -> Callable[[], object]:
    (root / "x").touch()
    subprocess.run(["mount", "--bind", root.parent / "secret", root / "x"], check=True)
    return lambda: subprocess.run(["umount", root / "x"], check=True)


def _mounted_directory(root: Path) -> Callable[[], object]:
    (root / "x").mkdir()
    subprocess.run(["mount", "--bind", root.parent, root / "x"], check=True)
    return lambda: subprocess.run(["umount", root / "x"], check=True)


_LINK, _HARD, _NAME = "a symbolic link", "a hard link", "a name that cannot be delivered"
_WAY, _MISSING, _SPARSE = "a directory on the way to it is a link", "is not there", "is a sparse file"

TREES: list[Tree] = [
    Tree("a link to the neighbour", _link("../secret"), _LINK, _LINK),
    Tree("a link to the host's file", _link("/etc/passwd"), _LINK, _LINK),
    Tree("a link to the reader itself", _link("/proc/self/environ"), _LINK, _LINK),
    Tree("a link through the reader's root", _link("/proc/self/root/etc/shadow"), _LINK, _LINK),
    Tree("a link to the reader's input", _link("/dev/stdin"), _LINK, _LINK),
    Tree("a link to the directory above", _link(".."), _LINK, _LINK),
    Tree("through a link to the directory above", _link(".."), _LINK, _WAY, "x/secret"),
    Tree("through a link to the root", _link("/"), _LINK, _WAY, "x/etc/passwd"),
    Tree("a link to itself", _link("x"), _LINK, _LINK),
    Tree("links in a circle", _loop, _LINK, _LINK),
    Tree("through links in a circle", _loop, _LINK, _WAY, "x/y"),
    Tree("a chain of links", _chain, _LINK, _LINK),
    Tree("a link to nowhere", _link("nowhere"), _LINK, _LINK),
    Tree("through a link to its own directory", _way, _LINK, _WAY, "way/x"),
    Tree("a hard link to the neighbour", _hard_link, _HARD, _HARD),
    Tree("a file with two names", _two_names, _HARD, _HARD),
    Tree("a pipe", lambda root: os.mkfifo(root / "x"), "a pipe", "a pipe"),
    Tree("a pipe with two names", _linked_pipe, "a pipe", "a pipe"),
    Tree("a socket", _socket, "a socket", "a socket"),
    Tree("a file of terabytes", _sparse, "over the limit", _SPARSE),
    Tree("a file of holes", _holes, "over the limit", _SPARSE),
    Tree("a nest", _nest(40, "d"), "deeper than 32", _MISSING),
    Tree("a nest longer than a path", _nest(40, "d" * 250), "limit is 1024", _MISSING),
    Tree("a nest without end", _nest(3000, "d"), "deeper than 32", _MISSING),
    Tree("a crowd", _crowd, f"more than the {COUNT} files", _MISSING),
    Tree("a directory in place of the file", lambda root: (root / "x").mkdir(), None, "is a directory"),
    Tree("a file in place of the directory", lambda root: (root / "d").touch(), None, "is a file", "d/x"),
    Tree("nothing", lambda _: None, None, _MISSING),
    *(
        Tree(f"the name {name!r}", _named(name), _NAME, _MISSING)
        for name in (
            b"caf\xe9",
            b"new\nline",
            b"\x1b[2J",
            b"back\\slash",
            b"\xe2\x80\xae",
            b"e\xcc\x81",
            b"\xed\xa0\x80",
        )
    ),
]
if os.geteuid() == 0:  # what nobody else can make, and a job cannot either
    TREES += [
        Tree("an endless device", _device(stat.S_IFCHR, 1, 5), "a device", "a device"),
        Tree("the memory", _device(stat.S_IFCHR, 1, 1), "a device", "a device"),
        Tree("a disk", _device(stat.S_IFBLK, 7, 0), "a device", "a device"),
        Tree("a whiteout", _device(stat.S_IFCHR, 0, 0), "a device", "a device"),
        Tree("a file of the host, mounted", _mounted, "cannot be read", _WAY),
        Tree("a directory of the host, mounted", _mounted_directory, "cannot be read", _WAY, "x/secret"),
    ]
