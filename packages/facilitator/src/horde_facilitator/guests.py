"""Who is on which list, remembered for a moment, since every request asks."""

from horde_facilitator.clock import SECOND, Clock
from horde_facilitator.database import Database
from horde_facilitator.records import people

FRESH_US = 2 * SECOND
"""How long an answer is used: a hotkey that is taken off a list is refused after this time at the latest."""
MOST = 10_000


class Guests:
    """The roles of hotkeys."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[int, frozenset[str]]] = {}

    async def roles(self, hotkey: str) -> frozenset[str]:
        """The roles that the hotkey has, or had a moment ago."""
        now_us = self._clock.now().boot_us
        read_us, roles = self._known.get(hotkey, (0, frozenset[str]()))
        if now_us - read_us < FRESH_US:
            return roles
        roles = await self._database.read(lambda connection: people.roles(connection, hotkey))
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[hotkey] = (now_us, roles)
        return roles

    def forget(self, hotkey: str) -> None:
        """Ask anew: its roles may have changed."""
        self._known.pop(hotkey, None)
