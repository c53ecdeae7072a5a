"""The executor API: what executors say to the facilitator.

Every request may be repeated. What is said of a job carries the job and the attempt; a stale attempt is answered
with 409 and `Refusal.code` ``stale_attempt``, whatever it says. Times are seconds, sizes bytes.

| request | answer |
|---|---|
| PUT  /executor/v1/claims/{id}                                | 200 `Claim`, 204 nothing to do |
| GET  /executor/v1/classes                                    | 200 `Service` |
| POST /executor/v1/attempts/{job}/{n}/lease                   | 200 `LeaseReply` (long poll) |
| PUT  /executor/v1/attempts/{job}/{n}/events/{seq}            | 204 |
| PUT  /executor/v1/attempts/{job}/{n}/logs/{stream}/{offset}  | 204; the body is the bytes |
| PUT  /executor/v1/attempts/{job}/{n}/artifacts/{path}        | 204; the body is the bytes, hash in X-SHA256 |
| PUT  /executor/v1/attempts/{job}/{n}/outcome                 | 204; 409 `missing_parts` |
| POST /executor/v1/attempts/{job}/{n}/return                  | 204 |
"""

from typing import Annotated, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, JsonValue

from horde_core.lifecycle import Status
from horde_core.outcomes import Outcome, Stage
from horde_core.spec import JobSpec
from horde_core.terms import MAX_CLASSES, Profile

PREFIX = "/executor/v1"
CLASSES_PATH = PREFIX + "/classes"
SHA256_HEADER = "X-SHA256"

Stream = Literal["stdout", "stderr"]


SHORT_LOG = 4096
"""Bytes of a log stream that may go along with the outcome."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class SlotShare(_Message):
    """What one job gets of an executor at the most: cores, and bytes of memory."""

    cpus: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    memory: Annotated[int, Field(ge=0)]


class ClaimRequest(_Message):
    """What an executor offers: one free slot for a job of one of its classes. `running` counts busy slots.

    `classes` null: of whatever classes there are. `share`: the most that a job gets.
    """

    classes: Annotated[list[str], Field(min_length=1, max_length=MAX_CLASSES)] | None = None
    share: SlotShare | None = None
    slots: Annotated[int, Field(ge=1)]
    running: Annotated[int, Field(ge=0)] = 0
    version: str
    wait_s: Annotated[float, Field(ge=0, le=60)] = 0


class Limits(_Message):
    """The operator's limits for one attempt."""

    prepare_s: float = 900
    prepare_stall_s: float = 300
    collect_s: float = 600
    grace_s: float = 10
    log_bytes: int = 64 * 1024**2
    artifact_bytes: int = 10 * 1024**3
    artifact_count: int = 100_000


class Allotment(_Message):
    """What its class gives a job's container: cores, bytes, capabilities. Null: what the executor has."""

    profile: Profile = Profile.DEFAULT
    cpus: float | None = None
    memory: int | None = None
    shm: int | None = None


class ImageLogin(_Message):
    """What the registry of a job's image is to be asked with. It is for this job's pull and check alone."""

    username: str
    password: str = Field(repr=False)


class Claim(_Message):
    """A job for the executor that asked. It lapses unless the lease is renewed within `confirm_s`.

    `owner` is the same for all jobs of one owner and tells nothing else; what is private to an owner is kept
    under it.
    """

    job: str
    attempt: int
    owner: str = ""
    spec: JobSpec
    image_digest: str | None = None
    confirm_s: float
    lease_s: float
    deadline_s: float
    limits: Limits
    allotment: Allotment = Allotment()
    image_login: ImageLogin | None = None


class Service(_Message):
    """The classes that an executor serves by its last claim, and why it does not serve others that it offered."""

    served: list[str]
    refused: dict[str, str] = {}


class LeaseRequest(_Message):
    """Renew the lease now, then wait up to `wait_s` for something to say."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 0


class LeaseReply(_Message):
    """`held`: the lease runs for `lease_s` from the sending of the request. `cancel`: also stop the job."""

    state: Literal["held", "cancel"]
    lease_s: float


class StatusEvent(_Message):
    """The attempt reached a status. `metadata` goes into the history."""

    kind: Literal["status"] = "status"
    status: Literal[Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.STREAMING_READY, Status.EXECUTION_DONE]
    at_ns: int
    image_digest: str | None = None
    metadata: dict[str, JsonValue] = {}


class ProgressEvent(_Message):
    """How far a stage is; only the latest is kept."""

    kind: Literal["progress"] = "progress"
    stage: Stage
    message: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = "bytes"


Event = Annotated[StatusEvent | ProgressEvent, Field(discriminator="kind")]


class Events(_Message):
    """Consecutive events of an attempt; the first has the number in the path, counted from 0."""

    events: list[Event]


class LogTotal(_Message):
    """What an attempt's stream holds at its end: bytes delivered, and bytes left out between head and tail.

    When bytes were left out the delivered ones are `head` bytes of the beginning, then the end. `whole` is the
    stream itself where it is short (at most `SHORT_LOG` bytes) and no piece of it was sent before.
    """

    size: Annotated[int, Field(ge=0)] = 0
    dropped: Annotated[int, Field(ge=0)] = 0
    head: Annotated[int, Field(ge=0)] = 0
    whole: Base64Bytes | None = None


class ArtifactEntry(_Message):
    """One delivered artifact; `path` is the full path inside the container."""

    path: str
    size: int
    sha256: str


class LeftOut(_Message):
    """An artifact that was not delivered, and why."""

    path: str
    size: int | None = None
    why: str


class OutcomeReport(_Message):
    """The end of an attempt, with the events that were not yet sent (numbered from `first_seq`).

    Refused with 409 `missing_parts` until the logs and artifacts that it announces have arrived.
    """

    outcome: Outcome
    first_seq: int = 0
    events: list[Event] = []
    logs: dict[Stream, LogTotal] = {}
    artifacts: list[ArtifactEntry] = []
    left_out: list[LeftOut] = []
    stage_seconds: dict[str, float] = {}


class Refusal(_Message):
    """Body of a 409."""

    code: Literal["stale_attempt", "missing_parts"]
    detail: str
