"""The executor's cache of inputs: what one job fetched, the next one need not.

Three rules decide what is shared:

- A content is found again only by what names it for sure: on a hub the hash that the hub promises, elsewhere the
  URL with the strong ETag that its server gave. The server is asked again each time ("is it still this one?"),
  by the request of the job itself. What has no such name serves only the jobs that want it in the same moment.
- What a token or the query of a URL opened is kept for its owner alone, and each job proves anew, with its own
  credentials, that it may have it. Different owners never share a private content, not even the fact that it is
  there.
- Jobs that want the same at the same time share one transfer. It goes on as long as one of them waits for it.

Jobs get their own view of a content (`placing`); a file of the cache itself is never within a job's reach.
"""

import asyncio
import hashlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from horde_core.outcomes import Reason, Stage
from horde_executor import threads, tree
from horde_executor.egress import Egress
from horde_executor.errors import ExecutorError, JobFailure
from horde_executor.fetch import Fetched, Progress, Unchanged, fetch
from horde_executor.meter import Part
from horde_executor.patience import Patience
from horde_executor.room import Room, share_of_disk
from horde_executor.shelf import PUBLIC, Blob, Entry, Name, Shelf
from horde_executor.tasks import cancel, over

SEAL_AFTER_S = 2.0
TIDY_EVERY_S = 1.0
_CHUNK = 1024**2

log = logging.getLogger(__name__)


