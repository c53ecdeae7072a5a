"""What an operator decides about an executor. Read once, by whoever starts `horde_executor.agent.run`."""

from dataclasses import dataclass, field
from pathlib import Path

from horde_core.signing import Signer


@dataclass(frozen=True, slots=True)
class Settings:
    """One agent on one machine.

    Attributes:
        facilitator_url: where jobs come from.
        data: a directory of this agent alone; the workspaces of running jobs lie in it.
        classes: the executor classes whose jobs it takes; empty: whatever classes there are.
        hotkey: who it is.
        slots: how many jobs may run at once; each gets an equal share of memory and cores.
        allow_egress: ``HOST:PORT`` pairs, otherwise shut, from which volumes and images may be fetched.
        docker_url: the container engine, ``unix://…`` or ``tcp://…``; None: where the engine usually is.
        memory: bytes for all jobs together; None: nine tenths of the machine.
        image_bytes: what the images that it pulled may hold beyond those in use; None: a share of the disk.
        pids: processes and threads that one job may have.
    """

    facilitator_url: str
    data: Path
    hotkey: Signer = field(repr=False)
    classes: tuple[str, ...] = ()
    slots: int = 1
    allow_egress: tuple[str, ...] = ()
    docker_url: str | None = None
    memory: int | None = None
    image_bytes: int | None = None
    pids: int = 4096
