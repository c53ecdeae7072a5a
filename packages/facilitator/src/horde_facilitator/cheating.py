"""What a report of cheating is worth. Pure.

Nobody's word alone takes an executor out. What counts is a job on a trusted executor that did the same work and
left something else; and even that is proof only if the work is deterministic, which nobody can see from outside.
So one hotkey keeps few executors out at a time, and one whose report an operator dismissed keeps none out for a
while.
"""

from dataclasses import dataclass

from horde_core.comparing import Comparison
from horde_core.wire.cheating import CheatState
from horde_facilitator.clock import SECOND

DOUBTED_US = 7 * 86_400 * SECOND
"""How long after a dismissal the reports of its author are left to operators."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The job on a trusted executor that a report names, held against the reported one.

    `same_work`: both were asked to do the same. `is_trusted`: its executor is trusted to this day.
    """

    same_work: bool
    is_trusted: bool
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Standing:
    """What else is known. `accused_is_trusted`: the executor that ran the reported job is one of the trusted.

    Of who reports: `others_out`, the executors that his reports keep out now without an operator's word, and
    whether an operator `dismissed` a report of his lately.
    """

    accused_is_trusted: bool
    others_out: int
    dismissed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a report, and why."""

    state: CheatState
    why: str


def judge(reference: Reference | None, standing: Standing, most_out: int) -> Judgement:
    """Judge a report whose jobs are in order; one hotkey keeps at most `most_out` executors out."""
    if standing.accused_is_trusted:
        why = "A trusted executor ran the job, so a difference would only show that the job is not deterministic."
        return Judgement(CheatState.UNFOUNDED, why)
    if reference is None:
        return Judgement(CheatState.OPEN, "No job on a trusted executor was named to compare with.")
    found = reference.comparison
    if obstacle := _obstacle(reference):
        return Judgement(CheatState.OPEN, obstacle)
    if found.equal:
        return Judgement(CheatState.UNFOUNDED, found.summary)
    if doubt := _doubt(standing, most_out):
        return Judgement(CheatState.OPEN, f"{found.summary} {doubt}, so an operator decides.")
    return Judgement(CheatState.CONFIRMED, found.summary)


def _obstacle(reference: Reference) -> str:
    """Why the trusted job says nothing about the reported one; empty if it does."""
    if not reference.is_trusted:
        return "The executor that ran the trusted job is not trusted any more."
    if not reference.same_work:
        return (
            "The two jobs were not asked to do the same: class, arguments, environment, inputs and artifacts_dir "
            "must be alike, and neither may be streaming."
        )
    return reference.comparison.summary if reference.comparison.equal is None else ""


def _doubt(standing: Standing, most_out: int) -> str:
    """Why a difference takes nobody out by itself; empty if it does."""
    if standing.dismissed:
        return "Another report of this hotkey was dismissed lately"
    if standing.others_out >= most_out:
        return f"Other reports of this hotkey keep {standing.others_out} out already"
    return ""
