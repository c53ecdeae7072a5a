"""What is new of many jobs, over one stream of events.

All jobs that somebody waits for share one stream, which carries a cursor for each. The set of jobs is fixed when a
stream is opened, so a newly watched job opens another one, and the old one is let go only when the new one stands:
nobody misses anything, and nobody waits for it. However many jobs come up while a stream is being opened, they all
go into the next one. A broken stream is opened again with the cursors as they are. A facilitator without events is
asked for each job from time to time.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError, ComputeHordeNotFoundError, RefusedError
from compute_horde_sdk.v1._transport import Outage
from horde_core.wire.client import JobEvents, JobReply

# The least time between two openings, for programs that start to wait for one job after the other.
OPENING_PAUSE_S = 0.02
FIRST_POLL_S, LAST_POLL_S, POLL_GROWTH = 0.5, 3.0, 1.5

News = JobEvents | JobReply


class Watch:
    """One waiter's view of one job. `known` counts the history entries that it has heard of."""

    def __init__(self, uuid: str, known: int) -> None:
        self.uuid = uuid
        self.known = known
        self._news: asyncio.Queue[News | ComputeHordeError] = asyncio.Queue()

    async def next(self) -> News:
        """Wait for the next news: some events, or the job as it is now.

        Raises:
            ComputeHordeNotFoundError: there is no such job.
            ComputeHordeError: the facilitator cannot be asked.
        """
        news = await self._news.get()
        if isinstance(news, ComputeHordeError):
            raise news.with_traceback(None)  # many waiters may share it
        return news

    def hear(self, events: JobEvents) -> None:
        """Take what a stream says, unless it is known already."""
        if events.missing:
            self.fail(ComputeHordeNotFoundError(f"the facilitator knows no job {self.uuid}"))
        elif events.cursor + len(events.entries) > self.known:
            self.known = events.cursor + len(events.entries)
            self._news.put_nowait(events)
        elif events.progress:
            self._news.put_nowait(events)

    def see(self, reply: JobReply) -> None:
        """Take a whole description of the job."""
        self._news.put_nowait(reply)

    def fail(self, error: ComputeHordeError) -> None:
        """End the waiting with an error."""
        self._news.put_nowait(error)


class Watcher:
    """Watches any number of jobs for any number of waiters."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._watches: dict[str, set[Watch]] = {}
        self._grew = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._has_events = True

    @contextmanager
    def watch(self, uuid: str, known: int) -> Generator[Watch]:
        """Hear what is new of a job beyond the first `known` entries of its history."""
        watch = Watch(uuid, known)
        self._watches.setdefault(uuid, set()).add(watch)
        self._grew.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield watch
        finally:
            self._remove(watch)

    async def aclose(self) -> None:
        """Stop watching; everybody who still waits gets an error."""
        self._fail(ComputeHordeError("this client is closed"))
        self._end()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _remove(self, watch: Watch) -> None:
        same_job = self._watches[watch.uuid]
        same_job.discard(watch)
        if not same_job:
            del self._watches[watch.uuid]
        if not self._watches:
            self._end()

    def _end(self) -> None:
        task, self._task = self._task, None
        if task:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def _run(self) -> None:
        try:
            if self._has_events:
                await self._listen()
            await self._poll()
        except ComputeHordeError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting for ever
            self._fail(ComputeHordeError(f"watching broke off: {error!r}"))

    def _fail(self, error: ComputeHordeError) -> None:
        for same_job in self._watches.values():
            for watch in same_job:
                watch.fail(error)

    async def _listen(self) -> None:
        """Keep a stream open over all jobs. Returns only if the facilitator has no such thing."""
        outage = Outage()
        current: asyncio.Task[ComputeHordeError | None] | None = None
        following: asyncio.Task[ComputeHordeError | None] | None = None
        try:
            while True:
                self._grew.clear()
                opened = asyncio.Event()
                following = asyncio.create_task(self._stream(opened, outage))
                await _either(opened, following)
                if opened.is_set():
                    if current:
                        current.cancel()
                    current = following
                    await asyncio.sleep(OPENING_PAUSE_S)
                    await _either(self._grew, current)
                if following.done():
                    error = following.result()
                    if _is_unknown_request(error):
                        self._has_events = False
                        return
                    await outage.wait(error)
        finally:
            for task in (current, following):
                if task:
                    task.cancel()

    async def _stream(self, opened: asyncio.Event, outage: Outage) -> ComputeHordeError | None:
        """Hand on what one stream says, until it breaks; returns why it did, if there is an error."""
        jobs = {uuid: min(watch.known for watch in same_job) for uuid, same_job in self._watches.items()}
        try:
            async with self._api.events(jobs) as stream:
                opened.set()
                outage.connected()
                async for events in stream:
                    outage.heard()
                    for watch in self._watches.get(events.job, ()):
                        watch.hear(events)
        except ComputeHordeError as error:
            return error
        return None

    async def _poll(self) -> None:
        """Ask for each job from time to time, ever less often until a new one comes."""
        pause = FIRST_POLL_S
        while True:
            self._grew.clear()
            await asyncio.gather(*(self._ask(uuid) for uuid in self._watches))
            try:
                await asyncio.wait_for(self._grew.wait(), pause)
                pause = FIRST_POLL_S
            except TimeoutError:
                pause = min(pause * POLL_GROWTH, LAST_POLL_S)

    async def _ask(self, uuid: str) -> None:
        try:
            reply = await self._api.job(uuid, inline=False)
        except ComputeHordeError as error:
            for watch in self._watches.get(uuid, ()):
                watch.fail(error)
        else:
            for watch in self._watches.get(uuid, ()):
                watch.see(reply)


async def _either(event: asyncio.Event, task: asyncio.Task[ComputeHordeError | None]) -> None:
    """Wait until the event is set or the task has ended."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _is_unknown_request(error: ComputeHordeError | None) -> bool:
    """Whether the error says that this facilitator has no events (that a job is missing, an event would tell)."""
    return isinstance(error, ComputeHordeNotFoundError) or (
        isinstance(error, RefusedError) and error.status == HTTPStatus.METHOD_NOT_ALLOWED
    )
