"""Signatures of requests and logins: what is signed, how it is hashed, who signed it.

The text that is signed and its double encoding are fixed by the published clients; `tests/` verifies them
against requests that those clients really sent. Signatures are sr25519 with the signing context ``substrate``.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

import sr25519
from bittensor_wallet import Keypair
from pydantic import JsonValue

SIGNATURE_TYPE = "bittensor"
SIGNATURE_BYTES = 64


class SignatureError(ValueError):
    """A signature, or a header that describes it, is missing, malformed or wrong."""


class Scope(StrEnum):
    """Which part of the body is signed."""

    SIGNED_FIELDS = "SignedFields"
    FULL_REQUEST = "FullRequest"


class Signer(Protocol):
    """The private half of a hotkey, as Bittensor's `Keypair` has it."""

    @property
    def ss58_address(self) -> str:
        """The public address."""
        ...

    def sign(self, data: bytes, /) -> bytes:
        """Sign the bytes exactly as given."""
        ...


_STAMP = re.compile(r"[0-9]{1,20}")

# Names in the order in which they are printed, with what stands for a missing field.
_SIGNED_FIELDS: tuple[tuple[str, JsonValue], ...] = (
    ("executor_class", "None"),
    ("docker_image", ""),
    ("args", []),
    ("env", {}),
    ("use_gpu", False),
    ("artifacts_dir", ""),
    ("on_trusted_miner", False),
    ("download_time_limit", 0),
    ("execution_time_limit", 0),
    ("upload_time_limit", 0),
    ("streaming_start_time_limit", 0),
    ("streaming_details", None),
    ("volumes", []),
    ("uploads", []),
)


def signed_text(body: Mapping[str, JsonValue], scope: Scope) -> str:
    """The inner text of a signature over a JSON body that was parsed but otherwise left as it came."""
    if scope is Scope.FULL_REQUEST:
        return json.dumps(body, sort_keys=True)
    fields = {name: body.get(name, default) for name, default in _SIGNED_FIELDS}
    if fields["artifacts_dir"] is None:
        fields["artifacts_dir"] = ""
    details = fields["streaming_details"]
    if isinstance(details, dict):
        fields["streaming_details"] = {"public_key": details.get("public_key"), "executor_ip": None}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def digest(text: str, timestamp_ns: int) -> bytes:
    """The 64 bytes that are signed for an inner text at a time."""
    literal = json.dumps(text).replace("\x7f", "\\u007f").encode("ascii")
    return blake2b(timestamp_ns.to_bytes(8, "big") + literal).digest()


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """The signature of a request, as its headers carry it."""

    signatory: str
    timestamp_ns: int
    signature: bytes
    scope: Scope

    def headers(self) -> dict[str, str]:
        """The headers that carry this signature."""
        return {
            "X-CH-Signature-Type": SIGNATURE_TYPE,
            "X-CH-Signatory": self.signatory,
            "X-CH-Timestamp-NS": str(self.timestamp_ns),
            "X-CH-Signature": base64.b64encode(self.signature).decode(),
            "X-CH-Signature-Scope": self.scope.value,
        }

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RequestSignature":
        """Read the headers (looked up by the names that `headers` writes).

        Raises:
            SignatureError: a header is missing, malformed, or of a type or scope that is not known.
        """
        kind = headers.get("X-CH-Signature-Type")
        if kind != SIGNATURE_TYPE:
            raise SignatureError(f"X-CH-Signature-Type must be {SIGNATURE_TYPE!r}, not {kind!r}")
        signatory, stamp = headers.get("X-CH-Signatory", ""), headers.get("X-CH-Timestamp-NS", "")
        if not signatory:
            raise SignatureError("X-CH-Signatory is missing; it names the hotkey that signed")
        if not _STAMP.fullmatch(stamp) or int(stamp) >= 2**64:
            raise SignatureError("X-CH-Timestamp-NS must be UNIX time in nanoseconds")
        scope_name = headers.get("X-CH-Signature-Scope", Scope.SIGNED_FIELDS.value)
        try:
            scope = Scope(scope_name)
        except ValueError:
            raise SignatureError(f"X-CH-Signature-Scope {scope_name!r} is not known") from None
        try:
            signature = base64.b64decode(headers.get("X-CH-Signature", ""), validate=True)
        except ValueError:  # not base64, or not even ASCII
            signature = b""
        if len(signature) != SIGNATURE_BYTES:
            raise SignatureError("X-CH-Signature must be the base64 of 64 bytes")
        return cls(signatory, int(stamp), signature, scope)


def sign_request(
    body: Mapping[str, JsonValue], scope: Scope, signer: Signer, timestamp_ns: int
) -> RequestSignature:
    """Sign a JSON body as the published clients do."""
    signature = signer.sign(digest(signed_text(body, scope), timestamp_ns))
    return RequestSignature(signer.ss58_address, timestamp_ns, signature, scope)


def verify_request(body: Mapping[str, JsonValue], signature: RequestSignature) -> None:
    """Check that the signatory signed this body.

    Raises:
        SignatureError: the signatory is no address, or did not sign this body.
    """
    try:
        text = signed_text(body, signature.scope)
        hashed = digest(text, signature.timestamp_ns)
    except (TypeError, ValueError) as error:
        raise SignatureError("the body cannot be signed") from error
    verify(hashed, signature.signature, signature.signatory)


def verify(message: bytes, signature: bytes, address: str) -> None:
    """Check an sr25519 signature over exactly this message.

    The wallet library would also accept a signature over ``<Bytes>message</Bytes>``, which another program may
    have asked the owner for; hence the bare verification.

    Raises:
        SignatureError: the address cannot be read, or the signature is not its owner's.
    """
    try:
        valid = sr25519.verify(signature, message, public_key(address))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise SignatureError("the signature does not belong to the hotkey and the message")


def public_key(address: str) -> bytes:
    """The 32 public bytes of an ss58 address.

    Raises:
        SignatureError: the text is no ss58 address.
    """
    try:
        key = Keypair(ss58_address=address).public_key
    except (ValueError, TypeError) as error:
        raise SignatureError(f"{address!r} is no ss58 address") from error
    if key is None:
        raise SignatureError(f"{address!r} holds no public key")
    return key
