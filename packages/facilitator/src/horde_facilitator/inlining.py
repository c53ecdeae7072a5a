"""Job objects as bytes, with logs and artifacts inside, as published clients read them.

Artifacts go from the store into the answer in pieces, as base64; they are never held as a whole.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from horde_core.wire.executor import LeftOut
from horde_facilitator.blobs import Blobs, artifact_key, log_key
from horde_facilitator.logview import LogView
from horde_facilitator.parts import Parts
from horde_facilitator.records.dossiers import Dossier
from horde_facilitator.records.values import Artifact, Attempt
from horde_facilitator.replies import echo, job_reply, upload_results
from horde_facilitator.reports import STREAMS, log_view, report_of

PIECE = 768 * 1024
"""Read from the store at once: a multiple of three, so that pieces of base64 join without padding."""
UTF8_MAX = 4
SMALL = 64 * 1024
"""Below this a text is treated on the event loop; a thread would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one job object may hold: bytes of artifacts, characters of each log and of the answers to uploads."""

    artifact_bytes: int
    log_characters: int
    answer_characters: int = 1024**2


async def log_views(blobs: Blobs, attempt: Attempt | None, log_bytes: int) -> dict[str, LogView]:
    """What readers see of each of an attempt's log streams."""
    if attempt is None:
        return {}
    report = report_of(attempt)
    views: dict[str, LogView] = {}
    for stream in STREAMS:
        arrived = 0
        if stream not in report.logs:
            arrived = await blobs.size(log_key(attempt.job, attempt.attempt, stream)) or 0
        views[stream] = log_view(report, stream, arrived, log_bytes)
    return views


async def read_log(blobs: Blobs, key: str, view: LogView, start: int, stop: int) -> AsyncIterator[bytes]:
    """The bytes `start` to `stop` of what readers see of a log."""
    for piece in view.pieces(start, stop):
        if piece.mark is not None:
            yield piece.mark
        elif view.whole is not None:
            yield view.whole[piece.start : piece.stop]
        else:
            async for data in blobs.read(key, piece.start, piece.stop, PIECE):
                yield data


async def bare(dossier: Dossier, parts: Parts) -> bytes:
    """The job object with neither logs nor artifacts inside."""
    views = await log_views(parts.blobs, dossier.shown, parts.settings.limits.log_bytes)
    reply = job_reply(dossier, echo(dossier, parts.sealing), views)
    reply = reply.model_copy(update={"upload_results": upload_results(dossier)})
    return reply.model_dump_json().encode()


async def inlined(dossier: Dossier, parts: Parts, caps: Caps) -> AsyncIterator[bytes]:
    """The job object with logs and artifacts inside, as far as `caps` allow; what is left out is listed."""
    blobs = parts.blobs
    views = await log_views(blobs, dossier.shown, parts.settings.limits.log_bytes)
    texts = await _texts(dossier, blobs, views, caps.log_characters)
    fitting, left_out = fit(dossier.artifacts, caps.artifact_bytes)
    if dossier.more_artifacts:
        left_out.append(LeftOut(path="", why="there are more artifacts; get the job itself to see them all"))
    answers = upload_results(dossier)
    if sum(len(path) + len(text) for path, text in answers.items()) > caps.answer_characters:
        left_out.append(
            LeftOut(path="", why="the answers to uploads are left out; get the job itself to see them")
        )
        answers = {}
    reply = job_reply(dossier, echo(dossier, parts.sealing), views, left_out)
    reply = reply.model_copy(update={"upload_results": answers})
    head = reply.model_dump_json(exclude={"stdout", "stderr", "artifacts"})
    yield head[:-1].encode()
    for name, text in texts.items():
        yield b',"%s":%s' % (name.encode(), text)
    yield b',"artifacts":{'
    separator = b""
    for artifact in fitting:
        yield separator + json.dumps(artifact.path).encode() + b':"'
        async for data in blobs.read(_key(artifact), 0, artifact.size, PIECE):
            yield b64encode(data)
        yield b'"'
        separator = b","
    yield b"}}"


def fit(artifacts: Sequence[Artifact], budget: int) -> tuple[list[Artifact], list[LeftOut]]:
    """Which artifacts go inside, in order, and which are left out because the budget of bytes is spent."""
    fitting: list[Artifact] = []
    left_out: list[LeftOut] = []
    for artifact in artifacts:
        if artifact.size <= budget:
            budget -= artifact.size
            fitting.append(artifact)
        else:
            why = "too large for this reply; fetch it by its own address"
            left_out.append(LeftOut(path=artifact.path, size=artifact.size, why=why))
    return fitting, left_out


async def _texts(
    dossier: Dossier, blobs: Blobs, views: Mapping[str, LogView], characters: int
) -> dict[str, bytes]:
    """Each log as a JSON string."""
    texts: dict[str, bytes] = dict.fromkeys(STREAMS, b'""')
    if dossier.shown is None:
        return texts
    for stream, view in views.items():
        if view.length:
            key = log_key(dossier.job.uuid, dossier.shown.attempt, stream)
            texts[stream] = await _text(blobs, key, view, characters)
    return texts


async def _text(blobs: Blobs, key: str, view: LogView, characters: int) -> bytes:
    half = characters // 2
    enough = half * UTF8_MAX
    if view.length <= 2 * enough:
        whole = await _bytes(blobs, key, view, 0, view.length)
        if len(whole) < SMALL:
            return _shortened(whole, whole, half)
        return await asyncio.to_thread(_shortened, whole, whole, half)
    first = await _bytes(blobs, key, view, 0, enough)
    last = await _bytes(blobs, key, view, view.length - enough, view.length)
    return await asyncio.to_thread(_shortened, first, last, half, always=True)


async def _bytes(blobs: Blobs, key: str, view: LogView, start: int, stop: int) -> bytes:
    return b"".join([data async for data in read_log(blobs, key, view, start, stop)])


def _shortened(first: bytes, last: bytes, half: int, *, always: bool = False) -> bytes:
    """A JSON string of `first` if it is short enough, else of the beginning of `first` and the end of `last`."""
    text = first.decode(errors="replace")
    if always or len(text) > 2 * half:
        mark = "\n[... the middle is left out here; the log's own address has all of it ...]\n"
        text = text[:half] + mark + last.decode(errors="replace")[-half:]
    return json.dumps(text, ensure_ascii=False).encode()


def _key(artifact: Artifact) -> str:
    return artifact_key(artifact.job, artifact.attempt, artifact.sha256)
