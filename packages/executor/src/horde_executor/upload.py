"""The stage `upload`: a job's outputs go to the URLs that its user gave.

Runs once, after `collect`, when the container is gone. Its clock is the job's upload limit; it runs while bytes go
to the user's servers, not while files are opened or the facilitator is told. All outputs are tried, several at a
time; the first problem decides, and the others are told beside it.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from pydantic import JsonValue

from horde_core.outcomes import Failed, Fault, Reason, Stage, Succeeded, fault_of
from horde_core.uploads import AnyUpload, goes_up_after_failure
from horde_core.wire.executor import ExposedEvent, UploadAnswer
from horde_executor import threads
from horde_executor.attempt import Run
from horde_executor.clock import limit
from horde_executor.errors import LimitReached
from horde_executor.meter import Meter
from horde_executor.outputs import Opened, Output, open_outputs
from horde_executor.send import name_of, send
from horde_executor.stages import Ready
from horde_executor.tasks import unless

AT_ONCE = 4
ANSWERS = 256 * 1024
"""Characters that the answers of all servers may have together in a job's result."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that kept an output from its URL. `path` is empty when it is about all that were left."""

    path: str
    reason: Reason
    message: str


@dataclass(slots=True)
class Uploaded:
    """What came of the outputs; problems in the order in which they arose."""

    answers: dict[int, UploadAnswer] = field(default_factory=dict[int, UploadAnswer])
    problems: list[Problem] = field(default_factory=list[Problem])

    def kept(self) -> list[UploadAnswer]:
        """The answers in the order of the uploads, as far as there is room for them."""
        room, kept = ANSWERS, list[UploadAnswer]()
        for _, answer in sorted(self.answers.items()):
            room -= len(answer.model_dump_json())
            kept.append(answer if room >= 0 else answer.model_copy(update={"headers": {}, "body": ""}))
        return kept

    def after(self, outcome: Succeeded | Failed) -> Succeeded | Failed:
        """What becomes of the execution's outcome. A failure stays what it was; problems are told beside it."""
        if not self.problems:
            return outcome
        first = self.problems[0]
        told: dict[str, JsonValue] = {p.path: p.message for p in reversed(self.problems) if p.path}
        if isinstance(outcome, Failed):
            context: dict[str, JsonValue] = {**(outcome.context or {}), "upload_problems": told or first.message}
            return outcome.model_copy(update={"context": context})
        return Failed(
            stage=Stage.UPLOAD,
            reason=first.reason,
            message=first.message,
            exit_code=outcome.exit_code,
            context={"upload_problems": told} if told else None,
        )


def chosen(uploads: list[AnyUpload], outcome: Succeeded | Failed) -> list[AnyUpload]:
    """Which outputs go up after this end of the execution.

    After a failure of the horde none do: the attempt is repeated, and what has left cannot be taken back.
    """
    if isinstance(outcome, Succeeded):
        return list(uploads)
    if fault_of(outcome.reason) is Fault.JOB:
        return [upload for upload in uploads if goes_up_after_failure(upload)]
    return []


async def upload(run: Run, ready: Ready, outcome: Succeeded | Failed, uploaded: Uploaded) -> None:
    """Send the outputs; what came of them is put into `uploaded` as it becomes known.

    Raises:
        JobFailure, EngineError, WorkspaceError, OSError: this machine is to blame.
        FacilitatorError, Fenced: the attempt is no longer ours to report.
    """
    uploads = chosen(run.claim.spec.uploads, outcome)
    if not uploads:
        return
    run.watch.stage = Stage.UPLOAD
    await run.host.engine.wait(ready.container)  # its command has ended; what else ran in it may not have
    space = ready.workspace
    with ExitStack() as files:
        opened = await threads.run(
            lambda _: open_outputs(uploads, space.output, space.tmp, run.reporter.copy_log, files),
            name="open outputs",
        )
        uploaded.problems += [
            Problem(name_of(missing), Reason.UPLOAD_FAILED, message) for missing, message in opened.problems
        ]
        if opened.outputs:
            run.reporter.event(ExposedEvent(at_ns=time.time_ns()))
            await run.reporter.heard()
            await _send_in_time(run, opened, uploaded, was_cancelled=_was_cancelled(outcome))


def _was_cancelled(outcome: Succeeded | Failed) -> bool:
    return isinstance(outcome, Failed) and outcome.reason is Reason.CANCELLED


async def _send_in_time(run: Run, opened: Opened, uploaded: Uploaded, *, was_cancelled: bool) -> None:
    """Send all that was opened, until the job's limit or a cancel that comes only now."""
    never = asyncio.Event()
    allowed = run.claim.spec.upload_time_limit
    sending = _Sending(run, opened.outputs, uploaded)
    with run.watch.measure("upload"):
        try:
            async with limit(allowed):
                stop = never if was_cancelled else run.lease.cancelled
                if await unless(stop, sending.all()) is None:
                    words = "the job was cancelled while its outputs were sent"
                    uploaded.problems.append(Problem("", Reason.CANCELLED, words))
        except LimitReached:
            names = ", ".join(sending.unfinished())
            words = (
                f"the upload limit of {allowed} s was reached before all outputs were sent; missing: {names}."
                " Raise upload_time_limit_sec, or use less data or a faster server"
            )
            uploaded.problems.append(Problem("", Reason.TIMEOUT, words))


class _Sending:
    """The transfers of a job, and how far they are together."""

    def __init__(self, run: Run, outputs: tuple[Output, ...], uploaded: Uploaded) -> None:
        self._run = run
        self._outputs = outputs
        self._uploaded = uploaded
        meter = Meter(run.reporter.transfers(Stage.UPLOAD, "uploading outputs"))
        self._parts = [meter.part(output.size) for output in outputs]
        self._finished: set[int] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    async def all(self) -> bool:
        try:
            async with asyncio.TaskGroup() as group:
                for index, output in enumerate(self._outputs):
                    group.create_task(self._one(index, output))
        except ExceptionGroup as group:
            first = group.exceptions[0]
            raise first from first.__cause__
        return True

    def unfinished(self) -> list[str]:
        """The outputs of which nobody knows that they arrived."""
        return [name_of(output.upload) for i, output in enumerate(self._outputs) if i not in self._finished]

    async def _one(self, index: int, output: Output) -> None:
        async with self._places:
            sent = await send(
                output.upload,
                output.file,
                output.size,
                egress=self._run.host.egress,
                progress=lambda done: self._parts[index].at(done, output.size),
            )
        self._finished.add(index)
        problem = sent.problem
        if problem is None and output.has_changed:
            problem = f"{name_of(output.upload)} was changed while it was sent; what arrived cannot be relied on"
        if sent.answer is not None:
            self._uploaded.answers[index] = sent.answer
        if problem is not None:
            self._uploaded.problems.append(Problem(name_of(output.upload), Reason.UPLOAD_FAILED, problem))
