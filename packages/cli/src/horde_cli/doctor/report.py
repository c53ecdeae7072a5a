"""What a check of the doctor finds."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is: `warn` works with a drawback, `skip` could not be checked for the reason given."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` says what to do when the state is not `ok`."""

    check: str
    state: State
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check, State.OK, detail)


def warn(check: str, detail: str, remedy: str) -> Finding:
    """It works, with a drawback."""
    return Finding(check, State.WARN, detail, remedy)


def fail(check: str, detail: str, remedy: str) -> Finding:
    """Jobs cannot run like this."""
    return Finding(check, State.FAIL, detail, remedy)


def skip(check: str, detail: str) -> Finding:
    """It could not be checked."""
    return Finding(check, State.SKIP, detail)
