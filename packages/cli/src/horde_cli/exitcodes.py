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

from horde_core.outcomes import AnyOutcome, Failed, Fault, Reason, Rejected, Succeeded, fault_of

JOB_FAILED = 1
STOPPED_AT_LIMIT = 124
HORDE_FAILED = 125
REJECTED = 126
COMMAND_NOT_FOUND = 127
CANCELLED = 130


def exit_code(outcome: AnyOutcome) -> int:
    """What the shell is told of a job's end."""
    match outcome:
        case Succeeded(stopped_at_limit=True):
            return STOPPED_AT_LIMIT
        case Succeeded():
            return 0
        case Rejected():
            return REJECTED
        case Failed(reason=Reason.CANCELLED):
            return CANCELLED
        case Failed(reason=Reason.COMMAND_NOT_FOUND):
            return COMMAND_NOT_FOUND
        case Failed(reason=reason) if fault_of(reason) is Fault.HORDE:
            return HORDE_FAILED
        case Failed(exit_code=code):
            return code or JOB_FAILED
