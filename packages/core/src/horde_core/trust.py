"""Whether a facilitator is the one that is meant: fingerprints of its CA, and what a failed handshake says.

A fingerprint is ``sha256:`` and 64 hexadecimal digits: the SHA-256 of the certificate in its binary form (DER), as
``openssl x509 -fingerprint -sha256`` prints it.
"""

import base64
import hashlib
import ipaddress
import re
from enum import StrEnum

AUTHORITY_PATH = "/ca.pem"
"""Where a facilitator shows the CA that its certificate hangs on, if that is no public one. Open to everybody."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


class Distrust(StrEnum):
    """Why a handshake failed, as the rest of a sentence about the facilitator."""

    UNKNOWN_AUTHORITY = "its certificate was not issued by an authority that is trusted here"
    EXPIRED = "its certificate has expired"
    NOT_YET_VALID = "its certificate is not valid yet"
    WRONG_NAME = "its certificate is for other names"
    NO_TLS = "what answers there speaks no TLS"
    UNUSABLE = "its certificate cannot be used"


# The codes of X509_verify_cert_error_string(3).
_CODES = {
    9: Distrust.NOT_YET_VALID,
    10: Distrust.EXPIRED,
    18: Distrust.UNKNOWN_AUTHORITY,
    19: Distrust.UNKNOWN_AUTHORITY,
    20: Distrust.UNKNOWN_AUTHORITY,
    21: Distrust.UNKNOWN_AUTHORITY,
    62: Distrust.WRONG_NAME,
    64: Distrust.WRONG_NAME,
    # A CA with the same name and another key, as somebody in between would make it.
    7: Distrust.UNKNOWN_AUTHORITY,
    30: Distrust.UNKNOWN_AUTHORITY,
}
# How the beginning of an answer in plain text looks to somebody who waits for a handshake.
_NOT_A_HANDSHAKE = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")

_REMEDIES = {
    Distrust.EXPIRED: "its operator has to renew it; if the date here is wrong, set the clock",
    Distrust.NOT_YET_VALID: "set the clocks of both machines",
    Distrust.WRONG_NAME: "use an address that it names, or have it started with --tls-name HOST",
    Distrust.NO_TLS: "write http:// if it is meant to be reached without TLS",
    Distrust.UNUSABLE: "its operator has to replace it",
}
_GET_IT = (
    "if it has a CA of its own, come in with the operator's line, which holds --ca-fingerprint, "
    "or name the file of the CA (facilitator_ca, COMPUTE_HORDE_CA)"
)


def distrust_in(error: BaseException) -> Distrust | None:
    """Why TLS failed, found in an error or one of its causes; None: for another reason, which may pass."""
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(cause, "verify_code", None)
        if isinstance(code, int):
            return _CODES.get(code, Distrust.UNUSABLE)
        if getattr(cause, "reason", None) in _NOT_A_HANDSHAKE:
            return Distrust.NO_TLS
        cause = cause.__cause__ or cause.__context__
    return None


def complaint(url: str, why: Distrust, ca: str | None) -> str:
    """What is wrong with the facilitator at `url`, and what to do; `ca` is the file that alone was trusted."""
    if why is not Distrust.UNKNOWN_AUTHORITY:
        return f"the facilitator at {url} is not trusted: {why}; {_REMEDIES[why]}"
    if ca is None:
        return f"the facilitator at {url} is not trusted: {why}; {_GET_IT}"
    return (
        f"the facilitator at {url} is not trusted: its certificate was not issued by the CA in {ca}; "
        "somebody may be in between: ask its operator whether it has a new CA before you remove that file"
    )


def authority_in(pem: str) -> bytes:
    """The one certificate in a PEM text, in its binary form.

    Raises:
        ValueError: there is none, there are several, or it is no base64.
    """
    found = _PEM.findall(pem)
    if len(found) != 1:
        raise ValueError(f"one certificate is expected, not {len(found)}")
    return base64.b64decode("".join(found[0].split()), validate=True)


def fingerprint_of(pem: str) -> str:
    """The fingerprint of the one certificate in a PEM text. Errors as `authority_in`."""
    return "sha256:" + hashlib.sha256(authority_in(pem)).hexdigest()


def read_fingerprint(text: str) -> str:
    """A fingerprint as people write it: upper or lower case, bytes apart by colons or not.

    Raises:
        ValueError: it is none.
    """
    kind, _, digits = text.strip().lower().partition(":")
    found = f"{kind}:{digits.replace(':', '')}"
    if not _FINGERPRINT.fullmatch(found):
        raise ValueError("a fingerprint is sha256: and 64 hexadecimal digits")
    return found


def is_loopback(host: str) -> bool:
    """Whether what is said to this host never leaves the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
