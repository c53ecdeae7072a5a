"""What can go wrong, as one tree.

    ComputeHordeError                    anything below
    ├── ComputeHordeNotFoundError        the horde has no such job, or it is somebody else's
    ├── ComputeHordeJobTimeoutError      a wait was longer than its `timeout` (also a TimeoutError)
    ├── ComputeHordeSpecError            a value of a job's specification is wrong (also a ValueError)
    ├── ComputeHordeConfigError          the configuration cannot be used
    ├── RefusedError                     the facilitator answered with an error
    ├── UnreachableError                 the facilitator did not answer
    └── UntrustedError                   what answered does not prove to be the facilitator

A job that failed is no exception: it is described by `ComputeHordeJob.error`.
"""

from http import HTTPStatus


class ComputeHordeError(Exception):
    """Anything that the SDK raises on its own account."""


class ComputeHordeNotFoundError(ComputeHordeError):
    """The horde has no such job, or the job belongs to another hotkey."""


class ComputeHordeJobTimeoutError(ComputeHordeError, TimeoutError):
    """Waiting took longer than its `timeout`. The job itself goes on."""


class ComputeHordeSpecError(ComputeHordeError, ValueError):
    """A value of a job's specification is wrong; the message begins with the name of the field."""


class ComputeHordeConfigError(ComputeHordeError):
    """The configuration is missing, unreadable or incomplete; the message names the file and the key."""


class RefusedError(ComputeHordeError):
    """The facilitator answered with an error status.

    `retry_after` is the pause in seconds that it asked for.
    """

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class UnreachableError(ComputeHordeError):
    """The facilitator did not answer; `sent` tells whether it may have got the request all the same."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class UntrustedError(ComputeHordeError):
    """What answered does not prove to be the facilitator. Nothing was sent to it; trying again does not help."""


def is_passing(error: ComputeHordeError) -> bool:
    """Whether it makes sense to try the same again a little later."""
    return isinstance(error, UnreachableError) or (isinstance(error, RefusedError) and error.is_passing)
