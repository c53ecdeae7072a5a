"""Which image an attempt runs, and getting it.

The first attempt of a job decides: the machine's own image of that name, else what the registry has. The answer
is reported as the registry's digest (``repository@sha256:…``), or as the id of an image that only this machine
has; every later attempt uses exactly that. Slots that want the same image share one pull.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from horde_core.images import DEFAULT_REGISTRY, ImageName, parse_image
from horde_core.outcomes import Reason, Stage
from horde_core.wire.executor import ProgressEvent
from horde_executor.clock import now
from horde_executor.engine import Engine, Image
from horde_executor.errors import EngineError, JobFailure
from horde_executor.tasks import cancel

LOOK_S = 0.25
"""Seconds between two looks at a pull: at most four progress events a second."""

HUB_HOST = "registry-1.docker.io"

CheckRegistry = Callable[[str, int], Awaitable[None]]
"""Raises `JobFailure` when pulling from this host and port is not allowed."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image that is present: the engine's id to create from, and the digest to report."""

    image: Image
    digest: str


@dataclass(slots=True)
class _Layer:
    done: int = 0
    total: int = 0
    unpacked: int = 0


@dataclass(slots=True)
class _Pull:
    """A pull that goes on, and how far it is. Times of `clock.now`."""

    task: asyncio.Task[None]
    name: str
    waiting: int = 0
    layers: dict[str, _Layer] = field(default_factory=dict[str, _Layer])
    steps: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    moved_at: float = field(default_factory=now)

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

    def _position(self) -> tuple[int, int, int, int]:
        layers = self.layers.values()
        done, total = sum(layer.done for layer in layers), sum(layer.total for layer in layers)
        return done, total, sum(layer.unpacked for layer in layers), len(self.steps)

    def progress(self) -> ProgressEvent:
        """How far the pull is, over all layers that are known by now."""
        done, total, _, _ = self._position()
        verb = "unpacking" if total and done >= total else "pulling"
        return ProgressEvent(
            stage=Stage.PREPARE, message=f"{verb} {self.name}", done=done, total=total or None, unit="bytes"
        )


class Images:
    """The images of one machine. `check_registry` decides from where they may be pulled."""

    def __init__(self, engine: Engine, check_registry: CheckRegistry) -> None:
        self._engine = engine
        self._check_registry = check_registry
        self._pulls: dict[str, _Pull] = {}

    async def resolve(
        self, name: str, digest: str | None, *, stall_s: float, report: Callable[[ProgressEvent], None]
    ) -> Resolved:
        """The image of an attempt; `digest` is what an earlier attempt of the job reported.

        Raises:
            JobFailure: there is no such image, the registry refuses it, or it cannot be reached.
        """
        wanted = parse_image(name)
        reference = digest or str(wanted)
        image = await self._engine.image(reference)
        if image is None:
            if reference.startswith("sha256:"):
                raise JobFailure(
                    Stage.PREPARE,
                    Reason.IMAGE_UNREACHABLE,
                    f"an earlier attempt ran {name} as the image {reference}, which no registry gave out and"
                    " this executor does not have",
                )
            await self._pull(wanted, reference, stall_s, report)
            image = await self._engine.image(reference)
        if image is None:
            raise _unreachable(f"the engine pulled {reference}, but does not have it now")
        return Resolved(image, digest or digest_of(image, wanted))

    async def _pull(
        self, wanted: ImageName, reference: str, stall_s: float, report: Callable[[ProgressEvent], None]
    ) -> None:
        host, _, port = (
            wanted.registry.rpartition(":") if _has_port(wanted.registry) else (wanted.registry, "", "443")
        )
        await self._check_registry(HUB_HOST if host in (DEFAULT_REGISTRY, "index.docker.io") else host, int(port))
        pull = self._pulls.get(reference)
        if pull is None:
            pull = self._pulls[reference] = self._begin(reference)
        pull.waiting += 1
        try:
            await _watch(pull, stall_s, report)
        finally:
            pull.waiting -= 1
            if not pull.waiting:
                self._pulls.pop(reference, None)
                await cancel(pull.task)

    def _begin(self, reference: str) -> _Pull:
        async def run() -> None:
            async for message in self._engine.pull(reference):
                pull.note(message)

        pull = _Pull(asyncio.ensure_future(run()), reference)
        return pull


async def _watch(pull: _Pull, stall_s: float, report: Callable[[ProgressEvent], None]) -> None:
    last: ProgressEvent | None = None
    while not pull.task.done():
        await asyncio.wait((pull.task,), timeout=LOOK_S)
        if (progress := pull.progress()) != last:
            report(progress)
            last = progress
        if now() - pull.moved_at > stall_s:
            raise _unreachable(f"pulling {pull.name} made no progress for {stall_s:g} s")
    try:
        pull.task.result()
    except EngineError as error:
        raise pull_failure(pull.name, str(error)) from error


def _has_port(registry: str) -> bool:
    return registry.rpartition(":")[2].isdigit()


def digest_of(image: Image, wanted: ImageName) -> str:
    """What later attempts are told to use: the digest in the wanted registry, else the image's id."""
    for digest in image.digests:
        with contextlib.suppress(ValueError):  # the engine may know names that nobody could ask for
            known = parse_image(digest)
            if _repository(known) == _repository(wanted) and wanted.digest in (None, known.digest):
                return digest
    return image.id


def _repository(name: ImageName) -> tuple[str, str]:
    """Registry and repository; Docker's own registry has several names for itself and for its library."""
    if name.registry in (DEFAULT_REGISTRY, "index.docker.io", HUB_HOST):
        return DEFAULT_REGISTRY, name.repository.removeprefix("library/")
    return name.registry, name.repository


def _unreachable(message: str) -> JobFailure:
    return JobFailure(Stage.PREPARE, Reason.IMAGE_UNREACHABLE, message)


# The engine gives no codes for what a registry said, only its text; these are parts of the texts, in the order in
# which they decide ("denied" stands in one sentence with "does not exist").
_BUSY = ("toomanyrequests", "rate limit", "too many requests")
_REFUSED = ("denied", "unauthorized", "no basic auth", "authentication required", "forbidden")
_MISSING = (
    "manifest unknown",
    "name unknown",
    "not found",
    "no matching manifest",
    "does not match the specified",
)
_NO_SPACE = "no space left on device"


def pull_failure(name: str, text: str) -> JobFailure:
    """What it means for a job that the engine could not pull, for which it gave this text."""
    lower = text.lower()

    def says(parts: tuple[str, ...]) -> bool:
        return any(part in lower for part in parts)

    if _NO_SPACE in lower:
        return JobFailure(Stage.PREPARE, Reason.EXECUTOR_ERROR, f"no disk space is left to pull {name}")
    if says(_BUSY):
        return _unreachable(f"the registry of {name} has had too many requests for now: {text}")
    if says(_REFUSED):
        reason, advice = Reason.IMAGE_REFUSED, "it does not exist, or is not public; check its name"
    elif says(_MISSING):
        reason, advice = Reason.IMAGE_NOT_FOUND, "check the name and the tag, and that it was pushed"
    else:
        return _unreachable(f"{name} could not be pulled: {text}")
    verb = "gives out no" if reason is Reason.IMAGE_REFUSED else "has no"
    return JobFailure(Stage.PREPARE, reason, f"the registry {verb} {name}: {advice} ({text})")
