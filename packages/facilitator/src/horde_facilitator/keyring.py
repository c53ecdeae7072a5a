"""The keys that sign nonces and tokens: the newest signs; older ones are accepted while tokens of theirs live.

The file has one key a line, in hexadecimal; behind an older one stands when it was retired, in UNIX seconds. A
line taken out makes every token of that key worthless at the next start: whoever holds one has to log in again.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from horde_facilitator import keyfile
from horde_facilitator.clock import SECOND
from horde_facilitator.errors import StartError, StoreError
from horde_facilitator.keyfile import KEY_BYTES


@dataclass(frozen=True, slots=True)
class Key:
    """A key; `retired_s` is when another one took its place, in UNIX seconds (None: it has not been replaced)."""

    secret: bytes
    retired_s: int | None = None

    def __repr__(self) -> str:
        return f"Key(retired_s={self.retired_s})"


class Keyring:
    """The keys of one facilitator, the newest first. `lifetime_s` is how long a token lives."""

    def __init__(self, keys: Sequence[Key], lifetime_s: int, path: Path | None = None) -> None:
        self._keys = tuple(keys)
        self._lifetime_s = lifetime_s
        self._path = path

    @classmethod
    def opened(cls, path: Path, lifetime_s: int) -> "Keyring":
        """The keys in the file, which is made with a first one if it is missing.

        Raises:
            StartError: the file holds no usable keys, or others may read it.
        """
        if not path.exists():
            _write(path, [Key(secrets.token_bytes(KEY_BYTES))])
        try:
            keys = [_parsed(line) for line in keyfile.read(path)]
        except ValueError as error:
            raise StartError(f"{path} must hold one hexadecimal key a line") from error
        if not keys or any(len(key.secret) < KEY_BYTES for key in keys):
            raise StartError(f"{path} must hold keys of at least {KEY_BYTES} bytes")
        return cls(keys, lifetime_s, path)

    @property
    def signing(self) -> bytes:
        """The key that signs."""
        return self._keys[0].secret

    @property
    def every(self) -> list[bytes]:
        """All keys, the newest first. A token expires before its key is no longer accepted."""
        return [key.secret for key in self._keys]

    def accepted(self, now_us: int) -> list[bytes]:
        """The keys whose signatures count now."""
        return [key.secret for key in self._living(now_us)]

    def rotate(self, now_us: int) -> int:
        """Let a new key sign from now on; returns how many keys are accepted then. Writes the file.

        Raises:
            StoreError: the file cannot be written; the keys are as before.
        """
        now_s = now_us // SECOND
        older = [Key(key.secret, key.retired_s or now_s) for key in self._living(now_us)]
        keys = (Key(secrets.token_bytes(KEY_BYTES)), *older)
        if self._path is not None:
            try:
                _write(self._path, keys)
            except OSError as error:
                raise StoreError(f"the keys cannot be written: {error.strerror}") from error
        self._keys = keys
        return len(keys)

    def _living(self, now_us: int) -> list[Key]:
        oldest_s = now_us // SECOND - self._lifetime_s
        return [key for key in self._keys if key.retired_s is None or key.retired_s >= oldest_s]


def _parsed(line: str) -> Key:
    secret, _, retired = line.partition(" ")
    return Key(bytes.fromhex(secret), int(retired) if retired else None)


def _write(path: Path, keys: Sequence[Key]) -> None:
    keyfile.write(path, (_printed(key) for key in keys))


def _printed(key: Key) -> str:
    return key.secret.hex() + (f" {key.retired_s}" if key.retired_s is not None else "")
