"""Reports that an executor forged a result: what owners send and see, and what operators decide.

Times are UTC. Reading is tolerant, as in the client API.

| request | answer |
|---|---|
| POST /api/v1/cheated-job/                 | 201 `CheatReport`; body `CheatRequest`, signed in whole |
| GET  /api/v1/cheated-job/{job_uuid}/      | 200 `CheatReport`; 404 the caller reported no such job |
| GET  /operator/v1/cheats                  | 200 `CheatReports`, the latest first |
| PUT  /operator/v1/cheats/{job_uuid}       | 204; body `CheatVerdict` |
"""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from horde_core.wire.client import Timestamp
from horde_core.wire.operator import PREFIX

REPORT_PATH = "/api/v1/cheated-job/"
CHEATS_PATH = PREFIX + "/cheats"


class CheatState(StrEnum):
    """What became of a report.

    `open`: an operator has to decide. `confirmed`: the trusted job contradicts the other one, or an operator says
    so; the executor is taken out for a time. `unfounded`: the facilitator found nothing in it. `dismissed`: an
    operator found nothing in it.
    """

    OPEN = "open"
    CONFIRMED = "confirmed"
    UNFOUNDED = "unfounded"
    DISMISSED = "dismissed"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CheatRequest(_Message):
    """A report. Clients before 0.0.17 send `job_uuid` alone."""

    job_uuid: UUID
    trusted_job_uuid: UUID | None = None
    details: JsonValue = None


class CheatReport(_Message):
    """A report as its author sees it. `why` says in words how it came to its state.

    `out_until`: how long the executor gets no jobs for it; null when it was not, or is no longer, taken out.
    """

    job_uuid: str
    trusted_job_uuid: str | None = None
    state: str
    why: str
    executor_hotkey: str
    reported_at: Timestamp
    out_until: Timestamp | None = None


class CheatEntry(CheatReport):
    """A report as operators see it. `decided_by` is the operator who did; null: the facilitator itself."""

    reporter: str
    details: JsonValue = None
    decided_at: Timestamp | None = None
    decided_by: str | None = None


class CheatReports(_Message):
    """Reports, the latest first."""

    reports: list[CheatEntry]


class CheatVerdict(_Message):
    """What an operator makes of a report."""

    state: Literal[CheatState.CONFIRMED, CheatState.DISMISSED]
    why: Annotated[str, Field(max_length=500)] = ""
