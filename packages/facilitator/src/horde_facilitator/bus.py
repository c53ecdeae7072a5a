"""Waking those who wait.

A bus only wakes. What is true is read from the records, after the wake-up; so a wake-up may come twice, or for
nothing, and several may melt into one. Across processes one may be lost: whoever waits reads again at least
every `Settings.recheck_s`.
"""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol


def job_topic(job: str) -> str:
    """Something of the job that its owner sees has changed: history, progress."""
    return f"job:{job}"


def hold_topic(job: str) -> str:
    """Whoever runs the job has to look: it was cancelled, or the attempt is over."""
    return f"hold:{job}"


def log_topic(job: str) -> str:
    """Log bytes of the job have arrived."""
    return f"log:{job}"


def class_topic(executor_class: str) -> str:
    """A job waits for an executor of the class."""
    return f"class:{executor_class}"


CLASSES = "classes"
"""A class was defined, changed or removed."""


class Listener(Protocol):
    """Collects the wake-ups of its topics, also while nobody waits."""

    @property
    def ended(self) -> bool:
        """Whether waiting makes no sense any more: the facilitator stops, or `end` was called."""
        ...

    async def wait(self, timeout_s: float) -> frozenset[str]:
        """The topics woken since the last call; waits for the first one. Empty at the timeout or the end."""
        ...

    def drop(self, topic: str) -> None:
        """Listen to this topic no more."""
        ...

    def end(self) -> None:
        """Let `wait` return at once, now and from now on."""
        ...


class Bus(Protocol):
    """Wakes listeners. All methods are called on the event loop's thread."""

    def wake(self, topics: Iterable[str]) -> None:
        """Wake whoever listens to one of the topics. Called after the commit that gave the reason."""
        ...

    def listen(self, topics: Iterable[str]) -> AbstractContextManager[Listener]:
        """Listen to topics while the context lasts. Read the records after entering it, not before."""
        ...

    def close(self) -> None:
        """End every listener, now and from now on."""
        ...


class _LocalListener:
    def __init__(self, topics: Iterable[str], bus: "LocalBus") -> None:
        self.topics = set(topics)
        self._bus = bus
        self._woken: set[str] = set()
        self._signal = asyncio.Event()
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def notice(self, topic: str) -> None:
        self._woken.add(topic)
        self._signal.set()

    async def wait(self, timeout_s: float) -> frozenset[str]:
        if timeout_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._signal.wait()
        if not self._ended:
            self._signal.clear()
        woken, self._woken = frozenset(self._woken), set()
        return woken

    def drop(self, topic: str) -> None:
        self.topics.discard(topic)
        self._bus.forget(topic, self)

    def end(self) -> None:
        self._ended = True
        self._signal.set()


class LocalBus:
    """The bus of a facilitator that is alone with its records. Loses nothing."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[_LocalListener]] = {}
        self._all: set[_LocalListener] = set()
        self._closed = False

    def wake(self, topics: Iterable[str]) -> None:
        """Wake whoever listens to one of the topics."""
        for topic in topics:
            for listener in self._listeners.get(topic, ()):
                listener.notice(topic)

    @contextmanager
    def listen(self, topics: Iterable[str]) -> Generator[Listener]:
        """Listen to topics while the context lasts."""
        listener = _LocalListener(topics, self)
        self._all.add(listener)
        for topic in listener.topics:
            self._listeners.setdefault(topic, set()).add(listener)
        if self._closed:
            listener.end()
        try:
            yield listener
        finally:
            self._all.discard(listener)
            for topic in listener.topics:
                self.forget(topic, listener)

    def forget(self, topic: str, listener: _LocalListener) -> None:
        """Take a listener off a topic."""
        if listeners := self._listeners.get(topic):
            listeners.discard(listener)
            if not listeners:
                del self._listeners[topic]

    def close(self) -> None:
        """End every listener, now and from now on."""
        self._closed = True
        for listener in self._all:
            listener.end()
