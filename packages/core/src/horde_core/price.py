"""What a job costs, and whether it is paid for in the end.

The unit is a thousandth of an executor-second, always a whole number, so that sums are exact. A price is fixed by
the job's own limits before anything runs; it does not depend on how long the job then takes.
"""

from typing import assert_never

from horde_core.lifecycle import Status
from horde_core.outcomes import AnyOutcome, Failed, Fault, Reason, Rejected, Stage, Succeeded, fault_of
from horde_core.spec import JobSpec

UNIT = 1000
"""Thousandths in one executor-second. Weights of classes are thousandths too: one of `UNIT` changes nothing."""

_CODE_MAY_RUN = frozenset({Status.VOLUMES_READY, Status.STREAMING_READY, Status.EXECUTION_DONE})
_BEFORE_CODE = frozenset({Stage.QUEUE, Stage.PREPARE, Stage.DOWNLOAD})


def price(
    *, download_s: int, execution_s: int, upload_s: int, streaming_start_s: int = 0, weight: int = UNIT
) -> int:
    """The price of a job with these limits in seconds, in thousandths of an executor-second.

    Args:
        download_s: limit for the inputs.
        execution_s: limit for the container.
        upload_s: limit for the outputs.
        streaming_start_s: limit for the streaming server to come up; 0 for a job that does not stream.
        weight: of the executor class, in thousandths.
    """
    return (download_s + execution_s + upload_s + streaming_start_s) * weight


def seconds_of(spec: JobSpec) -> int:
    """The sum of a job's limits in seconds: its price before the weight, and what a class may bound."""
    start_s = spec.streaming_start_time_limit if spec.is_streaming else 0
    return spec.download_time_limit + spec.execution_time_limit + spec.upload_time_limit + start_s


def price_of(spec: JobSpec, weight: int = UNIT) -> int:
    """The price of a job in thousandths of an executor-second; `weight` is that of its class, in thousandths."""
    return seconds_of(spec) * weight


def seconds(amount: int) -> str:
    """An amount in executor-seconds, exactly, as people read it: ``"90"``, ``"0.5"``, ``"-1.25"``."""
    whole, rest = divmod(abs(amount), UNIT)
    text = f"{whole}.{rest:03}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text


def is_paid(outcome: AnyOutcome, reached: Status) -> bool:
    """Whether a job that ends so is paid for, in full; otherwise it costs nothing.

    Paid is every success, and every end by the job's fault (a cancel is one) once the user's code ran. `reached`
    is the status that the last attempt had reached: what earlier, lost attempts ran is the horde's loss.
    """
    match outcome:
        case Succeeded():
            return True
        case Rejected():
            return False
        case Failed():
            return fault_of(outcome.reason) is Fault.JOB and _code_ran(outcome, reached)
        case _:
            assert_never(outcome)


def _code_ran(outcome: Failed, reached: Status) -> bool:
    """Whether the user's code ran in the attempt that failed so; a command that is not there did not."""
    if outcome.reason is Reason.COMMAND_NOT_FOUND or outcome.stage in _BEFORE_CODE:
        return False
    return reached in _CODE_MAY_RUN or outcome.exit_code is not None
