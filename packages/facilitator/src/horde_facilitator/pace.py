"""How fast somebody may ask: token buckets in memory, one for each who asks."""

import math
from collections import OrderedDict

from horde_facilitator.clock import SECOND
from horde_facilitator.errors import TooMany

MAX_BUCKETS = 10_000
"""Those who asked longest ago are forgotten first, and with that have a full bucket again."""


class Pace:
    """Buckets that hold `burst` requests and fill up at `per_s` each second."""

    def __init__(self, what: str, burst: int, per_s: float) -> None:
        self._what = what
        self._burst = burst
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, who: str, boot_us: int) -> None:
        """Take one request out of somebody's bucket; `boot_us` is the boot time now.

        Raises:
            TooMany: the bucket is empty.
        """
        level, before_us = self._buckets.pop(who, (float(self._burst), boot_us))
        level = min(self._burst, level + (boot_us - before_us) / SECOND * self._per_s)
        self._buckets[who] = (max(level - 1, 0) if level >= 1 else level, boot_us)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if level < 1:
            retry_s = max(1, math.ceil((1 - level) / self._per_s))
            raise TooMany(f"Too many {self._what}; try again in {retry_s} s", retry_s)
