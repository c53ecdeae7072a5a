"""Nonces and tokens. Both are signed values that nobody has to store; only a used nonce is remembered."""

import hashlib
import hmac
import secrets
from functools import lru_cache

import jwt

from horde_core import signing
from horde_facilitator.clock import SECOND
from horde_facilitator.errors import BadRequest, NotAuthenticated
from horde_facilitator.keyring import Keyring

AUDIENCE = "compute-horde-facilitator"
ALGORITHM = "HS256"
REMEMBERED = 4096
MISSING = "Authentication credentials were not provided."
BAD_FORMAT = "Invalid token header format."
BAD_ENCODING = "Invalid token header encoding."
EXPIRED = "Token expired."
"""The one text on which published clients log in again, so it is the answer to every unusable token."""


class Nonces:
    """Makes and checks nonces: expiry, random part and their HMAC."""

    def __init__(self, keys: Keyring, lifetime_s: int) -> None:
        self._keys = keys
        self._lifetime_s = lifetime_s

    def make(self, now_us: int) -> str:
        """A nonce that is valid from now on for its lifetime."""
        text = f"{now_us // SECOND + self._lifetime_s}:{secrets.token_hex(16)}"
        return f"{text}:{_mac(self._keys.signing, text)}"

    def expiry(self, nonce: str, now_us: int) -> int | None:
        """When a nonce expires, in microseconds; None if we did not make it or it has expired."""
        text, _, mac = nonce.rpartition(":")
        if not nonce.isascii():
            return None
        if not any(hmac.compare_digest(mac, _mac(key, text)) for key in self._keys.accepted(now_us)):
            return None
        expires_us = int(text.partition(":")[0]) * SECOND
        return expires_us if expires_us > now_us else None


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, b"nonce:" + text.encode(), hashlib.sha256).hexdigest()


class Tokens:
    """Makes and reads the tokens that follow a login. The subject is the hotkey."""

    def __init__(self, keys: Keyring, lifetime_s: int) -> None:
        self._keys = keys
        self._lifetime_s = lifetime_s
        self._read = lru_cache(REMEMBERED)(self._decode)

    def make(self, hotkey: str, now_us: int) -> str:
        """A token for a hotkey, valid from now on for its lifetime."""
        issued = now_us // SECOND
        claims = {"sub": hotkey, "aud": AUDIENCE, "iat": issued, "exp": issued + self._lifetime_s}
        return jwt.encode(claims, self._keys.signing, ALGORITHM)

    def hotkey(self, token: str, now_us: int) -> str:
        """Whose token it is.

        Raises:
            NotAuthenticated: the token is not ours, is no token, or has expired.
        """
        subject, expires_us = self._read(token)
        if expires_us <= now_us:
            raise NotAuthenticated(EXPIRED)
        return subject

    def _decode(self, token: str) -> tuple[str, int]:
        """Whose token it is and when it expires: what never changes of a token, so it is worth remembering."""
        for key in self._keys.every:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    audience=AUDIENCE,
                    options={"require": ["sub", "exp"], "verify_exp": False, "verify_iat": False},
                )
            except jwt.InvalidTokenError:
                continue
            return str(claims["sub"]), int(claims["exp"]) * SECOND
        raise NotAuthenticated(EXPIRED)


def bearer(header: str | None) -> str:
    """The token in an Authorization header.

    Raises:
        NotAuthenticated: there is none, or the header cannot be read.
    """
    words = (header or "").split()
    if not words or words[0].lower() != "bearer":
        raise NotAuthenticated(MISSING)
    if len(words) != 2:  # noqa: PLR2004  # the scheme and the token
        raise NotAuthenticated(BAD_FORMAT)
    if not words[1].isascii():
        raise NotAuthenticated(BAD_ENCODING)
    return words[1]


def check_login(hotkey: str, signature: str, nonce: str) -> None:
    """Check that the owner of the hotkey signed the nonce.

    Raises:
        BadRequest: hotkey or signature cannot be read.
        NotAuthenticated: the signature is not the hotkey's.
    """
    try:
        signed = bytes.fromhex(signature.removeprefix("0x"))
        signing.public_key(hotkey)
    except ValueError as error:
        raise BadRequest("Invalid hotkey or signature") from error
    try:
        signing.verify(nonce.encode(), signed, hotkey)
    except signing.SignatureError as error:
        raise NotAuthenticated("Invalid signature") from error
