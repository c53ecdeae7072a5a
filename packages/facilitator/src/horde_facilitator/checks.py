"""The hashes of blobs that are being uploaded, carried on from piece to piece.

They live in memory alone: after a restart a hash is begun anew from what the store has. So that no request waits
long for a hash of gigabytes, each goes on for a while only and says how far it came.
"""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from horde_facilitator.blobs import Blobs

PIECE = 4 * 1024**2
BUDGET_S = 2.0
MAX_REMEMBERED = 1000


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Check:
    digest: _Digest = field(default_factory=hashlib.sha256)
    done: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Checked:
    """How many bytes were hashed, and to what."""

    size: int
    sha256: str


class Checks:
    """Running hashes, by the key of what is hashed. Those that were used longest ago are forgotten first."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._checks: OrderedDict[str, _Check] = OrderedDict()

    async def advance(self, key: str, until: int) -> Checked:
        """Hash on towards byte `until`, for `BUDGET_S` seconds or a piece at least.

        Raises:
            StoreError: the bytes cannot be read.
        """
        check = self._checks.setdefault(key, _Check())
        self._checks.move_to_end(key)
        if len(self._checks) > MAX_REMEMBERED:
            self._checks.popitem(last=False)
        clock = asyncio.get_running_loop()
        end = clock.time() + BUDGET_S
        async with check.lock:
            async for data in self._blobs.read(key, check.done, max(check.done, until), PIECE):
                await asyncio.to_thread(check.digest.update, data)
                check.done += len(data)
                if clock.time() >= end:
                    break
            return Checked(check.done, check.digest.hexdigest())

    def forget(self, key: str) -> None:
        """The hash is not needed any more."""
        self._checks.pop(key, None)
