"""The agent of one machine: it connects, clears up after its predecessor, and fills its slots with jobs.

This is where everything is wired together; what happens to a single job stands in `job`.
"""

import asyncio
import fcntl
import logging
import os
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Self

from horde_core.wire.executor import Claim, ClaimRequest, SlotShare
from horde_executor.attempt import Host
from horde_executor.clock import now
from horde_executor.container import share_of
from horde_executor.egress import Egress
from horde_executor.engine import Engine, Machine
from horde_executor.errors import EngineError, ExecutorError, FacilitatorError, Fenced
from horde_executor.facilitator import Facilitator
from horde_executor.holdings import Holdings, share_of_disk
from horde_executor.images import Images
from horde_executor.job import run_job
from horde_executor.recover import clear_leftovers
from horde_executor.registries import registry_check
from horde_executor.settings import Settings
from horde_executor.tasks import cancel, pause_before, to_its_end, unless

CLAIM_WAIT_S = 20.0
SHORTEST_POLL_S = 0.2
LAST_SWEEP_S = 20.0
SERVICE_S = 60.0

log = logging.getLogger(__name__)


async def run(
    settings: Settings, *, drain: asyncio.Event | None = None, ready: Callable[[], None] | None = None
) -> None:
    """Claim and run jobs until cancelled, or until `drain` is set and the last job is done.

    When cancelled, running containers are stopped, their jobs handed back (they count as no attempt), and the
    machine is left clean. `ready` is called once, when the facilitator has answered the first claim, so that jobs
    for this executor's classes find it there.

    Raises:
        EngineError: there is no container engine, or it refuses to work.
        FacilitatorError: the facilitator refuses this executor. (One that does not answer is waited for.)
        ExecutorError: another agent uses the same data directory.
        ValueError: an egress rule cannot be read.
    """
    drain = drain or asyncio.Event()
    async with _host(settings) as host:
        log.info(
            "executor %s offers %s", host.executor, ", ".join(settings.classes) or "whatever classes there are"
        )
        presence = _Presence(ready)
        try:
            async with asyncio.TaskGroup() as slots:
                for _ in range(settings.slots):
                    slots.create_task(_serve_slot(host, settings, presence, drain))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None


@asynccontextmanager
async def _host(settings: Settings) -> AsyncGenerator[Host]:
    egress = Egress.parse(settings.allow_egress)
    data, executor = settings.data.resolve(), settings.hotkey.ss58_address
    async with (
        Engine.connect(settings.docker_url) as engine,
        Facilitator.connect(settings.facilitator_url, settings.hotkey) as facilitator,
    ):
        with _alone(data) as is_first:
            machine = await engine.machine()
            share = share_of(machine, settings)
            await clear_leftovers(engine, executor, data)
            holdings = await Holdings.opened(data / "images.json", await engine.images(), is_first=is_first)
            images = Images(engine, registry_check(egress), holdings, partial(_image_bytes, settings, machine))
            await images.tidy()
            yield Host(engine, facilitator, images, egress, share, executor, data)


def _image_bytes(settings: Settings, machine: Machine, held: int) -> int:
    """How much the images that were pulled may hold, if they hold so much now."""
    if settings.image_bytes is not None:
        return settings.image_bytes
    return share_of_disk(machine.directory if machine.directory.is_dir() else settings.data, held)


