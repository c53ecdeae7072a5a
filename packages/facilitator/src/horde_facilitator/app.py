"""Puts the facilitator together. Nothing is decided here."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from horde_facilitator.api import (
    attempts,
    cheating,
    claims,
    classes,
    explain,
    files,
    health,
    hotkeys,
    jobs,
    login,
    machines,
    refusals,
    registries,
    streams,
    usage,
)
from horde_facilitator.api.description import describe
from horde_facilitator.auth import Nonces, Tokens
from horde_facilitator.bus import LocalBus
from horde_facilitator.clock import Clock, SystemClock
from horde_facilitator.database import Database, Transaction
from horde_facilitator.directory import DirectoryBlobs
from horde_facilitator.guests import Guests
from horde_facilitator.home import occupied
from horde_facilitator.keyring import Keyring
from horde_facilitator.migrations import bring_up_to_date
from horde_facilitator.pace import Pace
from horde_facilitator.parts import Parts
from horde_facilitator.reconciler import Reconciler
from horde_facilitator.records import executors, people
from horde_facilitator.resealing import keys_for
from horde_facilitator.settings import Settings

ROUTERS = (
    login,
    jobs,
    explain,
    streams,
    files,
    claims,
    attempts,
    cheating,
    health,
    hotkeys,
    machines,
    usage,
    classes,
    registries,
)


def create_app(parts: Parts) -> FastAPI:
    """The application that answers requests with these parts."""
    app = FastAPI(
        title="ComputeHorde facilitator",
        version=health.VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.parts = parts
    for module in ROUTERS:
        app.include_router(module.router)
    refusals.install(app)
    describe(app)
    return app


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Parts]:
    """Everything that a facilitator works with, opened; the reconciler runs beside it.

    Raises:
        StartError: the data directory cannot be used.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        home = stack.enter_context(occupied(settings.data))
        keys = Keyring.opened(home.token_keys, settings.token_s)
        await asyncio.to_thread(bring_up_to_date, home.database)
        sealing = await asyncio.to_thread(keys_for, home.database, home.sealing_keys)
        bus = LocalBus()
        database = await stack.enter_async_context(Database.opened(home.database, bus))
        blobs = await stack.enter_async_context(DirectoryBlobs.opened(home.blobs))
        reconciler = Reconciler(settings, clock, database, blobs)
        await database.write(_first_words(settings, clock))
        await reconciler.begin()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        ticking = tasks.create_task(reconciler.run(), name="reconciler")
        stack.callback(ticking.cancel)
        stack.callback(bus.close)
        yield Parts(
            settings=settings,
            clock=clock,
            bus=bus,
            database=database,
            blobs=blobs,
            keys=keys,
            sealing=sealing,
            guests=Guests(database, clock),
            nonces=Nonces(keys, settings.nonce_s),
            tokens=Tokens(keys, settings.token_s),
            logins=Pace("logins of this hotkey", settings.login_burst, settings.login_per_s),
            peer_logins=Pace("logins from this address", settings.peer_login_burst, settings.peer_login_per_s),
            big_bodies=asyncio.Semaphore(2),
        )


def _first_words(settings: Settings, clock: Clock) -> Callable[[Transaction], None]:
    def run(tx: Transaction) -> None:
        executors.unseen(tx)
        for role, addresses in settings.admit.items():
            people.admit(tx, role, addresses, clock.now().wall_us)

    return run
