"""The exit code of `horde run`.

| code | when |
|---|---|
| the container's own | it ended by itself; 0 means that the job completed |
| 1 | the job failed without a code of its own: image not found, input not there, a limit before or after the run |
| 124 | stopped at its execution limit (as `timeout` has it) |
| 125 | the horde's fault, or the facilitator cannot be reached (as `docker run` has it) |
| 126 | rejected: not taken on |
| 127 | the command is not in the image (as shells have it) |
| 130 | cancelled, or left with Ctrl-C |
"""

from dataclasses import dataclass
from typing import Literal

JOB_FAILED = 1
STOPPED_AT_LIMIT = 124
HORDE_FAILED = 125
REJECTED = 126
COMMAND_NOT_FOUND = 127
CANCELLED = 130


@dataclass(frozen=True, slots=True)
class End:
    """What decides about the code: how the job ended, why if it did not complete, and the container's own code."""

    status: Literal["completed", "failed", "rejected"]
    reason: str | None = None
    fault: Literal["job", "horde"] | None = None
    container_code: int | None = None
    stopped_at_limit: bool = False


def exit_code(end: End) -> int:
    """What the shell is told of a job's end."""
    if end.status == "completed":
        return STOPPED_AT_LIMIT if end.stopped_at_limit else 0
    if end.status == "rejected":
        return REJECTED
    if end.fault == "horde":
        return HORDE_FAILED
    by_reason = {"cancelled": CANCELLED, "command_not_found": COMMAND_NOT_FOUND}
    # A job that failed must not look successful, also when its container ended with 0.
    return by_reason.get(end.reason or "") or end.container_code or JOB_FAILED
