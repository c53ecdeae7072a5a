"""The parts of a running facilitator, which `app` puts together."""

import asyncio
from dataclasses import dataclass

from horde_facilitator.auth import Nonces, Tokens
from horde_facilitator.blobs import Blobs
from horde_facilitator.bus import Bus
from horde_facilitator.checks import Checks
from horde_facilitator.clock import Clock
from horde_facilitator.database import Database
from horde_facilitator.guests import Guests
from horde_facilitator.keyring import Keyring
from horde_facilitator.pace import Pace
from horde_facilitator.sealing import SealingKeys
from horde_facilitator.settings import Settings
from horde_facilitator.tls.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests work with.

    `logins` paces hotkeys and `peer_logins` addresses; `big_bodies` bounds how many large bodies are judged
    and stored at the same time. Without a `certificate` it is plain HTTP that is spoken.
    """

    settings: Settings
    clock: Clock
    bus: Bus
    database: Database
    blobs: Blobs
    checks: Checks
    guests: Guests
    keys: Keyring
    sealing: SealingKeys
    nonces: Nonces
    tokens: Tokens
    logins: Pace
    peer_logins: Pace
    big_bodies: asyncio.Semaphore
    certificate: Certificate | None = None
