"""The container of an attempt, as the engine is asked for it: one pure function.

What it shuts off, and what each setting is there for, is measured by `tests`. Two settings together give a
container without network at half the cost of one (`NetworkDisabled` lets Docker skip a hook of 40 ms; Podman
knows only `NetworkMode`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from horde_core.spec import JobSpec
from horde_core.terms import Profile
from horde_core.wire.executor import Allotment
from horde_executor.engine import Image, Machine
from horde_executor.facilitator import Attempt
from horde_executor.layers import Layers
from horde_executor.line import INIT
from horde_executor.settings import Settings
from horde_executor.workspace import Mount

LABEL_EXECUTOR = "org.computehorde.executor"
LABEL_JOB = "org.computehorde.job"
LABEL_ATTEMPT = "org.computehorde.attempt"
LABEL_DEADLINE = "org.computehorde.deadline"

HOSTNAME = "job"
HOSTS = f"127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost\n"

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""What ordinary images need to `chown` and to become another user. All others are dropped, and of a class with
the profile `strict` these too."""

OPEN_FILES = 16384
"""A limit that every engine's host can give; above 20,000 some refuse to start the container."""

LARGEST_SHM = 8 * 1024**3
SHARE_OF_MEMORY = 0.9


@dataclass(frozen=True, slots=True)
class Share:
    """What one job gets of the machine: bytes of memory, cores, processes, bytes of `/dev/shm`."""

    memory: int
    cpus: float
    pids: int
    shm: int


def share_of(machine: Machine, settings: Settings) -> Share:
    """An equal share for each slot, with something left for the machine itself."""
    memory = (settings.memory or int(machine.memory * SHARE_OF_MEMORY)) // settings.slots
    return Share(memory, machine.cpus / settings.slots, settings.pids, _shm(memory))


def allotted(share: Share, allotment: Allotment) -> Share:
    """What a job of a class gets: what the class gives, and never more than the slot's share."""
    memory = min(share.memory, allotment.memory or share.memory)
    shm = _shm(memory) if allotment.shm is None else min(memory, allotment.shm)
    return replace(share, memory=memory, cpus=min(share.cpus, allotment.cpus or share.cpus), shm=shm)


def _shm(memory: int) -> int:
    return min(memory // 2, LARGEST_SHM)


def labels(executor: str, attempt: Attempt, deadline: float) -> dict[str, str]:
    """By which a container is found again. `deadline` is in seconds of `clock.now`."""
    return {
        LABEL_EXECUTOR: executor,
        LABEL_JOB: attempt.job,
        LABEL_ATTEMPT: str(attempt.number),
        LABEL_DEADLINE: f"{deadline:.0f}",
    }


def command_of(spec: JobSpec, image: Image) -> tuple[str, ...]:
    """What is to run: the image's ENTRYPOINT, and after it the job's arguments or else the image's CMD."""
    return (*image.entrypoint, *(spec.args or image.command))


def container_config(
    spec: JobSpec,
    image: Image,
    command: Sequence[str],
    *,
    mounts: Iterable[Mount | Layers],
    share: Share,
    label: Mapping[str, str],
    profile: Profile = Profile.DEFAULT,
) -> dict[str, Any]:
    """The body of the engine's request to create the container."""
    return {
        "Image": image.id,
        "Entrypoint": [INIT],
        "Cmd": list(command),
        "Env": _environment(spec.plain_env, image.env),
        "Labels": dict(label),
        "Hostname": HOSTNAME,
        "NetworkDisabled": True,
        "AttachStdout": False,  # our init brings the output out
        "AttachStderr": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [_mount(mount) for mount in mounts],
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            "Init": False,  # ours is
            "LogConfig": {"Type": "none"},
            "CapDrop": ["ALL"],
            "CapAdd": [] if profile is Profile.STRICT else list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "PidsLimit": share.pids,
            "Memory": share.memory,
            "MemorySwap": share.memory,
            "NanoCpus": int(share.cpus * 1e9),
            "ShmSize": share.shm,
            "Ulimits": [
                {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
        },
    }


def _mount(mount: Mount | Layers) -> dict[str, Any]:
    if isinstance(mount, Layers):
        driver = {"Name": "local", "Options": {"type": "overlay", "device": "overlay", "o": mount.options}}
        return {
            "Type": "volume",
            "Target": mount.target,
            "VolumeOptions": {"NoCopy": True, "DriverConfig": driver},
        }
    # Never "Binds": with those the engine makes a source that is missing.
    return {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}


_NO_GPU = "NVIDIA_VISIBLE_DEVICES"


def _environment(env: Mapping[str, str], image_env: Iterable[str]) -> list[str]:
    """The job's variables but the secret ones, which the engine would keep on disk; our init gets those.

    GPUs are given by the executor alone, never because a variable asks for them.

    NVIDIA's runtime reads the wish from the environment: from its own variable, and in older images from the
    mere presence of CUDA's.
    """
    chosen = dict(env)
    names = {*env, *(entry.partition("=")[0] for entry in image_env)}
    if any(name.startswith(("NVIDIA_", "CUDA_VERSION")) for name in names):
        chosen[_NO_GPU] = "void"
    return [f"{name}={value}" for name, value in chosen.items()]
