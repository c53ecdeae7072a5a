"""The parts of a running facilitator, which `app` puts together."""

import asyncio
from dataclasses import dataclass

from horde_facilitator.auth import Nonces, Tokens
from horde_facilitator.blobs import Blobs
from horde_facilitator.bus import Bus
from horde_facilitator.clock import Clock
from horde_facilitator.database import Database
from horde_facilitator.guests import Guests
from horde_facilitator.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests work with. `big_bodies` bounds how many large bodies are judged at the same time."""

    settings: Settings
    clock: Clock
    bus: Bus
    database: Database
    blobs: Blobs
    guests: Guests
    nonces: Nonces
    tokens: Tokens
    big_bodies: asyncio.Semaphore
