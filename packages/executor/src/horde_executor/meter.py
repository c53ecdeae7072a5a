"""How far the transfers of a job are, all together: bytes done, bytes in all, and how fast they come."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 3.0
_STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Moved:
    """Sums over all transfers of a job. `total` is None until all sizes are known; `speed` is bytes a second."""

    done: int
    total: int | None
    speed: float


Report = Callable[[Moved], None]


class Meter:
    """Adds up what its parts tell, and reports after each word of them. For one thread."""

    def __init__(self, report: Report | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._done, self._known, self._unknown = 0, 0, 0
        self._came = 0
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def part(self, total: int | None = None) -> "Part":
        """One more transfer, of so many bytes."""
        part = Part(self)
        self._unknown += 1
        if total is not None:
            self.change(part, 0, total)
        return part

    def change(self, part: "Part", done: int, total: int | None) -> None:
        """Count what changed with a part."""
        self._done += done - part.done
        if total is not None:
            if part.total is None:
                self._unknown -= 1
            self._known += total - (part.total or 0)
            part.total = total
        part.done = done

    def tell(self, came: int) -> None:
        """Report, after so many bytes came just now."""
        self._came += came
        now = self._clock()
        if len(self._samples) > 1 and now - self._samples[-1][0] < _STEP_S:
            self._samples.pop()
        self._samples.append((now, self._came))
        while now - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()
        if self._report is not None:
            since, before = self._samples[0]
            speed = (self._came - before) / max(now - since, _STEP_S)
            self._report(Moved(self._done, None if self._unknown else self._known, speed))


class Part:
    """One transfer: bytes done of its total, if that is known."""

    def __init__(self, meter: Meter) -> None:
        self.done = 0
        self.total: int | None = None
        self._meter = meter

    def at(self, done: int, total: int | None) -> None:
        """So many bytes have come by now; less than before if it had to begin anew."""
        came = max(0, done - self.done)
        self._meter.change(self, done, total)
        self._meter.tell(came)

    def had(self, size: int) -> None:
        """All bytes were there already: they are done, and none came."""
        self.joined(size, size)

    def joined(self, done: int, total: int | None) -> None:
        """So many bytes had come before anybody asked for this part."""
        self._meter.change(self, done, total)
        self._meter.tell(0)
