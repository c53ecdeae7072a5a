"""Outcomes: each says its status, whose fault it was, and whether the horde may try again."""

import pytest
from pydantic import TypeAdapter, ValidationError

from horde_core.lifecycle import Status
from horde_core.outcomes import (
    AnyOutcome,
    Failed,
    Fault,
    Outcome,
    Reason,
    Rejected,
    RejectionReason,
    Stage,
    Succeeded,
    fault_of,
    is_repeatable,
    status_of,
)

HORDE = {"image_unreachable", "executor_lost", "executor_error", "deadline_exceeded", "request_lost"}
REPEATED = HORDE - {"deadline_exceeded", "request_lost"}
READER: TypeAdapter[AnyOutcome] = TypeAdapter(Outcome)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_one_fault_and_only_the_hordes_own_are_tried_again(reason: Reason) -> None:
    """A user's failure is never repeated by us; a job past its deadline is not either."""
    failed = Failed(stage=Stage.EXECUTION, reason=reason, message="said")
    assert fault_of(reason) is (Fault.HORDE if reason in HORDE else Fault.JOB)
    assert is_repeatable(failed) is (reason in REPEATED)
    assert status_of(failed) is Status.FAILED


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_a_rejection_is_nobodys_failure(reason: RejectionReason) -> None:
    """It ends REJECTED and is not repeated."""
    rejected = Rejected(reason=reason, message="said")
    assert status_of(rejected) is Status.REJECTED
    assert not is_repeatable(rejected)


def test_a_job_that_was_stopped_at_its_execution_limit_has_succeeded() -> None:
    """The reference promises that the limit is no failure."""
    stopped = Succeeded(exit_code=143, stopped_at_limit=True)
    assert status_of(stopped) is Status.COMPLETED
    assert not is_repeatable(stopped)


@pytest.mark.parametrize(
    "outcome",
    [
        Succeeded(exit_code=0),
        Succeeded(exit_code=None, stopped_at_limit=True),
        Failed(stage=Stage.DOWNLOAD, reason=Reason.TIMEOUT, message="too slow", context={"bytes": 3, "of": None}),
        Rejected(reason=RejectionReason.NO_EXECUTOR, message="nobody serves it"),
    ],
)
def test_an_outcome_survives_the_wire(outcome: AnyOutcome) -> None:
    """What is read is what was written, in the same type."""
    assert READER.validate_json(READER.dump_json(outcome)) == outcome


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "vanished"}',
        '{"kind": "failed", "stage": "execution", "reason": "bad luck", "message": "x"}',
        '{"kind": "failed", "stage": "lunch", "reason": "timeout", "message": "x"}',
        '{"kind": "failed", "stage": "execution", "reason": "timeout"}',
        '{"kind": "rejected", "reason": "timeout", "message": "x"}',
    ],
)
def test_an_outcome_outside_the_closed_vocabulary_is_refused(text: str) -> None:
    """A failure without stage, known reason and words is no outcome."""
    with pytest.raises(ValidationError):
        READER.validate_json(text)
