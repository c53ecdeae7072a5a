"""Everything that can go wrong, as one tree.

FacilitatorError
├── StartError             the data directory or the address cannot be used
├── StoreError             records or blobs cannot be read or written now (503)
├── SealError              what was sealed cannot be opened any more; never leaves this package
└── Refused                a request is not granted; nothing was changed
    ├── BadRequest         the request is wrong; the message says where (400)
    ├── NotAuthenticated   no usable token (401)
    ├── NotAllowed         the hotkey may not do this, or no longer (403)
    ├── NotFound           no such thing, or not the caller's (404)
    ├── KeyReused          an idempotency key came with another request than before (409)
    ├── TooLarge           a body is above its cap (413)
    ├── StaleAttempt       the attempt no longer holds the job (409)
    ├── MissingParts       something that must come first has not arrived (409)
    └── TooMany            requests come faster than they are taken (429)
"""

from collections.abc import Mapping


class FacilitatorError(Exception):
    """Root of this package's errors."""


class StartError(FacilitatorError):
    """The facilitator cannot start; the message says what to change."""


class StoreError(FacilitatorError):
    """Records or blobs cannot be read or written now; the request may be repeated."""


class SealError(FacilitatorError):
    """What was sealed cannot be opened: its key is gone, or its bytes were changed."""


class Refused(FacilitatorError):  # noqa: N818  # the kinds of refusal are named for what they say
    """A request is not granted."""


class BadRequest(Refused):
    """The request is wrong. `fields` maps each wrong field to its messages, where fields are to blame."""

    def __init__(self, detail: str, fields: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(detail)
        self.fields = fields

    @classmethod
    def field(cls, name: str, message: str) -> "BadRequest":
        """One wrong field."""
        return cls(f"{name}: {message}", {name: [message]})


class NotAuthenticated(Refused):
    """The request carries no usable token."""


class NotAllowed(Refused):
    """The hotkey may not do this."""


class NotFound(Refused):
    """There is no such thing, or it is not the caller's; which of the two is not said."""


class KeyReused(Refused):
    """An idempotency key came with another request than before."""


class TooLarge(Refused):
    """A body is larger than its cap."""


class StaleAttempt(Refused):
    """The attempt no longer holds the job."""


class MissingParts(Refused):
    """Something that must arrive first has not arrived."""


class TooMany(Refused):
    """Requests come faster than they are taken; `retry_s` is the pause to make, in whole seconds."""

    def __init__(self, detail: str, retry_s: int) -> None:
        super().__init__(detail)
        self.retry_s = retry_s
