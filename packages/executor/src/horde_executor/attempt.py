"""What one attempt has at hand: the machine that all attempts share, and what is its own."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from horde_core.wire.executor import Claim
from horde_executor.cache import Cache
from horde_executor.clock import Stopwatch
from horde_executor.container import Share, allotted
from horde_executor.egress import Egress
from horde_executor.engine import Engine
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.hub import Hub
from horde_executor.images import Images
from horde_executor.lease import Lease
from horde_executor.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Host:
    """One agent's machine and connections. `executor` is the address of its hotkey, `data` its directory.

    `layers`: whether a job's `/volume` can be a layer above files of the cache.
    """

    engine: Engine
    facilitator: Facilitator
    images: Images
    egress: Egress
    cache: Cache
    hub: Hub
    layers: bool
    share: Share
    executor: str
    data: Path


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt on its way. `deadline` is in seconds of `clock.now`.

    What it puts on the machine it registers with `cleanup` before anything else can go wrong.
    """

    host: Host
    claim: Claim
    attempt: Attempt
    lease: Lease
    reporter: Reporter
    watch: Stopwatch
    deadline: float
    cleanup: AsyncExitStack

    @property
    def share(self) -> Share:
        """What the job's container gets."""
        return allotted(self.host.share, self.claim.allotment)
