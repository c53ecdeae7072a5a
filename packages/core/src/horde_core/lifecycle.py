"""The life of a job, as one table.

`TABLE` holds every legal move of a job. `advance` judges a move and changes nothing itself; the records are
changed by a compare-and-set whose condition (`sources`) comes from the same table. The diagram in
`docs/lifecycle.md` is drawn from it by `diagram`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Status(StrEnum):
    """Where a job is. Values are the wire's lower-case spelling; `reference_name` is the SDK reference's."""

    SENT = "sent"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    EXECUTOR_READY = "executor_ready"
    VOLUMES_READY = "volumes_ready"
    STREAMING_READY = "streaming_ready"
    EXECUTION_DONE = "execution_done"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"

    @property
    def reference_name(self) -> str:
        """The spelling of the SDK reference, for example ``"Executor Ready"``."""
        return self.value.replace("_", " ").title()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read either spelling; ``horde_failed``, which newer clients know, is FAILED.

        Raises:
            ValueError: the text names no status.
        """
        word = text.strip().lower().replace(" ", "_")
        return cls("failed" if word == "horde_failed" else word)

    @property
    def is_end(self) -> bool:
        """Whether a job in this status will never change again."""
        return self in END


END = frozenset({Status.COMPLETED, Status.FAILED, Status.REJECTED})
QUEUED = frozenset({Status.SENT, Status.RECEIVED})
AWAY = frozenset({Status.FAILED, Status.REJECTED})
HELD = frozenset(
    {
        Status.ACCEPTED,
        Status.EXECUTOR_READY,
        Status.VOLUMES_READY,
        Status.STREAMING_READY,
        Status.EXECUTION_DONE,
    }
)
"""Statuses in which an attempt runs, so a lease exists."""


@dataclass(frozen=True, slots=True)
class Move:
    """One legal step. `begins_attempt` marks the claim, which raises the attempt by one."""

    source: Status
    target: Status
    when: str
    begins_attempt: bool = False


def _moves() -> tuple[Move, ...]:
    s = Status
    forward = (
        Move(s.SENT, s.RECEIVED, "queued for its class"),
        Move(s.RECEIVED, s.ACCEPTED, "claimed by an executor, attempt n begins", begins_attempt=True),
        Move(s.ACCEPTED, s.EXECUTOR_READY, "image present, workspace made, container created"),
        Move(s.EXECUTOR_READY, s.VOLUMES_READY, "all inputs in place"),
        Move(s.VOLUMES_READY, s.STREAMING_READY, "the streaming server answered, its endpoint is published"),
        Move(s.VOLUMES_READY, s.EXECUTION_DONE, "container ended or was stopped at its limit"),
        Move(s.STREAMING_READY, s.EXECUTION_DONE, "container ended or was stopped at its limit"),
        Move(s.EXECUTION_DONE, s.COMPLETED, "outputs uploaded, artifacts stored"),
    )
    order = tuple(Status)
    rejected = tuple(
        Move(x, s.REJECTED, "no allowance, no executor, class or queue limit") for x in order if x in QUEUED
    )
    failed = tuple(Move(x, s.FAILED, "failed for a stated reason") for x in order if x not in END)
    lost = tuple(Move(x, s.RECEIVED, "attempt lost, attempts left") for x in order if x in HELD)
    return forward + rejected + failed + lost


TABLE: tuple[Move, ...] = _moves()
_BY_PAIR = {(move.source, move.target): move for move in TABLE}
_RANK = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a job stands: its status and the number of its latest attempt (0 before the first)."""

    status: Status
    attempt: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The move is legal; this is the new position."""

    position: Position


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same attempt said this before; nothing changes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The move is illegal; nothing changes."""

    why: str


def advance(position: Position, target: Status, attempt: int) -> Applied | Duplicate | Refused:
    """Judge a move to `target` by whoever speaks for `attempt` (for a claim: the attempt that would begin).

    A stale attempt is refused whatever it says. A step that its own attempt already made, or went past, is a
    duplicate, so every report may be repeated.
    """
    status = position.status
    move = _BY_PAIR.get((status, target))
    begins = target is Status.ACCEPTED and status is Status.RECEIVED
    if attempt != position.attempt + (1 if begins else 0):
        return Refused(f"attempt {attempt} does not hold the job, which is at attempt {position.attempt}")
    if status is target or (status in HELD and target in HELD and _RANK[target] < _RANK[status]):
        return Duplicate()
    if move is None:
        return Refused(f"a job cannot go from {status} to {target}")
    return Applied(Position(target, attempt))


def sources(target: Status) -> frozenset[Status]:
    """The statuses from which a job may move to `target`: the condition of the compare-and-set."""
    return frozenset(move.source for move in TABLE if move.target is target)


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> sent"]
    for move in TABLE:
        lost = move.source in HELD and move.target is Status.RECEIVED
        label = "lost" if lost else str(move.target) if move.target in AWAY else move.when
        lines.append(f"    {move.source} --> {move.target}: {label}")
    lines.extend(f"    {status} --> [*]" for status in Status if status in END)
    return "\n".join(lines) + "\n"
