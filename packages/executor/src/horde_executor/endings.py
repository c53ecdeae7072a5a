"""What the end of a container means for its job. Decisions only, from values to outcomes."""

import errno
import os
from dataclasses import dataclass
from enum import Enum

from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_executor.engine import Ended
from horde_executor.errors import EngineError, JobFailure
from horde_executor.room import readable

QUOTED_BYTES = 2000
QUOTED_LINES = 10

_SIGKILLED = 137
_SIGTERMED = 143


class Stop(Enum):
    """Why the executor ended a container, if it did."""

    NOT = "not"
    LIMIT = "limit"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Execution:
    """A container that ran and ended. `stderr` is the end of what it wrote there.

    `refusal` has the words why its command could not be executed, if that was so.
    """

    ended: Ended
    stop: Stop
    stderr: bytes
    refusal: str | None = None


def outcome_of(execution: Execution, *, memory: int, engine_serves: bool) -> Succeeded | Failed:
    """The outcome of an execution.

    Args:
        execution: how the container ended.
        memory: its limit in bytes, for the message.
        engine_serves: whether the engine was well after the end; one that shuts down takes its containers along.
    """
    ended = execution.ended
    if execution.stop is Stop.LIMIT:
        return Succeeded(exit_code=ended.exit_code, stopped_at_limit=True)
    if execution.stop is Stop.NOT and ended.exit_code == 0:
        return Succeeded(exit_code=0)
    if execution.stop is Stop.CANCEL:
        reason, message = Reason.CANCELLED, "the job was cancelled while it ran"
    elif ended.out_of_memory:
        words = f"the job needed more than its {readable(memory)} of memory, and a process of it was killed"
        reason, message = Reason.OUT_OF_MEMORY, f"{words} (exit code {ended.exit_code})"
    elif ended.exit_code in (_SIGKILLED, _SIGTERMED) and not engine_serves:
        reason, message = Reason.EXECUTOR_ERROR, "the container engine went down and took the container along"
    elif execution.refusal is not None:
        reason, message = Reason.COMMAND_NOT_FOUND, execution.refusal
    else:
        reason = Reason.NONZERO_RETURN_CODE
        message = _nonzero(ended, execution.stderr.decode(errors="replace"))
    return Failed(stage=Stage.EXECUTION, reason=reason, message=message, exit_code=ended.exit_code)


def _nonzero(ended: Ended, stderr: str) -> str:
    message = f"the container exited with {ended.exit_code}"
    if ended.error:
        message += f" ({ended.error})"
    if quoted := last_lines(stderr):
        message += f"; its last lines on stderr:\n{quoted}"
    return message


def needs_engine(ended: Ended, stop: Stop) -> bool:
    """Whether `outcome_of` depends on the engine's health: nobody here asked for this end by a signal."""
    return stop is Stop.NOT and ended.exit_code in (_SIGKILLED, _SIGTERMED) and not ended.out_of_memory


def last_lines(text: str) -> str:
    """The end of a text, in a size that fits into a message."""
    lines = text[-QUOTED_BYTES:].rstrip().splitlines()
    return "\n".join(lines[-QUOTED_LINES:])


def not_executable(command: str, error: int) -> str:
    """Why a command could not be executed, by the `errno` of the attempt."""
    if error == errno.ENOENT:
        advice = "the image has no such file (or not the interpreter that its first line names)"
    elif error == errno.EACCES:
        advice = "it is a directory, or not executable; check its mode with 'ls -l' in the image"
    elif error == errno.ENOEXEC:
        advice = "it was built for another kind of machine, or is a script without a '#!' line"
    else:
        advice = "check the image and the arguments of the job"
    return f"the command {command!r} cannot be executed: {advice} ({os.strerror(error)})"


# Parts of what the engine says when it cannot start a container because of the image or the job.
_JOBS_OWN = (
    "no command specified",
    "unable to find user",
    "unable to find group",
    "not a directory",
    "chdir to cwd",
    "argument list too long",
)


def start_failure(stage: Stage, error: EngineError) -> JobFailure:
    """What it means for a job that the engine refused to create or start its container."""
    text = str(error)
    if error.status is not None and any(part in text.lower() for part in _JOBS_OWN):
        words = f"the container cannot be started; check the image's command, user and directories: {text}"
        return JobFailure(stage, Reason.COMMAND_NOT_FOUND, words)
    return JobFailure(stage, Reason.EXECUTOR_ERROR, f"the container engine failed: {text}")
