"""The directory of one attempt on the host: made before the container, removed after it, whatever the job did.

work/<job>-<attempt>/           0700, so nobody on the host gets in
    volume/  output/  artifacts/    0777, what the container sees
    inputs/  layers/                0777, where /volume is a layer above files of the cache: the files, linked
                                    there, and what the kernel needs; volume/ then has what the job changes
    tmp/                            what is in between
    hosts                           the container's /etc/hosts
"""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from horde_executor import threads
from horde_executor.errors import WorkspaceError
from horde_executor.layers import Layers
from horde_executor.removal import remove_tree

VOLUME, OUTPUT = "/volume", "/output"

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_NAME = re.compile(rf"({_JOB.pattern})-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host and where the container sees it."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A directory inside a tree of ours. The path `below` the root is in the hands of the job."""

    root: Path
    below: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """The directory of an attempt; `root` is its path on the host. `layered`: `/volume` lies above `inputs`."""

    root: Path
    layered: bool = False

    @property
    def volume(self) -> Path:
        """What the container sees as `/volume`."""
        return self.root / "volume"

    @property
    def inputs(self) -> Path:
        """Where volumes are placed: what the container sees as `/volume`, or the files below that."""
        return self.root / "inputs" if self.layered else self.volume

    @property
    def output(self) -> Path:
        """What the container sees as `/output`."""
        return self.root / "output"

    @property
    def artifacts(self) -> Path:
        """What the container sees as its artifacts directory, where that has a mount of its own."""
        return self.root / "artifacts"

    @property
    def tmp(self) -> Path:
        """For what is on its way; the container never sees it."""
        return self.root / "tmp"

    @property
    def hosts(self) -> Path:
        """What the container sees as `/etc/hosts`."""
        return self.root / "hosts"

    def mounts(self, artifacts_dir: str | None) -> tuple[Mount | Layers, ...]:
        """All mounts of the container, for an artifacts directory in its normal form (`horde_core.paths`)."""
        layers = Layers(self.inputs, self.volume, self.root / "layers", VOLUME)
        mounts: list[Mount | Layers] = [
            layers if self.layered else Mount(self.volume, VOLUME, read_only=False),
            Mount(self.output, OUTPUT, read_only=False),
            Mount(self.hosts, "/etc/hosts", read_only=True),
        ]
        if artifacts_dir is not None and self.place_of(artifacts_dir).root == self.artifacts:
            mounts.append(Mount(self.artifacts, artifacts_dir, read_only=False))
        return tuple(mounts)

    def place_of(self, artifacts_dir: str) -> Place:
        """Where the artifacts directory is on the host: in one of the other trees, or a tree of its own."""
        path = PurePosixPath(artifacts_dir)
        for target, root in ((VOLUME, self.volume), (OUTPUT, self.output)):
            if path.is_relative_to(target):
                return Place(root, path.relative_to(target).parts)
        return Place(self.artifacts, ())


def workspace_of(data: Path, job: str, attempt: int) -> Workspace:
    """The workspace of an attempt, which need not exist.

    Raises:
        WorkspaceError: the job's name could lead elsewhere.
    """
    if not _JOB.fullmatch(job):
        raise WorkspaceError(f"{job!r} is no name of a job")
    return Workspace(data / "work" / f"{job}-{attempt}")


def leftovers(data: Path) -> dict[tuple[str, int], Workspace]:
    """All workspaces that are there, by job and attempt: after a crash, those of the dead agent."""
    found: dict[tuple[str, int], Workspace] = {}
    work = data / "work"
    for path in sorted(work.iterdir()) if work.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name is not None:
            found[name[1], int(name[2])] = Workspace(path)
    return found


def make(workspace: Workspace, hosts: str, artifacts_dir: str | None) -> None:
    """Make the directories anew (what an earlier run of the same attempt left is removed); blocking.

    Raises:
        WorkspaceError: the host does not let us.
    """
    try:
        remove_tree(workspace.root)
        workspace.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace.root.mkdir(mode=0o700)
        workspace.root.chmod(0o700)
        workspace.tmp.mkdir(mode=0o700)
        layers = (workspace.inputs, workspace.root / "layers") if workspace.layered else ()
        for path in (workspace.volume, workspace.output, workspace.artifacts, *layers):
            _make_open(path)
        if artifacts_dir is not None:
            place = workspace.place_of(artifacts_dir)
            for depth in range(1, len(place.below) + 1):
                _make_open(place.root.joinpath(*place.below[:depth]))
        workspace.hosts.write_text(hosts)
        workspace.hosts.chmod(0o644)
    except OSError as error:
        raise WorkspaceError(f"the executor cannot make {workspace.root}: {error.strerror}") from error


def _make_open(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)  # whatever the umask; the job may run as any user


@asynccontextmanager
async def opened(
    data: Path, job: str, attempt: int, *, hosts: str, artifacts_dir: str | None, layered: bool = False
) -> AsyncGenerator[Workspace, None]:
    """The workspace of an attempt for as long as the block runs; removed afterwards, also on cancellation.

    With `layered` its `/volume` is a layer above the inputs, unless the artifacts lie there: those are read when
    the container, and with it that view, is gone.

    Raises:
        WorkspaceError: it could not be made, or not be removed completely.
    """
    workspace = workspace_of(data, job, attempt)
    if layered and (artifacts_dir is None or workspace.place_of(artifacts_dir).root != workspace.volume):
        workspace = replace(workspace, layered=True)
    try:
        await threads.run(lambda _: make(workspace, hosts, artifacts_dir), name="make workspace")
        yield workspace
    finally:
        await remove(workspace)


async def remove(workspace: Workspace) -> None:
    """Remove a workspace completely. A cancelled caller waits until it is done; it may be called again.

    Raises:
        WorkspaceError: something in it could not be removed; what, and why, is in the message.
    """
    await threads.run(lambda _: remove_tree(workspace.root), name="remove workspace")
