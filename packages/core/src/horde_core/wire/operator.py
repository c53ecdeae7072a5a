"""The operator API: who may come in, and which machines run jobs. Every request needs the role ``operator``.

Times are UTC, periods seconds. Reading replies is tolerant, as in the client API.

| request | answer |
|---|---|
| GET    /operator/v1/hotkeys                        | 200 `Hotkeys` |
| PUT    /operator/v1/hotkeys/{hotkey}/{role}        | 204; added, or there before |
| DELETE /operator/v1/hotkeys/{hotkey}/{role}        | 204; 404 it has no such role |
| GET    /operator/v1/pending                        | 200 `PendingHotkeys` |
| POST   /operator/v1/keys/rotate                    | 200 `RotatedKeys` |
| POST   /operator/v1/invitations                    | 201 `Invitation`; body `InvitationRequest` |
| GET    /operator/v1/executors                      | 200 `Executors` |
| PUT    /operator/v1/executors/{hotkey}/cordon      | 204; body `Cordon` |
| DELETE /operator/v1/executors/{hotkey}/cordon      | 204 |
| DELETE /operator/v1/executors/{hotkey}             | 204 |
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from horde_core.wire.client import Login, Timestamp

PREFIX = "/operator/v1"
REDEEM_PATH = "/auth/redeem"
HOTKEYS_PATH = PREFIX + "/hotkeys"
PENDING_PATH = PREFIX + "/pending"
KEYS_PATH = PREFIX + "/keys"
INVITATIONS_PATH = PREFIX + "/invitations"
EXECUTORS_PATH = PREFIX + "/executors"

DAY_S = 86_400
MAX_INVITATION_S = 365 * DAY_S


class Role(StrEnum):
    """What a hotkey may do here. A hotkey may have several roles."""

    USER = "user"
    EXECUTOR = "executor"
    TRUSTED = "trusted"
    OPERATOR = "operator"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class AdmittedHotkey(_Message):
    """One line of the allow-list. `classes`: the only ones that this executor may serve; null: all."""

    hotkey: str
    role: str
    added_at: Timestamp
    classes: list[str] | None = None


class Hotkeys(_Message):
    """The allow-list."""

    hotkeys: list[AdmittedHotkey]


class PendingHotkey(_Message):
    """A hotkey that was refused at a login. `role` is the one that it seems to want."""

    hotkey: str
    role: str
    times: int
    first_at: Timestamp
    last_at: Timestamp
    address: str = ""


class PendingHotkeys(_Message):
    """The hotkeys that were refused lately, the latest first."""

    pending: list[PendingHotkey]


class RotatedKeys(_Message):
    """A new key signs tokens. `accepted` counts the keys, this one included, whose tokens are still taken."""

    accepted: int
    old_until: Timestamp


class InvitationRequest(_Message):
    """Who may come in with the invitation: `count` hotkeys, within `expires_s` from now.

    `classes` binds executors: they may serve no others.
    """

    role: Role = Role.USER
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    expires_s: Annotated[int, Field(ge=1, le=MAX_INVITATION_S)] = 7 * DAY_S
    classes: Annotated[list[str], Field(min_length=1, max_length=32)] | None = None


class Invitation(_Message):
    """A new invitation. The token is shown once; only its hash is kept."""

    token: str = Field(repr=False)
    role: str
    count: int
    expires_at: Timestamp
    classes: list[str] | None = None


class Redemption(Login):
    """Body of ``POST /auth/redeem``: a login that also lets the hotkey in. The answer is that of a login."""

    invitation: str = Field(repr=False)


class Cordon(_Message):
    """Why an executor gets no more jobs."""

    why: Annotated[str, Field(max_length=500)] = ""


class ExecutorEntry(_Message):
    """One executor. `losses`: attempts that it lost in the last 24 hours; `cordoned`: why it gets no jobs.

    `refused`: classes that it offered and does not serve, each with the reason. An executor that was admitted but
    never asked for a job has no version and was never seen.
    """

    hotkey: str
    role: str
    version: str = ""
    first_seen_at: Timestamp | None = None
    seen_at: Timestamp | None = None
    slots: int = 0
    classes: list[str] = []
    refused: dict[str, str] = {}
    running: list[str] = []
    losses: int = 0
    cordoned: str | None = None
    cordoned_at: Timestamp | None = None
    cordoned_until: Timestamp | None = None


class Executors(_Message):
    """All executors, those seen last first."""

    executors: list[ExecutorEntry]
