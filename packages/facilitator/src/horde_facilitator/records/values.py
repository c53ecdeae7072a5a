"""What the records hold, as frozen values. Times are microseconds."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Self

from pydantic import JsonValue
from sqlalchemy import Column, RowMapping, Table

from horde_core.lifecycle import HELD, Position, Status

CANCEL = "cancel"


class End(StrEnum):
    """How an attempt ended."""

    REPORTED = "reported"
    RETURNED = "returned"
    LAPSED = "lapsed"
    LOST = "lost"
    ENDED = "ended"


class Lane(NamedTuple):
    """One of the two queues of a class: of jobs that any executor may run, or of those for trusted ones only."""

    executor_class: str
    is_trusted: bool = False


def pack(value: object) -> str:
    """A JSON value as it is stored."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Row:
    @classmethod
    def read(cls, row: RowMapping) -> Self:
        """The value that a row of `columns` holds."""
        return cls(**row)

    def stored(self) -> dict[str, Any]:
        """The values by their columns' names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    @cache
    def columns(cls, table: Table) -> tuple[Column[Any], ...]:
        """The columns of the table that this value holds, in order."""
        return tuple(table.c[field.name] for field in fields(cls))


@dataclass(frozen=True, slots=True)
class Job(_Row):
    """A job without its request. The columns are described in `tables`."""

    uuid: str
    owner: str
    executor_class: str
    trusted: bool
    status: Status
    attempt: int
    losses: int
    max_attempts: int
    target: str | None
    begun: bool
    exposed: bool
    shown: int
    entries: int
    image_digest: str | None
    progress: str | None
    outcome: str | None
    budget_us: int
    created_us: int
    updated_us: int
    deadline_us: int
    price: int | None = None
    payment: str | None = None
    namespace: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))

    @property
    def lane(self) -> Lane:
        """The queue that the job waits in when it waits."""
        return Lane(self.executor_class, self.trusted)

    @property
    def position(self) -> Position:
        """Where the job stands in its life."""
        return Position(self.status, self.attempt)

    @property
    def is_cancelling(self) -> bool:
        """Whether its owner wants it to end."""
        return self.target == CANCEL and not self.status.is_end


@dataclass(frozen=True, slots=True)
class Credentials(_Row):
    """An owner's credentials for a registry; the password is sealed."""

    owner: str
    registry: str
    username: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Entry(_Row):
    """One line of a job's history."""

    job: str
    seq: int
    status: str
    attempt: int
    at_us: int
    metadata: str | None

    @property
    def details(self) -> dict[str, JsonValue]:
        """The metadata; empty when there is none."""
        return json.loads(self.metadata) if self.metadata else {}


@dataclass(frozen=True, slots=True)
class Attempt(_Row):
    """One claim of a job, and what came of it."""

    job: str
    attempt: int
    executor: str
    claim: str
    claimed_us: int
    confirmed: bool
    lease_boot_us: int
    deadline_boot_us: int
    next_seq: int
    ended_us: int | None
    end: str | None
    counted: bool
    artifact_count: int
    artifact_bytes: int
    report: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """A job together with the attempt that holds it."""

    job: Job
    attempt: Attempt

    def __post_init__(self) -> None:
        if self.job.status not in HELD or self.attempt.attempt != self.job.attempt:
            raise ValueError(f"attempt {self.attempt.attempt} does not hold {self.job}")


@dataclass(frozen=True, slots=True)
class Artifact(_Row):
    """One artifact that arrived; `path` is absolute inside the container."""

    job: str
    attempt: int
    path: str
    size: int
    sha256: str
