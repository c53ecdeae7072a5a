"""One attempt of a job, from its claim to its outcome.

    claim → prepare (image, workspace, container) ∥ download → start → wait or stop → collect → upload → outcome

Each stage is a function from values to values. A stage that cannot go on raises `JobFailure`; `_judged` turns
that, a used-up time and the engine's errors into the attempt's outcome. Beside the stages the lease is kept and
what they say is sent; when the lease is lost everything ends at once and nothing more is said. What the attempt
leaves on the machine (container, workspace) is removed by the caller's `AsyncExitStack`, after the outcome.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import JsonValue

from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Reason, Succeeded
from horde_core.wire.executor import Claim, OutcomeReport, UploadAnswer
from horde_executor.attempt import Host, Run
from horde_executor.clock import Stopwatch, limit, now
from horde_executor.errors import ExecutorError, FacilitatorError, Fenced, JobFailure, LimitReached
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.lease import Lease
from horde_executor.reporter import Reporter
from horde_executor.stages import NOTHING, Delivered, collect_artifacts, execute, get_ready, say
from horde_executor.tasks import first_of, raise_if_cancelled, to_its_end
from horde_executor.upload import Uploaded, upload

HAND_BACK_S = 10.0

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending:
    """How the attempt ended and what was delivered of it."""

    outcome: Succeeded | Failed
    delivered: Delivered = NOTHING
    uploads: Sequence[UploadAnswer] = ()


async def run_job(host: Host, claim: Claim, cleanup: AsyncExitStack) -> None:
    """Run an attempt and report its outcome; what is to be removed afterwards is registered with `cleanup`.

    Returns also when the attempt was lost on the way: then nothing more is said of it, and its container was
    killed. A caller that is cancelled has its container killed and the job handed back.
    """
    attempt = Attempt(claim.job, claim.attempt)
    reporter = Reporter(host.facilitator, attempt, log_cap=claim.limits.log_bytes, spool=host.data)
    cleanup.callback(reporter.close)
    run = Run(
        host=host,
        claim=claim,
        attempt=attempt,
        lease=Lease(attempt, claim.confirm_s),
        reporter=reporter,
        watch=Stopwatch(),
        deadline=now() + claim.deadline_s,
        cleanup=cleanup,
    )
    try:
        await _contained(run)
        raise_if_cancelled()  # a `TaskGroup` that ends with an error of its own forgets it
    except asyncio.CancelledError:
        await to_its_end(_hand_back(host.facilitator, attempt), HAND_BACK_S + 1)
        raise


async def _contained(run: Run) -> None:
    """The attempt to its end; what goes wrong with reporting it stays here and costs no other attempt."""
    try:
        await _held(run)
    except* Fenced as lost:
        log.warning("attempt %s is no longer ours: %s", run.attempt, first_of(lost))
    except* FacilitatorError as refused:
        log.warning("attempt %s cannot be reported: %s", run.attempt, first_of(refused))
    except* Exception:
        log.exception("attempt %s cannot be reported", run.attempt)


async def _held(run: Run) -> None:
    """The attempt, while its lease is kept and its reports are sent beside it."""
    facilitator = run.host.facilitator
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(run.lease.keep(facilitator))
        events = group.create_task(run.reporter.send_events())
        logs = group.create_task(run.reporter.send_logs())
        ending = await _life(run)
        run.reporter.end_logs()
        await logs
        events.cancel()
        keeping.cancel()  # or it would hear of the attempt's end, and take that for a loss
        await _settle(run, _report(run, ending))


async def _settle(run: Run, report: OutcomeReport) -> None:
    try:
        async with limit(run.lease.remaining):
            await run.host.facilitator.send_outcome(run.attempt, report)
    except LimitReached as error:
        raise Fenced("its lease ran out before its outcome was heard") from error


async def _life(run: Run) -> Ending:
    """All stages up to the outcome."""
    deadline = (
        f"the job did not end within the {run.claim.deadline_s:.0f} s that its limits and the operator's allow"
    )
    ready = await _judged(run, get_ready(run), run.deadline - now(), deadline)
    if isinstance(ready, Failed):
        return Ending(ready)
    outcome = await _judged(run, execute(run, ready), run.deadline - now(), deadline)
    if isinstance(outcome, Succeeded):
        say(run, Status.EXECUTION_DONE, _of_execution(outcome), hold=True)
    collect_s = run.claim.limits.collect_s
    too_slow = f"the artifacts could not be delivered within the {collect_s:.0f} s that the operator allows"
    delivered = await _judged(run, collect_artifacts(run, ready), collect_s, too_slow)
    if isinstance(delivered, Failed):
        return Ending(delivered if isinstance(outcome, Succeeded) else outcome)
    uploaded = Uploaded()
    broken = await _judged(run, upload(run, ready, outcome, uploaded), run.deadline - now(), deadline)
    if isinstance(broken, Failed) and isinstance(outcome, Succeeded) and not uploaded.problems:
        return Ending(broken, delivered, uploaded.kept())
    return Ending(uploaded.after(outcome), delivered, uploaded.kept())


async def _judged(run: Run, work: Coroutine[Any, Any, T], seconds: float, too_late: str) -> T | Failed:
    """The result of a stage that has so much time, or the failure that its error means for the attempt."""
    try:
        async with limit(seconds):
            return await work
    except JobFailure as failure:
        return failure.outcome()
    except LimitReached:
        reason, message = Reason.DEADLINE_EXCEEDED, too_late
    except Fenced:
        raise
    except ExecutorError as error:
        reason, message = Reason.EXECUTOR_ERROR, str(error)
    except Exception as error:
        log.exception("attempt %s failed in an unforeseen way", run.attempt)
        reason, message = Reason.EXECUTOR_ERROR, f"an unforeseen {type(error).__name__} in the executor"
    return Failed(stage=run.watch.stage, reason=reason, message=message)


def _of_execution(outcome: Succeeded) -> dict[str, JsonValue]:
    return {"exit_code": outcome.exit_code, "stopped_at_limit": outcome.stopped_at_limit}


def _report(run: Run, ending: Ending) -> OutcomeReport:
    first_seq, events = run.reporter.unsent()
    return OutcomeReport(
        outcome=ending.outcome,
        first_seq=first_seq,
        events=events,
        logs=run.reporter.log_totals(),
        artifacts=list(ending.delivered.artifacts),
        left_out=list(ending.delivered.left_out),
        uploads=list(ending.uploads),
        stage_seconds=run.watch.seconds,
    )


async def _hand_back(facilitator: Facilitator, attempt: Attempt) -> None:
    try:
        async with limit(HAND_BACK_S):
            await facilitator.give_back(attempt)
    except ExecutorError as error:  # then the lease runs out, which costs the job an attempt
        log.warning("attempt %s could not be handed back: %s", attempt, error)
