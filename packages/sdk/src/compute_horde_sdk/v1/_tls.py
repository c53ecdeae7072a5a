"""Whom a client trusts over TLS, and what it says when it does not."""

import ssl
from pathlib import Path

import httpx2

from compute_horde_sdk.v1._errors import ComputeHordeConfigError, ComputeHordeError, UntrustedError
from horde_core.trust import complaint, distrust_in


def trusting(ca: Path | None) -> ssl.SSLContext:
    """A context that trusts the authorities in a file and no others; without one, those that are usually trusted.

    Raises:
        ComputeHordeConfigError: the file cannot be used.
    """
    if ca is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError as error:
        raise ComputeHordeConfigError(f"facilitator_ca: {ca} holds no certificate in PEM") from error
    except OSError as error:
        raise ComputeHordeConfigError(f"facilitator_ca: {ca} cannot be read: {error.strerror}") from error


def distrusted(error: BaseException, url: str, ca: Path | None) -> UntrustedError | None:
    """What to say if a request failed because the facilitator is not trusted; None if it failed otherwise."""
    why = distrust_in(error)
    return UntrustedError(complaint(url, why, str(ca) if ca else None)) if why else None


async def stay_encrypted(request: httpx2.Request) -> None:
    """Let no redirect lead a request, with all that it carries, away from TLS.

    Raises:
        ComputeHordeError: it would.
    """
    if request.url.scheme != "https":
        raise ComputeHordeError(
            f"the facilitator redirects to {request.url}, which is not encrypted; nothing was sent there"
        )
