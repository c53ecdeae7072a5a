"""The errors of the executor, one tree.

    ExecutorError
    ├── JobFailure         the attempt ends: stage, reason and message become its `Failed` outcome
    ├── EngineError        the container engine refused or could not be reached
    ├── FacilitatorError   the facilitator refused or could not be reached
    │   └── Untrusted      what answers at its address does not prove to be the facilitator
    ├── LimitReached       a stage used up its time; whose time it was decides the outcome
    ├── Fenced             the attempt is no longer ours: stop everything, report nothing
    ├── WorkspaceError     a directory of an attempt could not be made or removed, or this kernel cannot guard it
    ├── Stopped            stays in `threads`: the caller of blocking work was cancelled
    └── RefusedArchive     stays in `archive`: what an archive holds is not taken

Errors of libraries (pycurl, zipfile, aiodocker, OSError) are translated where they are caught, with
``raise ... from``; no caller above that place needs to know which library was at work.
"""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import JsonValue

from horde_core.outcomes import Failed, Reason, Stage

_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class ExecutorError(Exception):
    """Base of every error that this package raises on purpose."""


class JobFailure(ExecutorError):  # noqa: N818 - what ends a job, which may be nobody's mistake
    """The attempt fails for a stated reason. `message` tells the user what happened and what to do."""

    def __init__(
        self,
        stage: Stage,
        reason: Reason,
        message: str,
        *,
        exit_code: int | None = None,
        context: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.reason = reason
        self.message = message
        self.exit_code = exit_code
        self.context = dict(context) if context is not None else None

    def outcome(self) -> Failed:
        """The outcome that this failure is reported as."""
        return Failed(
            stage=self.stage,
            reason=self.reason,
            message=self.message,
            exit_code=self.exit_code,
            context=self.context,
        )


class EngineError(ExecutorError):
    """The container engine refused a request (with an HTTP `status`) or could not be reached (None)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class FacilitatorError(ExecutorError):
    """The facilitator refused a request (with an HTTP `status`) or could not be reached (None)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status in _LATER


class Untrusted(FacilitatorError):  # noqa: N818 - a judgement; who made a mistake is not known
    """What answers at the facilitator's address does not prove to be it, and never did. Nothing was sent there."""

    @property
    def is_transient(self) -> bool:
        """Somebody has to look into it."""
        return False


class LimitReached(ExecutorError):  # noqa: N818 - not a mistake: the caller says what the end of this time means
    """The time that `clock.limit` gave was used up."""


class Fenced(ExecutorError):  # noqa: N818 - a state that ends the attempt, not a mistake
    """The attempt was given to somebody else or its lease ran out; nothing may be reported any more."""


class WorkspaceError(ExecutorError):
    """An attempt's directory could not be made or removed, or this kernel cannot guard it."""


class Stopped(ExecutorError):  # noqa: N818 - not a mistake; it never leaves `threads.run`
    """Blocking work noticed that its caller was cancelled."""


class RefusedArchive(ExecutorError):  # noqa: N818 - what was decided; `archive.unpack` makes a `JobFailure` of it
    """An archive holds what is not taken; the message continues the volume's name."""
