"""The client API: what the facilitator answers to clients.

Reading replies is tolerant (unknown keys are ignored), so that a client works with a newer or an older
facilitator. The job object carries both spellings of the status; what published clients do not know stands
under `horde`.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from horde_core.outcomes import Outcome
from horde_core.wire.executor import ArtifactEntry, Count, LeftOut

JOBS_PATH = "/api/v1/jobs/"
CREATE_PATH = "/api/v1/job-docker/"
EVENTS_PATH = "/api/v1/events/"
NONCE_PATH = "/auth/nonce"
LOGIN_PATH = "/auth/login"
IDEMPOTENCY_HEADER = "Idempotency-Key"


def _printed(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(_printed, when_used="json")]
"""Printed in UTC, with microseconds and ``Z``, always: so that texts sort as times do."""


def _if_known(value: object, read: ValidatorFunctionWrapHandler) -> Outcome | None:
    # A newer facilitator may know reasons that this client does not; the history tells them in plain words, too.
    try:
        return read(value)
    except ValidationError:
        return None


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Nonce(_Message):
    """Reply to ``GET /auth/nonce``."""

    nonce: str


class Login(_Message):
    """Body of ``POST /auth/login``. The signature is 128 hexadecimal digits over the nonce's bytes."""

    hotkey: str
    signature: str
    nonce: str


class Token(_Message):
    """Reply to ``POST /auth/login``."""

    token: Annotated[str, Field(repr=False)]


class StatusEntry(_Message):
    """One line of a job's history. `attempt` is 0 before the first claim."""

    status: str
    created_at: Timestamp
    metadata: dict[str, JsonValue] | None = None
    attempt: int = 0


class Progress(_Message):
    """How far the current stage is. `done` and `total` count `unit`, usually bytes; `speed` those a second."""

    stage: str
    message: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = "bytes"
    speed: float | None = None


class LogInfo(_Message):
    """Size of a log stream in bytes: all that the job wrote, and how much of it was left out."""

    size: int = 0
    dropped: int = 0


class HordeDetails(_Message):
    """What this facilitator knows of a job beyond the published clients' fields. Times in seconds.

    `partial`: logs and artifacts are what had arrived of an executor that was lost. `price`: thousandths of an
    executor-second; `payment`: whether it is reserved, settled or released, null if nothing was ever reserved.
    """

    attempt: int = 0
    executor_hotkey: str | None = None
    image_digest: str | None = None
    cancelling: bool = False
    progress: Progress | None = None
    outcome: Annotated[Outcome | None, WrapValidator(_if_known)] = None
    fault: str | None = None
    stage_seconds: dict[str, float] = {}
    logs: dict[str, LogInfo] = {}
    artifacts: list[ArtifactEntry] = []
    left_out: list[LeftOut] = []
    partial: bool = False
    price: int | None = None
    payment: str | None = None


class JobReply(_Message):
    """The job object."""

    uuid: str
    executor_class: str
    created_at: Timestamp
    last_update: Timestamp | None = None
    docker_image: str
    job_namespace: str = ""
    args: list[str]
    env: dict[str, str]
    use_gpu: bool = False
    artifacts_dir: str | None = None
    on_trusted_miner: bool = False
    target_validator_hotkey: str = ""
    tag: str = ""
    download_time_limit: int = 0
    execution_time_limit: int = 0
    upload_time_limit: int = 0
    streaming_start_time_limit: int = 0
    status: str
    status_history: list[StatusEntry] = []
    stdout: str = ""
    stderr: str = ""
    artifacts: dict[str, str] = Field(default={}, repr=False)
    upload_results: dict[str, str] = {}
    streaming_client_cert: str | None = None
    streaming_server_cert: str | None = None
    streaming_server_address: str | None = None
    streaming_server_port: int | None = None
    horde: HordeDetails | None = None


class JobPage(_Message):
    """Reply to ``GET /api/v1/jobs/``. `next` is null on the last page (an empty string would mean more)."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[JobReply]


class WatchRequest(_Message):
    """Body of ``POST /api/v1/events/``: jobs to watch, each with the number of history entries known."""

    jobs: dict[str, Count]


class JobEvents(_Message):
    """One server-sent event: what is new of one job.

    `entries` are the history from `cursor` on; the next cursor is ``cursor + len(entries)``. `missing` says
    that the caller has no such job. With the end of a job that left no artifacts comes the job object itself as
    `ended`, with its output inside where that is short: it saves the usual job a request.
    """

    job: str
    cursor: int = 0
    entries: list[StatusEntry] = []
    progress: Progress | None = None
    missing: bool = False
    ended: JobReply | None = None


class LogChunk(_Message):
    """One server-sent event of ``GET /api/v1/jobs/{uuid}/logs/``: bytes of a stream, as base64.

    `offset` counts the bytes of the stream within its attempt. A chunk with `end` is the last of all.
    """

    attempt: int = 0
    stream: str = ""
    offset: int = 0
    data: str = ""
    end: bool = False
