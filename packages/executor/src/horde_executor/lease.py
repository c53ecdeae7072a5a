"""The right to run an attempt: kept by asking, lost by silence.

The lease counts from the moment in which its renewal was *sent*, on a clock that runs while the machine sleeps.
So whatever the network did, this side gives up before the facilitator gives the job to somebody else.
"""

import asyncio
from typing import NoReturn

from horde_executor.clock import now
from horde_executor.errors import FacilitatorError, Fenced
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.tasks import pause_before

SHORTEST_ROUND_S = 0.2


class Lease:
    """What is known of an attempt's lease. A fresh claim holds for `confirm_s` from its arrival.

    `confirmed` is set by the first renewal, before which no user code may start; `cancelled` when the
    facilitator wants the job stopped.
    """

    def __init__(self, attempt: Attempt, confirm_s: float) -> None:
        self._attempt = attempt
        self._expires = now() + confirm_s
        self.confirmed = asyncio.Event()
        self.cancelled = asyncio.Event()

    @property
    def remaining(self) -> float:
        """Seconds for which the lease still holds."""
        return self._expires - now()

    def check(self) -> None:
        """Raise `Fenced` when the lease ran out, also when that was while this process stood still."""
        if self.remaining <= 0:
            raise Fenced(f"the lease of {self._attempt} ran out")

    async def keep(self, facilitator: Facilitator) -> NoReturn:
        """Renew the lease for ever, by long poll.

        Raises:
            Fenced: the lease ran out, or the attempt is no longer ours.
            FacilitatorError: the facilitator refuses to talk about it.
        """
        wait_s, failures = 0.0, 0
        while True:
            self.check()
            sent = now()
            try:
                async with asyncio.timeout(self.remaining):
                    reply = await facilitator.renew(self._attempt, wait_s)
            except TimeoutError:
                continue
            except FacilitatorError as error:
                if not error.is_transient:
                    raise
                await asyncio.sleep(min(pause_before(failures), self.remaining))
                wait_s, failures = 0, failures + 1
                continue
            self.check()
            self._expires = sent + reply.lease_s
            self.check()
            self.confirmed.set()
            failures = 0
            if reply.state == "cancel":
                # The facilitator answers at once from now on, so the rhythm has to be ours.
                self.cancelled.set()
                await asyncio.sleep(reply.lease_s / 3)
            elif wait_s and now() - sent < SHORTEST_ROUND_S:
                await asyncio.sleep(SHORTEST_ROUND_S)
            wait_s = 0 if self.cancelled.is_set() else reply.lease_s / 3
