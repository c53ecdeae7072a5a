"""A pull of an image: how far it is, that it stands still, and what it means for a job that it failed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from horde_core.images import parse_image
from horde_core.outcomes import Reason, Stage
from horde_core.wire.executor import ImageLogin, ProgressEvent
from horde_executor.clock import now
from horde_executor.errors import EngineError, JobFailure

LOOK_S = 0.25
"""Seconds between two looks at a pull: at most four progress events a second."""


@dataclass(slots=True)
class _Layer:
    done: int = 0
    total: int = 0
    unpacked: int = 0


@dataclass(slots=True)
class Progress:
    """How far a pull is. Times of `clock.now`."""

    name: str
    layers: dict[str, _Layer] = field(default_factory=dict[str, _Layer])
    steps: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    moved_at: float = field(default_factory=now)

    async def follow(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        """Take all of the engine's messages."""
        async for message in messages:
            self.note(message)

    def note(self, message: dict[str, Any]) -> None:
        """Take one of the engine's messages. Bytes that move and new steps are progress, its retries are not."""
        before = self._position()
        detail: dict[str, int] = message.get("progressDetail") or {}
        status, layer_id = str(message.get("status", "")), str(message.get("id", ""))
        if status == "Downloading" and detail.get("total"):
            layer = self.layers.setdefault(layer_id, _Layer())
            layer.done, layer.total = detail.get("current", 0), detail["total"]
        elif layer_id in self.layers:
            layer = self.layers[layer_id]
            if status in ("Download complete", "Extracting", "Pull complete"):
                layer.done = layer.total
            layer.unpacked = detail.get("current", layer.unpacked)
        if not status.startswith("Retrying"):
            self.steps.add((layer_id, status))
        if self._position() != before:
            self.moved_at = now()

    def event(self) -> ProgressEvent:
        """How far the pull is, over all layers that are known by now."""
        done, total, _, _ = self._position()
        verb = "unpacking" if total and done >= total else "pulling"
        return ProgressEvent(
            stage=Stage.PREPARE, message=f"{verb} {self.name}", done=done, total=total or None, unit="bytes"
        )

    def _position(self) -> tuple[int, int, int, int]:
        layers = self.layers.values()
        done, total = sum(layer.done for layer in layers), sum(layer.total for layer in layers)
        return done, total, sum(layer.unpacked for layer in layers), len(self.steps)


@dataclass(slots=True)
class Pull:
    """A pull that goes on, and how many slots wait for it."""

    progress: Progress
    login: ImageLogin | None
    task: asyncio.Task[None]
    waiting: int = 0

    async def watch(self, stall_s: float, report: Callable[[ProgressEvent], None]) -> None:
        """Wait for its end, and tell how far it is.

        Raises:
            JobFailure: it failed, or stood still for too long.
        """
        last: ProgressEvent | None = None
        while not self.task.done():
            await asyncio.wait((self.task,), timeout=LOOK_S)
            if (event := self.progress.event()) != last:
                report(event)
                last = event
            if now() - self.progress.moved_at > stall_s:
                raise unreachable(f"pulling {self.progress.name} made no progress for {stall_s:g} s")
        try:
            self.task.result()
        except EngineError as error:
            raise failure_of(self.progress.name, str(error), self.login) from error


def unreachable(message: str) -> JobFailure:
    """The image cannot be had now; nobody's mistake, so it is tried again."""
    return JobFailure(Stage.PREPARE, Reason.IMAGE_UNREACHABLE, message)


# The engine gives no codes for what a registry said, only its text; these are parts of the texts, in the order in
# which they decide ("denied" stands in one sentence with "does not exist").
_NO_SPACE = "no space left on device"
_BUSY = ("toomanyrequests", "rate limit", "too many requests", "http response 429", "status: 429", "429 response")
_UNKNOWN_USER = ("unauthorized", "incorrect username", "authentication required")
_REFUSED = ("denied", "no basic auth", "forbidden", *_UNKNOWN_USER)
_MISSING = (
    "manifest unknown",
    "name unknown",
    "not found",
    "no matching manifest",
    "does not match the specified",
)


def failure_of(name: str, text: str, login: ImageLogin | None) -> JobFailure:
    """What it means for a job that the engine gave this text when it asked a registry for an image."""
    lower, registry = text.lower(), parse_image(name).home[0]
    command = f"`horde registries set {registry} --username NAME`"

    def says(parts: tuple[str, ...]) -> bool:
        return any(part in lower for part in parts)

    if _NO_SPACE in lower:
        return JobFailure(Stage.PREPARE, Reason.EXECUTOR_ERROR, f"no disk space is left to pull {name}")
    if says(_BUSY):
        advice = f"even for {login.username}" if login else f"with credentials it may allow more: {command}"
        return unreachable(f"the rate limit of the registry of {name} is reached, {advice} ({text})")
    if says(_REFUSED):
        return JobFailure(
            Stage.PREPARE, Reason.IMAGE_REFUSED, _refusal(name, lower, login, command) + f" ({text})"
        )
    if says(_MISSING):
        what = f"the registry has no {name}: check the name and the tag, and that it was pushed ({text})"
        return JobFailure(Stage.PREPARE, Reason.IMAGE_NOT_FOUND, what)
    return unreachable(f"{name} could not be pulled: {text}")


def _refusal(name: str, lower: str, login: ImageLogin | None, command: str) -> str:
    """Registries say the same of an image that is not there and of one that is not for this caller."""
    if login is None:
        return (
            f"the registry gives out no {name}: it does not exist, or is private. Check its name, or, if it is"
            f" private, give credentials: {command}"
        )
    if any(part in lower for part in _UNKNOWN_USER):
        return (
            f"the registry of {name} does not take the credentials of {login.username}: they are wrong or expired,"
            f" or do not reach so far. Give others: {command}"
        )
    return f"the registry gives out no {name} to {login.username}: it does not exist, or is for others"
