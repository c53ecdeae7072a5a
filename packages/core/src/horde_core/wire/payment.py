"""What jobs cost and what is left: for every user their own, for operators all of it.

Amounts are whole thousandths of an executor-second (`horde_core.price`), weights thousandths. Reading replies is
tolerant, as in the client API.

| request | answer |
|---|---|
| GET    /api/v1/usage/?since=TIME                            | 200 `Usage` |
| GET    /operator/v1/usage?by=executor or hotkey&since=TIME  | 200 `UsageBy` |
| GET    /operator/v1/allowances                              | 200 `Allowances` |
| PUT    /operator/v1/allowances/{hotkey}/{class}             | 204; body `AllowanceTerms` |
| POST   /operator/v1/allowances/{hotkey}/{class}/grant       | 200 `Allowance`; body `Grant` |
| DELETE /operator/v1/allowances/{hotkey}/{class}             | 204; 404 it has none |
| PUT    /operator/v1/allowances/default                      | 204; body `AllowanceTerms` |
| DELETE /operator/v1/allowances/default                      | 204; from now on there is none |
| GET    /operator/v1/ledger/check                            | 200 `LedgerCheck` |
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from horde_core.wire.client import Timestamp
from horde_core.wire.operator import PREFIX

USAGE_PATH = "/api/v1/usage/"
USAGE_BY_PATH = PREFIX + "/usage"
ALLOWANCES_PATH = PREFIX + "/allowances"
DEFAULT_ALLOWANCE_PATH = ALLOWANCES_PATH + "/default"
LEDGER_CHECK_PATH = PREFIX + "/ledger/check"

MAX_AMOUNT = 10**15


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class By(StrEnum):
    """What usage is summed up by."""

    EXECUTOR = "executor"
    HOTKEY = "hotkey"


class AllowanceTerms(_Message):
    """What an operator grants: at most `cap` at a time, filled by `refill_per_hour`. A new allowance is full."""

    cap: Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
    refill_per_hour: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] = 0


class Grant(_Message):
    """An amount that is added once, also above the cap; a negative one is taken away, down to nothing."""

    amount: Annotated[int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]


class Allowance(_Message):
    """What a hotkey may spend on jobs of a class. `held`: for its jobs that have not ended.

    `by_default`: nobody gave it to this hotkey in particular.
    """

    hotkey: str
    executor_class: str
    available: int
    held: int
    cap: int
    refill_per_hour: int
    by_default: bool = False


class Allowances(_Message):
    """All allowances. A hotkey without one for a class has the default there, or no limit if there is none."""

    allowances: list[Allowance]
    default: AllowanceTerms | None = None


class ClassUsage(_Message):
    """One's use of a class: jobs that were paid for and what they cost together; `allowance` null: no limit.

    `weight` null: there is no such class any more.
    """

    executor_class: str
    weight: int | None
    jobs: int = 0
    settled: int = 0
    reserved: int = 0
    allowance: Allowance | None = None


class Usage(_Message):
    """One's own use of every class, since a time or ever; what is reserved is so now."""

    since: Timestamp | None = None
    classes: list[ClassUsage]


class UsageLine(_Message):
    """What the jobs of a class that one executor ran, or one hotkey owned, were paid with."""

    name: str
    executor_class: str
    jobs: int
    settled: int


class UsageBy(_Message):
    """Everybody's paid use, since a time or ever."""

    by: By
    since: Timestamp | None = None
    lines: list[UsageLine]


class LedgerCheck(_Message):
    """What the ledger adds up to. `granted` and `refilled` are net; `problems` is empty if everything adds up."""

    entries: int
    granted: int
    refilled: int
    settled: int
    reserved: int
    problems: list[str] = []