@contextmanager
def _alone(data: Path) -> Generator[bool]:
    """Hold the data directory; tells whether no agent did so before. When the process dies, the kernel lets go."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_first = not (data / "agent.lock").exists()
    handle = os.open(data / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExecutorError(f"another agent uses {data}; give each agent a directory of its own") from error
        yield is_first
    finally:
        os.close(handle)


class _Presence:
    """How the facilitator sees this executor: that it is there, and how many of its slots have a job."""

    def __init__(self, ready: Callable[[], None] | None) -> None:
        self.busy = 0
        self.is_known = False
        self._ready = ready
        self._look_at = 0.0
        self._refused: dict[str, str] = {}

    def heard(self) -> None:
        """The facilitator has answered a claim."""
        if not self.is_known:
            self.is_known = True
            if self._ready:
                self._ready()

    async def look_at_service(self, facilitator: Facilitator) -> None:
        """From time to time, write into the log which classes this executor does not serve, if that changed."""
        if now() < self._look_at:
            return
        self._look_at = now() + SERVICE_S
        try:
            service = await facilitator.service()
        except FacilitatorError as error:
            log.debug("the facilitator does not say which classes are served: %s", error)
            return
        for name, why in service.refused.items():
            if self._refused.get(name) != why:
                log.warning("jobs of the class %r are not given to this executor: %s", name, why)
        for name in self._refused.keys() & service.served:
            log.info("jobs of the class %r are given to this executor now", name)
        self._refused = service.refused

    @contextmanager
    def one_more(self) -> Generator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


async def _serve_slot(host: Host, settings: Settings, presence: _Presence, drain: asyncio.Event) -> None:
    """One job after the other. While the next one is claimed, what the last one left is removed."""
    async with _Broom() as broom:
        while not drain.is_set():
            claim = await unless(drain, _next_claim(host, settings, presence))
            if claim is None:
                return
            cleanup = AsyncExitStack()
            try:
                with presence.one_more():
                    await run_job(host, claim, cleanup)
            finally:
                broom.sweep(cleanup)
            await broom.keep_up()


async def _next_claim(host: Host, settings: Settings, presence: _Presence) -> Claim:
    await _engine_serves(host.engine)  # without it every job would fail here, one after the other
    claim_id, failures = str(uuid.uuid4()), 0
    while True:
        offer = ClaimRequest(
            classes=list(settings.classes) or None,
            share=SlotShare(cpus=host.share.cpus, memory=host.share.memory),
            slots=settings.slots,
            running=presence.busy,
            version=version("compute-horde-executor"),
            wait_s=CLAIM_WAIT_S if presence.is_known else 0,  # the first answer tells that we are known
        )
        asked = now()
        try:
            claim = await host.facilitator.claim(claim_id, offer)
        except Fenced:  # what this id had claimed lapsed before the answer arrived
            claim = None
        except FacilitatorError as error:
            if not error.is_transient:
                raise
            if failures == 0:
                log.warning("%s; trying again until it can", error)
            await asyncio.sleep(pause_before(failures))
            failures += 1
            continue
        presence.heard()
        await presence.look_at_service(host.facilitator)
        if failures:
            log.info("the facilitator is there again")
        if claim is not None:
            return claim
        if offer.wait_s and now() - asked < SHORTEST_POLL_S:  # a facilitator that shuts down does not wait
            await asyncio.sleep(SHORTEST_POLL_S)
        claim_id, failures = str(uuid.uuid4()), 0


async def _engine_serves(engine: Engine) -> None:
    failures = 0
    while True:
        try:
            return await engine.check()
        except EngineError as error:
            if failures == 0:
                log.warning("%s; no job is taken until it can", error)
        await asyncio.sleep(pause_before(failures))
        failures += 1


class _Broom:
    """Removes what the jobs of a slot left, beside its next job. It ends when all is gone."""

    MOST_AT_ONCE = 2

    def __init__(self) -> None:
        self._sweeping: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    def sweep(self, cleanup: AsyncExitStack) -> None:
        """Begin to remove a heap. The slot's own cancellation does not reach this."""
        task = asyncio.ensure_future(_clean_up(cleanup))
        self._sweeping.add(task)
        task.add_done_callback(self._sweeping.discard)

    async def keep_up(self) -> None:
        """Wait while too much lies around."""
        while len(self._sweeping) >= self.MOST_AT_ONCE:
            await asyncio.wait(self._sweeping, return_when=asyncio.FIRST_COMPLETED)

    async def __aexit__(self, *_: object) -> None:
        tasks = tuple(self._sweeping)
        if tasks:
            await to_its_end(asyncio.wait(tasks, timeout=LAST_SWEEP_S), LAST_SWEEP_S + 1)
            await cancel(*tasks)


async def _clean_up(cleanup: AsyncExitStack) -> None:
    try:
        await cleanup.aclose()
    except Exception:  # whatever it was: what is left is found and removed at the next start
        log.exception("the machine could not be cleaned after a job")
