"""Streams of what happens to jobs and of what they write, as server-sent events."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import BaseModel
from sqlalchemy import Connection

from horde_core.wire.client import JobEvents, LogChunk
from horde_facilitator.blobs import log_key
from horde_facilitator.bus import job_topic, log_topic
from horde_facilitator.clock import microseconds
from horde_facilitator.errors import StoreError
from horde_facilitator.inlining import Caps, inlined, log_views, read_log
from horde_facilitator.parts import Parts
from horde_facilitator.records import dossiers, jobs
from horde_facilitator.records.dossiers import Dossier
from horde_facilitator.records.values import Attempt, Entry, Job
from horde_facilitator.replies import progress_of, status_entry

KEEP_ALIVE = b": keep-alive\n\n"
CHUNK = 256 * 1024
AT_ONCE = 50
"""Jobs that are read in one go: a stream that resumes with thousands must not hold up a reader."""
ENDED_LOG = 64 * 1024
"""Characters of each log that go along with the end of a job."""


def _event(message: BaseModel) -> bytes:
    return b"data: %s\n\n" % message.model_dump_json().encode()


@dataclass(slots=True)
class _Watched:
    """What the client has heard of a job: how many entries, and which progress."""

    cursor: int
    progress: str | None = None


@dataclass(frozen=True, slots=True)
class _News:
    """What is new of a job; its dossier, with no artifacts in it, if it has ended."""

    job: Job
    entries: Sequence[Entry]
    dossier: Dossier | None


@dataclass(slots=True)
class _Watch:
    """The jobs that a stream still has something to say about."""

    owner: str
    watched: dict[str, _Watched] = field(default_factory=dict[str, _Watched])
    ended: list[str] = field(default_factory=list[str])

    def read(self, connection: Connection, uuids: Sequence[str]) -> list[_News]:
        """The jobs of which there is news, with their new entries; those that ended as a whole."""
        found = jobs.of_owner(connection, self.owner, [uuid for uuid in uuids if uuid in self.watched])
        since = {job.uuid: self.watched[job.uuid].cursor for job in found}
        entries = jobs.entries(connection, {j.uuid: since[j.uuid] for j in found if j.entries > since[j.uuid]})
        return [
            _News(
                job=job,
                entries=entries.get(job.uuid, []),
                dossier=dossiers.read(connection, self.owner, job.uuid, 0) if job.status.is_end else None,
            )
            for job in found
            if job.uuid in entries or job.progress != self.watched[job.uuid].progress
        ]

    def said(self, job: Job, entries: Sequence[Entry]) -> JobEvents:
        """The event that tells the news of a job."""
        watched = self.watched[job.uuid]
        event = JobEvents(
            job=job.uuid,
            cursor=watched.cursor,
            entries=[status_entry(entry) for entry in entries],
            progress=progress_of(job),
        )
        watched.cursor += len(entries)
        watched.progress = job.progress
        return event


async def watch(parts: Parts, owner: str, cursors: Mapping[str, int]) -> AsyncIterator[bytes]:
    """What is newer than the cursors, then what happens, until the client leaves or the facilitator stops."""
    settings = parts.settings
    topics = {job_topic(uuid): uuid for uuid in cursors}
    with parts.bus.listen(topics) as listener:
        found = await parts.database.read(lambda connection: jobs.of_owner(connection, owner, list(cursors)))
        view = _Watch(owner, {job.uuid: _Watched(cursors[job.uuid]) for job in found})
        for uuid in cursors:
            if uuid not in view.watched:
                listener.drop(job_topic(uuid))
                yield _event(JobEvents(job=uuid, missing=True))
        fresh: Sequence[str] = list(view.watched)
        checked_us = parts.clock.now().boot_us
        while not listener.ended:
            if fresh:
                async for event in _tell(parts, view, fresh):
                    yield event
                for uuid in view.ended:
                    listener.drop(job_topic(uuid))
                view.ended.clear()
            woken = await listener.wait(settings.keep_alive_s)
            fresh = [topics[topic] for topic in woken]
            now_us = parts.clock.now().boot_us
            if now_us - checked_us >= microseconds(settings.recheck_s):
                fresh, checked_us = list(view.watched), now_us
            if not woken:
                yield KEEP_ALIVE


async def _tell(parts: Parts, view: _Watch, uuids: Sequence[str]) -> AsyncIterator[bytes]:
    """An event for each of the jobs of which there is news."""
    for start in range(0, len(uuids), AT_ONCE):
        some = uuids[start : start + AT_ONCE]
        for news in await parts.database.read(partial(view.read, uuids=some)):
            event = view.said(news.job, news.entries)
            if news.dossier is None:
                yield _event(event)
                continue
            del view.watched[news.job.uuid]
            view.ended.append(news.job.uuid)
            yield await _last_event(parts, event, news.dossier)


async def _last_event(parts: Parts, news: JobEvents, dossier: Dossier) -> bytes:
    """The event that tells the end of a job; with the job itself, unless it left artifacts or cannot be read."""
    if dossier.more_artifacts:
        return _event(news)
    caps = Caps(artifact_bytes=0, log_characters=ENDED_LOG)
    body = inlined(dossier, parts, caps)
    try:
        whole = [piece async for piece in body]
    except StoreError:
        return _event(news)  # the end is told all the same
    head = news.model_dump_json(exclude={"ended"})[:-1].encode()
    return b'data: %s,"ended":%s}\n\n' % (head, b"".join(whole))


async def follow(
    parts: Parts, uuid: str, attempt: int | None, offsets: dict[str, int], *, live: bool
) -> AsyncIterator[bytes]:
    """The job's logs from the offsets on; when `live`, until the job has ended."""
    number = attempt
    with parts.bus.listen([log_topic(uuid), job_topic(uuid)]) as listener:
        while True:
            ended, shown = await parts.database.read(lambda connection: _standing(connection, uuid))
            if shown and number is not None and number != shown.attempt:
                offsets = dict.fromkeys(offsets, 0)
            number = shown.attempt if shown else number
            async for chunk in _chunks(parts, shown, offsets):
                yield chunk
            if ended or not live:
                yield _event(LogChunk(attempt=number or 0, end=True))
                return
            woken = await listener.wait(parts.settings.keep_alive_s)
            if listener.ended:
                return
            if not woken:
                yield KEEP_ALIVE


def _standing(connection: Connection, uuid: str) -> tuple[bool, Attempt | None]:
    job = jobs.find(connection, uuid)
    if job is None:
        return True, None
    return job.status.is_end, dossiers.shown_attempt(connection, job)


async def _chunks(parts: Parts, attempt: Attempt | None, offsets: dict[str, int]) -> AsyncIterator[bytes]:
    """What each stream holds beyond its offset; moves the offsets."""
    views = await log_views(parts.blobs, attempt, parts.settings.limits.log_bytes)
    for stream, view in views.items():
        while attempt and offsets[stream] < view.length:
            start = offsets[stream]
            stop = min(start + CHUNK, view.length)
            key = log_key(attempt.job, attempt.attempt, stream)
            data = b"".join([piece async for piece in read_log(parts.blobs, key, view, start, stop)])
            text = b64encode(data).decode()
            yield _event(LogChunk(attempt=attempt.attempt, stream=stream, offset=start, data=text))
            offsets[stream] = stop
