"""Why a job is where it is: the answer to ``GET /api/v1/jobs/{uuid}/explain/``."""

from pydantic import BaseModel, ConfigDict

from horde_core.outcomes import Outcome
from horde_core.wire.client import Timestamp


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ExecutorState(_Message):
    """An executor of the job's class, and why it does not run the job.

    `state` is ``free``, ``busy``, ``away`` (not seen since `seen_at`), ``avoided`` (it lost this job before),
    ``cordoned`` or ``refused`` (it offered to serve the class and does not); `why` says it in words. `running` of
    `slots` are taken. `trusted`: it also takes jobs for trusted executors.
    """

    hotkey: str
    state: str
    running: int
    slots: int
    seen_at: Timestamp
    why: str
    trusted: bool = False


class Explanation(_Message):
    """Why a job waits, or runs, or how it ended.

    `state` is ``queued``, ``running`` or ``ended``; `summary` says it in words. The rest, but for `outcome`, is of
    queued jobs: the job is at `position` of `queued` in its class if nothing else arrives, behind `own_ahead` of
    its owner's own jobs; at `rejected_at` it leaves the queue; `other_classes` have executors now. `trusted` jobs
    wait in a queue of their own, for trusted executors, and `other_classes` are then those that have such.
    """

    uuid: str
    state: str
    summary: str
    executor_class: str
    trusted: bool = False
    position: int | None = None
    queued: int | None = None
    own_ahead: int | None = None
    rejected_at: Timestamp | None = None
    executors: list[ExecutorState] = []
    other_classes: list[str] = []
    outcome: Outcome | None = None
