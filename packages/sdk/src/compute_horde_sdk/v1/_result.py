"""What a job left behind, and how it is fetched.

Our facilitator hands out bytes as they are, in requests of their own; the original one puts everything into the
JSON of the job. A listing of ours holds what is short.
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import ValidationError

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._failures import failure_of
from compute_horde_sdk.v1._status import has_ended
from compute_horde_sdk.v1._volumes import OUTPUT_PREFIX, HttpOutputVolumeResponse
from horde_core.outcomes import Failed, Succeeded
from horde_core.wire.client import JobReply, LogInfo
from horde_core.wire.executor import ArtifactEntry, LeftOut

MAX_ARTIFACT_BYTES = 50 * 1024**2
PARALLEL = 8


@dataclass
class ComputeHordeJobResult:
    """What a job left behind, whether it succeeded or not.

    Attributes:
        stdout: what it wrote to its standard output; bytes that are no UTF-8 are replaced.
        stderr: the same of its standard error.
        artifacts: contents of the files in its `artifacts_dir`, by full path; 50 MiB at most (see `truncated`).
        upload_results: what the servers of its output volumes answered, by path (``/output/…``), refusals too.
        exit_code: what the container ended with; None if it did not run, or if nobody knows.
        stopped_at_limit: whether the container was stopped at its execution limit.
        truncated: what is not, or not wholly, in here; each item has a `path` (for logs ``"stdout"`` or
            ``"stderr"``), a `size` in bytes, if known, and `why`.
    """

    stdout: str
    stderr: str
    artifacts: dict[str, bytes]
    upload_results: dict[str, HttpOutputVolumeResponse] = field(
        default_factory=dict[str, HttpOutputVolumeResponse]
    )
    exit_code: int | None = None
    stopped_at_limit: bool = False
    truncated: list[LeftOut] = field(default_factory=list[LeftOut])


async def job_with_result(api: Api, uuid: str, *, inline: bool) -> tuple[JobReply, ComputeHordeJobResult | None]:
    """A job and, if it has ended, its whole result.

    Asking for the output `inline` saves requests where there can be no artifacts.
    """
    reply = await api.job(uuid, inline=inline)
    if not has_ended(reply):
        return reply, None
    if reply.horde is None or (inline and is_whole(reply)):
        return reply, inlined(reply)
    return reply, await _fetched(api, reply)


def is_whole(reply: JobReply) -> bool:
    """Whether a reply that was asked for with its output really holds all of it."""
    return not _cut(reply)


def inlined(reply: JobReply) -> ComputeHordeJobResult:
    """The result of an ended job as far as it stands in the reply itself; what does not is in `truncated`."""
    artifacts: dict[str, bytes] = {}
    broken: list[LeftOut] = []
    for path, text in reply.artifacts.items():
        try:
            artifacts[path] = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            broken.append(LeftOut(path=path, why=f"the facilitator sent broken base64: {error}"))
    return _result(reply, reply.stdout, reply.stderr, artifacts, [*_cut(reply), *broken])


async def _fetched(api: Api, reply: JobReply) -> ComputeHordeJobResult:
    horde = reply.horde
    entries, too_much = _within(horde.artifacts if horde else [], MAX_ARTIFACT_BYTES)
    gate = asyncio.Semaphore(PARALLEL)

    async def log(stream: str) -> str:
        info = horde.logs.get(stream) if horde else None
        if info and not info.size:
            return ""
        async with gate:
            return (await api.log(reply.uuid, stream)).decode(errors="replace")

    async def artifact(entry: ArtifactEntry) -> bytes:
        async with gate:
            return checked(entry, await api.artifact(reply.uuid, entry.path))

    try:
        async with asyncio.TaskGroup() as group:
            logs = [group.create_task(log(stream)) for stream in ("stdout", "stderr")]
            files = {entry.path: group.create_task(artifact(entry)) for entry in entries}
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    artifacts = {path: task.result() for path, task in files.items()}
    return _result(reply, logs[0].result(), logs[1].result(), artifacts, too_much)


def checked(entry: ArtifactEntry, content: bytes) -> bytes:
    """The content, if it is what the executor hashed.

    Raises:
        ComputeHordeError: it is not.
    """
    if sha256(content).hexdigest() != entry.sha256:
        raise ComputeHordeError(f"artifact {entry.path} does not have the content that the executor stored")
    return content


def _within(entries: Sequence[ArtifactEntry], limit: int) -> tuple[list[ArtifactEntry], list[LeftOut]]:
    """Split artifacts into those that fit under the limit together, taken in order, and the others."""
    taken: list[ArtifactEntry] = []
    left_out: list[LeftOut] = []
    why = f"a result carries {limit // 1024**2} MiB of artifacts at most; use download_artifacts()"
    for entry in entries:
        if entry.size <= limit:
            limit -= entry.size
            taken.append(entry)
        else:
            left_out.append(LeftOut(path=entry.path, size=entry.size, why=why))
    return taken, left_out


def _result(
    reply: JobReply, stdout: str, stderr: str, artifacts: dict[str, bytes], missing: list[LeftOut]
) -> ComputeHordeJobResult:
    uploads, unreadable = _upload_results(reply)
    exit_code, stopped_at_limit = _end(reply)
    left_out = [*missing, *(reply.horde.left_out if reply.horde else ()), *_incomplete(reply), *unreadable]
    # An artifact that is left out of a reply may stand in both lists.
    truncated = list({item.path: item for item in reversed(left_out)}.values())[::-1]
    return ComputeHordeJobResult(stdout, stderr, artifacts, uploads, exit_code, stopped_at_limit, truncated)


def _end(reply: JobReply) -> tuple[int | None, bool]:
    """Exit code, and whether the container was stopped at its limit."""
    stopped = any((entry.metadata or {}).get("stopped_at_limit") is True for entry in reply.status_history)
    match reply.horde.outcome if reply.horde else None:
        case Succeeded(exit_code=code, stopped_at_limit=stopped):
            return code, stopped
        case Failed(exit_code=code):  # its outputs may have failed after it was stopped
            return code, stopped
        case _:
            failure = failure_of(reply)
            return (failure.exit_code if failure else None if stopped else 0), stopped


def _incomplete(reply: JobReply) -> list[LeftOut]:
    """Logs that the horde itself does not have in full."""
    if reply.horde is None:
        return []
    dropped = "the middle of the log was left out; it was longer than the horde keeps"
    lost = "the executor was lost; this is what had arrived"
    logs = reply.horde.logs.items()
    middles = [LeftOut(path=name, size=info.dropped, why=dropped) for name, info in logs if info.dropped]
    return middles + ([LeftOut(path=name, why=lost) for name, _ in logs] if reply.horde.partial else [])


def _cut(reply: JobReply) -> list[LeftOut]:
    """What the horde has of a job, but did not put into this reply."""
    if reply.horde is None:
        return []
    why = "left out of this reply; refresh_from_facilitator() fetches it"
    texts = (("stdout", reply.stdout), ("stderr", reply.stderr))
    logs = [(name, text, reply.horde.logs.get(name, LogInfo())) for name, text in texts]
    cut = [LeftOut(path=name, size=info.size, why=why) for name, text, info in logs if _is_cut(text, info)]
    missing = [entry for entry in reply.horde.artifacts if entry.path not in reply.artifacts]
    more = [item for item in reply.horde.left_out if not item.path]
    return cut + [LeftOut(path=entry.path, size=entry.size, why=why) for entry in missing] + more


def _is_cut(text: str, info: LogInfo) -> bool:
    """Whether a log is not the whole one. What was no UTF-8 takes three bytes for each one or more of its own."""
    size = len(text.encode())
    return bool(info.dropped) or (size < info.size if "\ufffd" in text else size != info.size)


def _upload_results(reply: JobReply) -> tuple[dict[str, HttpOutputVolumeResponse], list[LeftOut]]:
    found: dict[str, HttpOutputVolumeResponse] = {}
    unreadable: list[LeftOut] = []
    for name, text in reply.upload_results.items():
        path = OUTPUT_PREFIX + name
        try:
            found[path] = HttpOutputVolumeResponse.model_validate_json(text)
        except ValidationError:
            unreadable.append(LeftOut(path=path, why="the record of this upload's answer cannot be read"))
    return found, unreadable
