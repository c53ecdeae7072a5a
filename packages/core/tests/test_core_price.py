"""Prices: exact, fixed by the limits, and paid when the user's code had its chance."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_core.lifecycle import HELD, Status
from horde_core.outcomes import (
    AnyOutcome,
    Failed,
    Fault,
    Reason,
    Rejected,
    RejectionReason,
    Stage,
    Succeeded,
    fault_of,
)
from horde_core.price import UNIT, is_paid, price, price_of, seconds
from horde_core.spec import JobSpec, StreamingDetails

LIMIT = st.integers(0, 2**31 - 1)
WEIGHT = st.integers(0, 1_000_000)
STAGES = st.sampled_from(list(Stage))
FAILED = st.builds(
    Failed,
    stage=STAGES,
    reason=st.sampled_from(list(Reason)),
    message=st.just("said"),
    exit_code=st.none() | st.integers(0, 255),
)
REACHED = st.sampled_from(sorted(HELD))


def spec(download: int, execution: int, upload: int, start: int, *, streams: bool) -> JobSpec:
    return JobSpec(
        executor_class="always_on.test",
        docker_image="a/b:1",
        download_time_limit=download,
        execution_time_limit=execution,
        upload_time_limit=upload,
        streaming_start_time_limit=start,
        streaming_details=StreamingDetails(public_key="pem") if streams else None,
    )


@given(st.tuples(LIMIT, LIMIT, LIMIT, LIMIT), st.booleans(), WEIGHT)
def test_a_price_is_the_sum_of_the_limits_times_the_weight(
    limits: tuple[int, int, int, int], streams: bool, weight: int
) -> None:
    """The start of a streaming server counts for streaming jobs only; nothing is rounded."""
    job = spec(*limits, streams=streams)
    total = sum(limits if streams else limits[:3])
    assert price_of(job, weight) == total * weight
    assert price_of(job) == total * UNIT


@given(LIMIT, LIMIT, WEIGHT)
def test_a_second_more_costs_one_weight_more(execution: int, upload: int, weight: int) -> None:
    """Prices are linear, so two jobs cost what one with both limits does."""
    one = price(download_s=0, execution_s=execution, upload_s=0, weight=weight)
    other = price(download_s=0, execution_s=0, upload_s=upload, weight=weight)
    assert one + other == price(download_s=0, execution_s=execution, upload_s=upload, weight=weight)
    assert price(download_s=0, execution_s=execution + 1, upload_s=0, weight=weight) == one + weight


@given(st.integers(-(10**15), 10**15))
def test_an_amount_is_shown_exactly(amount: int) -> None:
    """What is read from the text is the amount again."""
    assert Decimal(seconds(amount)) * UNIT == amount
    assert not seconds(amount).endswith(".")


@given(FAILED, REACHED)
def test_the_hordes_own_failures_are_never_paid(outcome: Failed, reached: Status) -> None:
    """Whatever had been reached by then."""
    if fault_of(outcome.reason) is Fault.HORDE:
        assert not is_paid(outcome, reached)


@pytest.mark.parametrize("reached", sorted(HELD))
def test_every_success_is_paid_and_no_rejection(reached: Status) -> None:
    """A job that was stopped at its limit has succeeded."""
    assert is_paid(Succeeded(stopped_at_limit=True), reached)
    assert not is_paid(Rejected(reason=RejectionReason.QUEUE_LIMIT, message="said"), reached)


CANCELLED = Reason.CANCELLED


@pytest.mark.parametrize(
    ("outcome", "reached", "paid"),
    [
        (Failed(stage=Stage.QUEUE, reason=CANCELLED, message=""), Status.RECEIVED, False),
        (Failed(stage=Stage.DOWNLOAD, reason=CANCELLED, message=""), Status.EXECUTOR_READY, False),
        (Failed(stage=Stage.EXECUTION, reason=CANCELLED, message="", exit_code=143), Status.VOLUMES_READY, True),
        # Cancelled while it ran, then the executor was lost: the facilitator ends the job and guesses the stage.
        (Failed(stage=Stage.EXECUTION, reason=CANCELLED, message=""), Status.VOLUMES_READY, True),
        (Failed(stage=Stage.EXECUTION, reason=CANCELLED, message=""), Status.ACCEPTED, False),
        (Failed(stage=Stage.PREPARE, reason=Reason.IMAGE_NOT_FOUND, message=""), Status.ACCEPTED, False),
        (Failed(stage=Stage.DOWNLOAD, reason=Reason.TIMEOUT, message=""), Status.EXECUTOR_READY, False),
        (Failed(stage=Stage.DOWNLOAD, reason=Reason.DOWNLOAD_FAILED, message=""), Status.EXECUTOR_READY, False),
        (
            Failed(stage=Stage.EXECUTION, reason=Reason.COMMAND_NOT_FOUND, message="", exit_code=127),
            Status.VOLUMES_READY,
            False,
        ),
        (
            Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="", exit_code=3),
            Status.VOLUMES_READY,
            True,
        ),
        (Failed(stage=Stage.STREAMING_START, reason=Reason.TIMEOUT, message=""), Status.VOLUMES_READY, True),
        (Failed(stage=Stage.UPLOAD, reason=Reason.UPLOAD_FAILED, message=""), Status.EXECUTION_DONE, True),
    ],
)
def test_a_failure_by_the_jobs_fault_is_paid_once_its_code_ran(
    outcome: AnyOutcome, reached: Status, paid: bool
) -> None:
    """Before that, nothing of the user's was executed and nothing is taken."""
    assert is_paid(outcome, reached) is paid