Bring = Callable[[BinaryIO, Room, Progress], Coroutine[Any, Any, Fetched]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a job asks for.

    Attributes:
        label: the path of the volume, which messages begin with.
        url: where it is.
        name: under what it is looked for and kept; None: neither.
        token: what opens it.
        sha256: what the content hashes to, if that was promised.
        git_sha1: its hash as git has it, if that was promised.
        bring: how it is fetched where that is not by its URL; called with a file, the room and a progress.
    """

    label: str
    url: str
    name: Name | None
    token: str | None = field(default=None, repr=False)
    sha256: str | None = None
    git_sha1: str | None = None
    bring: Bring | None = None

    @property
    def is_settled(self) -> bool:
        """Whether a kept content is the right one and the job may have it, without another question.

        A hub promised the hash after it had been asked with the job's own token; a blob is its owner's.
        """
        return self.sha256 is not None or self.git_sha1 is not None


class Cache:
    """The cache of one agent. Its methods belong to the event loop."""

    def __init__(
        self, shelf: Shelf, budget: Callable[[int], int], egress: Egress, patience: Patience | None
    ) -> None:
        self._shelf = shelf
        self._budget = budget
        self._egress = egress
        self._patience = patience
        self._flights: dict[Name, _Flight] = {}
        self._sweeping: set[asyncio.Future[None]] = set()
        self._arrived = asyncio.Event()
        self._tidied_at = 0.0

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, root: Path, *, egress: Egress, budget: int | None = None, patience: Patience | None = None
    ) -> AsyncGenerator["Cache"]:
        """The cache in the directory `root`.

        Args:
            root: a directory of this agent alone.
            egress: the addresses that may be reached.
            budget: bytes for what no running job uses; None takes a share of the disk, see `share_of_disk`.
            patience: how long transfers bear with a server.

        Raises:
            OSError, WorkspaceError: the directory cannot be used.
        """
        shelf = await threads.run(lambda _: Shelf.open(root), name="open cache")
        cache = cls(shelf, lambda size: share_of_disk(root, size) if budget is None else budget, egress, patience)
        cache.tidy()
        sealing = asyncio.ensure_future(cache._seal())
        try:
            yield cache
        finally:
            await cancel(sealing)
            await cache._seal_now()
            await over(*cache._sweeping)

    @property
    def tmp(self) -> Path:
        """A directory on its file system, emptied at the next start."""
        return self._shelf.tmp

    async def obtain(self, wanted: Wanted, part: Part, *, limit: int) -> Blob:
        """A content, held for the caller, who has to `release` it.

        Args:
            wanted: what is asked for.
            part: is told how the transfer goes.
            limit: bytes that it may have at most.

        Raises:
            JobFailure: as `fetch` does.
        ExecutorError: as `Wanted.bring` does.
        """
        if wanted.name is None:
            return await self._bring(wanted, part, limit)
        if wanted.is_settled and (entry := self._shelf.find(wanted.name)) is not None:
            entry.blob.holds += 1
            part.had(entry.blob.size)
            return entry.blob
        flight = self._flights.get(wanted.name)
        if flight is None:
            flight = self._flights[wanted.name] = _Flight()
            flight.begin(self._bring(wanted, flight, limit))
            return await self._aboard(flight, wanted.name, part)
        try:
            blob = await self._aboard(flight, wanted.name, part)
        except ExecutorError:  # of somebody else's request; this one may do better, and its words are its own
            return await self._bring(wanted, part, limit)
        if wanted.is_settled or wanted.name.scope == PUBLIC:
            return blob
        try:  # whoever fetched it might; whether this job may have it, the server has to say
            return await self._bring(wanted, part, limit)
        finally:
            self.release(blob)

    def release(self, blob: Blob) -> None:
        """The caller of `obtain` has what it needs."""
        blob.holds -= 1
        if not blob.kept and not blob.holds:
            self._sweep(self._shelf.drop(blob))

    def tidy(self) -> None:
        """Let go what was not used for the longest time, until the budget is kept."""
        self._tidied_at = time.monotonic()
        excess = self._shelf.size - self._budget(self._shelf.size)
        if excess <= 0:
            return
        for blob in self._shelf.spare():
            self._sweep(self._shelf.drop(blob))
            excess -= blob.size
            if excess <= 0:
                return

    async def _aboard(self, flight: "_Flight", name: Name, part: Part) -> Blob:
        """Wait for a flight with others. The last one who leaves before its end ends it."""
        flight.board(part)
        try:
            await asyncio.wait([flight.task])
            blob = flight.task.result()
            blob.holds += 1
            return blob
        finally:
            flight.parts.remove(part)
            if not flight.parts:
                if self._flights.get(name) is flight:
                    del self._flights[name]
                await self._end(flight)

    async def _end(self, flight: "_Flight") -> None:
        await cancel(flight.task)
        if not flight.task.cancelled() and flight.task.exception() is None:
            self.release(flight.task.result())

    async def _bring(self, wanted: Wanted, part: "Part | _Flight", limit: int) -> Blob:
        """A content by a request of its own, held once."""
        entry = self._shelf.find(wanted.name) if wanted.name else None
        if entry is not None:
            entry.blob.holds += 1
        draft = self._shelf.tmp / uuid.uuid4().hex
        try:
            return await self._request(wanted, entry, draft, part, limit)
        except OSError as error:
            raise tree.disk_failure(wanted.label, error) from error
        finally:
            draft.unlink(missing_ok=True)
            if entry is not None:
                self.release(entry.blob)

    async def _request(
        self, wanted: Wanted, entry: Entry | None, draft: Path, part: "Part | _Flight", limit: int
    ) -> Blob:
        room = Room(limit)
        with draft.open("xb") as file:
            if wanted.bring is not None:
                fetched = await wanted.bring(file, room, part.at)
            else:
                fetched = await fetch(
                    wanted.url,
                    file,
                    name=wanted.label,
                    egress=self._egress,
                    room=room,
                    sha256=wanted.sha256,
                    token=wanted.token,
                    known=entry.version if entry else None,
                    patience=self._patience,
                    progress=part.at,
                )
        if isinstance(fetched, Unchanged):
            if entry is None:
                raise AssertionError("only what is known can be unchanged")
            entry.blob.holds += 1
            part.had(entry.blob.size)
            return entry.blob
        if wanted.git_sha1 is not None:
            await threads.run(lambda stop: _check_git(draft, wanted, stop), name=f"check {wanted.label}")
        name = wanted.name if wanted.is_settled or fetched.version else None
        blob = self._shelf.take_in(draft, fetched.sha256, name, fetched.version)
        blob.holds += 1
        if blob.kept:
            self._arrived.set()
            if time.monotonic() - self._tidied_at >= TIDY_EVERY_S:
                self.tidy()
        return blob

    async def _seal(self) -> None:
        """Bring what arrived to the disk, a little later, so that no job waits for it and many go together."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(SEAL_AFTER_S)
            self._arrived.clear()
            await self._seal_now()

    async def _seal_now(self) -> None:
        entries = self._shelf.unsealed()
        if not entries:
            return
        try:
            await threads.run(lambda _: self._shelf.seal(entries), name="seal cache")
        except OSError as error:  # then they are of use until the agent ends
            log.warning("the cache cannot be brought to the disk: %s", error)

    def _sweep(self, doomed: Path | None) -> None:
        if doomed is None:
            return
        unlinking = asyncio.ensure_future(asyncio.to_thread(doomed.unlink, missing_ok=True))
        self._sweeping.add(unlinking)
        unlinking.add_done_callback(self._sweeping.discard)


class _Flight:
    """One transfer for all who want the same; it tells them all how it goes."""

    task: asyncio.Future[Blob]

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._done = 0
        self._total: int | None = None

    def begin(self, work: Coroutine[Any, Any, Blob]) -> None:
        self.task = asyncio.ensure_future(work)

    def board(self, part: Part) -> None:
        part.joined(self._done, self._total)
        self.parts.append(part)

    def at(self, done: int, total: int | None) -> None:
        self._done, self._total = done, total
        for part in self.parts:
            part.at(done, total)

    def had(self, size: int) -> None:
        for part in self.parts:
            part.had(size)


def _check_git(path: Path, wanted: Wanted, stop: threading.Event) -> None:
    """Compare a file's hash with what was promised: git's, which hashes a head with the size first."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            threads.check(stop)
            digest.update(piece)
    if digest.hexdigest() != wanted.git_sha1:
        raise JobFailure(
            Stage.DOWNLOAD,
            Reason.DOWNLOAD_FAILED,
            f"{wanted.label} does not have the promised content: its git hash is {digest.hexdigest()}, not"
            f" {wanted.git_sha1}",
        )
