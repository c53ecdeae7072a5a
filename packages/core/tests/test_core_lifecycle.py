"""The life cycle: the table says what the design says, and `advance` never does what the table does not say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_core.lifecycle import (
    END,
    HELD,
    QUEUED,
    TABLE,
    Applied,
    Duplicate,
    Position,
    Refused,
    Status,
    advance,
    diagram,
    sources,
)

# The design's table, written down a second time and by hand: source, then every status that may follow it.
LEGAL = {
    "sent": "received rejected failed",
    "received": "accepted rejected failed",
    "accepted": "executor_ready failed received",
    "executor_ready": "volumes_ready failed received",
    "volumes_ready": "streaming_ready execution_done failed received",
    "streaming_ready": "execution_done failed received",
    "execution_done": "completed failed received",
    "completed": "",
    "failed": "",
    "rejected": "",
}
PAIRS = list(itertools.product(Status, Status))
STEPS = st.lists(st.tuples(st.sampled_from(list(Status)), st.integers(-1, 2)), max_size=60)


def test_the_table_is_the_one_of_the_design() -> None:
    """No move is missing, none is there twice, none was invented."""
    drawn = [(move.source.value, move.target.value) for move in TABLE]
    assert sorted(drawn) == sorted((a, b) for a, targets in LEGAL.items() for b in targets.split())


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("ahead", [-2, -1, 0, 1, 2])
def test_every_pair_of_statuses_for_every_relation_of_attempts(source: Status, target: Status, ahead: int) -> None:
    """A legal move by the attempt that holds the job applies; all else is refused or a known repetition."""
    position = Position(source, 4)
    answer = advance(position, target, 4 + ahead)
    claims = (source, target) == (Status.RECEIVED, Status.ACCEPTED)
    if ahead != (1 if claims else 0):
        assert isinstance(answer, Refused), "a stale or future attempt has no say"
    elif target.value in LEGAL[source.value].split():
        assert answer == Applied(Position(target, 4 + ahead))
    elif source == target or (source in HELD and target in HELD and went_past(source, target)):
        assert answer == Duplicate()
    else:
        assert isinstance(answer, Refused)
        assert source.value in answer.why
        assert target.value in answer.why


def went_past(source: Status, target: Status) -> bool:
    """Whether a job in `source` may have been in `target` earlier in the same attempt."""
    order = ["accepted", "executor_ready", "volumes_ready", "streaming_ready", "execution_done"]
    return order.index(target.value) < order.index(source.value)


@given(STEPS)
def test_no_story_breaks_the_promises(steps: list[tuple[Status, int]]) -> None:
    """Whatever is said in whatever order: ends stay, attempts grow by claims alone, repeats are harmless."""
    position = Position(Status.SENT, 0)
    for target, ahead in steps:
        answer = advance(position, target, position.attempt + ahead)
        if not isinstance(answer, Applied):
            continue
        after = answer.position
        assert position.status not in END
        assert after.attempt - position.attempt == (1 if target is Status.ACCEPTED else 0)
        assert advance(after, target, after.attempt) == Duplicate()
        position = after


@given(STEPS)
def test_a_zombie_is_never_heard_once_another_attempt_began(steps: list[tuple[Status, int]]) -> None:
    """After attempt 2 began, attempt 1 is refused in every status the job may come to."""
    position = Position(Status.ACCEPTED, 2)
    for target, ahead in steps:
        for said in Status:
            assert isinstance(advance(position, said, 1), Refused)
        answer = advance(position, target, position.attempt + ahead)
        position = answer.position if isinstance(answer, Applied) else position


def test_every_status_is_reached_from_the_first_one_and_leads_to_an_end() -> None:
    """There is no island and no dead end in the table."""
    assert reachable(Status.SENT) | {Status.SENT} == set(Status)
    for status in Status:
        assert status in END or reachable(status) & END


def reachable(start: Status) -> set[Status]:
    """The statuses that a job in `start` may still come to."""
    found: set[Status] = set()
    edge = {start}
    while edge := {m.target for m in TABLE if m.source in edge} - found:
        found |= edge
    return found


def test_every_status_is_queued_held_or_an_end_and_only_one_of_them() -> None:
    """The three groups share out all statuses."""
    assert set(Status) == QUEUED | HELD | END
    assert len(Status) == len(QUEUED) + len(HELD) + len(END)


@pytest.mark.parametrize("target", list(Status))
def test_the_condition_of_the_compare_and_set_is_the_table_read_backwards(target: Status) -> None:
    """A status may be written exactly over the statuses from which `advance` lets a job move to it."""
    expected = {status for status in Status if target.value in LEGAL[status.value].split()}
    assert sources(target) == expected


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (Status.SENT, "Sent"),
        (Status.RECEIVED, "Received"),
        (Status.ACCEPTED, "Accepted"),
        (Status.EXECUTOR_READY, "Executor Ready"),
        (Status.VOLUMES_READY, "Volumes Ready"),
        (Status.STREAMING_READY, "Streaming Ready"),
        (Status.EXECUTION_DONE, "Execution Done"),
        (Status.COMPLETED, "Completed"),
        (Status.FAILED, "Failed"),
        (Status.REJECTED, "Rejected"),
    ],
)
def test_both_spellings_are_read(status: Status, name: str) -> None:
    """The wire's lower-case word and the SDK reference's title case mean the same."""
    assert status.reference_name == name
    assert Status.parse(name) is Status.parse(status.value) is status


def test_the_newer_clients_word_for_the_hordes_failure_is_failed() -> None:
    """`horde_failed` is how newer clients are told whose fault it was; as a status it is FAILED."""
    assert Status.parse("horde_failed") is Status.FAILED


@pytest.mark.parametrize("text", ["", "done", "executor-ready", "horde", "Sent!"])
def test_a_word_that_is_no_status_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a valid"):
        Status.parse(text)


def test_the_diagram_draws_every_move_once() -> None:
    """The documentation's picture is the table."""
    arrows = [line.split(":")[0].strip() for line in diagram().splitlines()[1:]]
    expected = [f"{m.source} --> {m.target}" for m in TABLE]
    assert sorted(arrows) == sorted([*expected, "[*] --> sent", *(f"{end} --> [*]" for end in END)])


def test_the_diagrams_labels_hold_nothing_that_mermaid_reads_as_syntax() -> None:
    """A colon or semicolon inside a label ends it there, and the page shows an error instead of a picture."""
    for line in diagram().splitlines()[1:]:
        assert ";" not in line
        assert line.count(":") <= 1
