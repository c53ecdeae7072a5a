"""The records' store: one writer thread, a few readers, SQLite in WAL with a full sync at every commit.

Writes that wait for the writer at the same moment share one transaction (a savepoint each), so that they share
its sync to disk; each is acknowledged only after that commit. Wake-ups that a write asks for are given after the
commit too, whether or not the caller still waits.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool

from horde_facilitator.bus import Bus
from horde_facilitator.errors import FacilitatorError, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")

READERS = 4
BATCH = 64
BUSY_MS = 5000
# The builds of SQLite differ in whether they overwrite what is deleted. What must not be read is sealed, and the
# body of a job can be large: to overwrite 30 MiB holds the writer up for 100 ms and more.
WRITING = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA secure_delete = FAST")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One write's view of the shared transaction. `wake` takes effect after the commit."""

    connection: Connection
    wakes: set[str] = field(default_factory=set[str])

    def execute(self, statement: Executable, **parameters: object) -> CursorResult[Any]:
        """Run one statement. Parameters that are no bound names of it are columns to set."""
        return self.connection.execute(statement, parameters)  # pyright: ignore[reportReturnType]

    def wake(self, *topics: str) -> None:
        """Wake the listeners of these topics once this is committed."""
        self.wakes.update(topics)


@dataclass(slots=True)
class _Work:
    run: Callable[[Transaction], object]
    done: asyncio.Future[Any]
    result: object = None
    error: Exception | None = None


class Database:
    """The open store. `outages` counts the batches that could not be committed since the start."""

    def __init__(self, path: Path, bus: Bus) -> None:
        self.outages = 0
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._reading = _engine(path, "BEGIN", ["PRAGMA query_only = ON"])
        self._writing = engine(path)
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, "records-reader")
        self._writer = threading.Thread(target=self._work, name="records-writer", daemon=True)

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, bus: Bus) -> AsyncGenerator["Database"]:
        """Open the migrated store at `path` while the context lasts; what was queued is still written."""
        database = cls(path, bus)
        database._writer.start()
        try:
            yield database
        finally:
            database._closed = True
            database._queue.put(None)
            await asyncio.to_thread(database._close)

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Run a function inside a transaction of the writer; returns after the commit.

        What the function raises undoes its own changes alone and is raised here.

        Raises:
            StoreError: the store could not write; nothing was changed.
        """
        if self._closed:
            raise StoreError("the facilitator stops")
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Work(run, done))
        return await done

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a function on one consistent view of the records, in a reader thread.

        Raises:
            StoreError: the store could not be read.
        """
        if self._closed:
            raise StoreError("the facilitator stops")
        return await self._loop.run_in_executor(self._readers, self._read, run)

    def _read(self, run: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection, connection.begin():
                return run(connection)
        except DBAPIError as error:
            raise StoreError(f"the records cannot be read: {error.orig}") from error

    def _work(self) -> None:
        with self._writing.connect() as connection:
            while batch := self._next_batch():
                try:
                    wakes = _commit(connection, batch)
                except Exception as error:
                    log.exception("the records could not be written")
                    self.outages += 1
                    wakes = frozenset[str]()
                    for work in batch:
                        work.error = StoreError("the records could not be written")
                        work.error.__cause__ = error
                self._loop.call_soon_threadsafe(self._settle, batch, wakes)

    def _next_batch(self) -> list[_Work]:
        batch: list[_Work] = []
        work = self._queue.get()
        while work is not None:
            batch.append(work)
            if len(batch) == BATCH or self._queue.empty():
                return batch
            work = self._queue.get()
        self._queue.put(None)  # the end: found again by the next call
        return batch

    def _settle(self, batch: Sequence[_Work], wakes: frozenset[str]) -> None:
        self._bus.wake(wakes)
        for work in batch:
            if work.done.done():
                if work.error and not isinstance(work.error, FacilitatorError):
                    log.error("a write failed after its caller had left", exc_info=work.error)
            elif work.error:
                work.done.set_exception(work.error)
            else:
                work.done.set_result(work.result)

    def _close(self) -> None:
        self._writer.join()
        self._readers.shutdown()
        self._reading.dispose()
        self._writing.dispose()


def _commit(connection: Connection, batch: Sequence[_Work]) -> frozenset[str]:
    wakes = set[str]()
    with connection.begin():
        for work in batch:
            transaction = Transaction(connection)
            try:
                with connection.begin_nested():
                    work.result = work.run(transaction)
            except DBAPIError as error:
                if not isinstance(error, IntegrityError):
                    raise  # it may have ended the whole transaction, so nobody in it is told of success
                work.error = error
            except Exception as error:  # noqa: BLE001  # handed to whoever asked for this write
                work.error = error
            else:
                wakes |= transaction.wakes
    return frozenset(wakes)


def engine(path: Path) -> Engine:
    """An engine that may write: the running service's own, or one for work outside of it, such as a migration."""
    return _engine(path, "BEGIN IMMEDIATE", WRITING)


def _engine(path: Path, begin: str, pragmas: Sequence[str]) -> Engine:
    made = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=READERS,
        connect_args={"check_same_thread": False},
        hide_parameters=True,  # errors are logged, and parameters may be what jobs brought along
    )

    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; the event below does
        for pragma in (f"PRAGMA busy_timeout = {BUSY_MS}", "PRAGMA foreign_keys = ON", *pragmas):
            connection.execute(pragma)

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(made, "connect", prepare)
    event.listen(made, "begin", start)
    return made
