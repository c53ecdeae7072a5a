"""A writable view of a tree that must not be changed: a layer of its own above it, for each job.

The engine mounts it when it starts the container, as a volume without a name, so the job sees it whatever mount
namespaces the engine and the agent live in, and it is gone with the container, also when the agent died. The
tree below holds links to files of the cache; the kernel copies a file up before it is changed, and only what is
in the upper layer ever is.
"""

import asyncio
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from horde_executor.removal import remove_tree

# With the first a directory of the tree below can be renamed, with the second `chown -R` copies no contents.
_ALWAYS = "redirect_dir=on,metacopy=on"


@dataclass(frozen=True, slots=True)
class Layers:
    """What `target` of a container is made of: `lower` as it is, and `upper` for what the job changes."""

    lower: Path
    upper: Path
    work: Path
    target: str

    @property
    def options(self) -> str:
        """The options of the mount."""
        return f"lowerdir={self.lower},upperdir={self.upper},workdir={self.work},{_ALWAYS}"


async def available(data: Path) -> bool:
    """Whether such a view can be mounted in the data directory; tried in a mount namespace that ends with this.

    It cannot where the agent is not root, the file system cannot be an upper layer (another overlay, NFS), or the
    kernel is older than 4.19.
    """
    if any(char in str(data) for char in ",:\\"):  # they separate options and directories
        return False
    place = data / "try-layers"
    trial = Layers(place / "lower", place / "upper", place / "work", str(place / "view"))
    with suppress(OSError):
        await asyncio.to_thread(_prepare, place, trial)
        mount = 'mount -t overlay overlay -o "$0" "$1" && rm "$1/file" && mkdir "$1/made"'
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "sh", "-c", mount, trial.options, trial.target),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        served = await process.wait() == 0
        served = served and (trial.lower / "file").exists() and (trial.upper / "made").is_dir()
        await asyncio.to_thread(remove_tree, place)
        return served
    return False


def _prepare(place: Path, trial: Layers) -> None:
    remove_tree(place)
    for directory in (trial.lower, trial.upper, trial.work, Path(trial.target)):
        directory.mkdir(parents=True)
    (trial.lower / "file").touch()
