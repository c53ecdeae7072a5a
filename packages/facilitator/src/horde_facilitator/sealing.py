"""Seals what jobs and owners bring along, so that the records alone, or a backup of them, tell none of it.

AES-256-GCM. A seal begins with its version and the id of its key, and counts only for the purpose that it was made
for and for what it belongs to. The newest key seals; older ones still open. The keys lie in a file beside the
records, in the manner of the token keys; whoever backs the records up keeps it elsewhere.
"""

import hashlib
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from horde_facilitator import keyfile
from horde_facilitator.errors import SealError, StartError
from horde_facilitator.keyfile import KEY_BYTES

HEAD_BYTES = 9
"""What a seal begins with: its version, and the id of its key."""

_VERSION = b"\1"
_NONCE_BYTES = 12


class Purpose(StrEnum):
    """What is sealed: of the request of a job, and a password of an owner for a registry."""

    BODY = "body of job"
    ECHO = "echo of job"
    REGISTRY = "password of"

    @property
    def bound(self) -> bytes:
        """What stands for it inside the seal."""
        return _BOUND[self]


_BOUND = {Purpose.BODY: b"body", Purpose.ECHO: b"echo", Purpose.REGISTRY: b"registry"}


class SealingKeys:
    """The keys of one horde, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_head(key): AESGCM(key) for key in keys}
        self._newest = _head(keys[0])

    @classmethod
    def made(cls, path: Path) -> "SealingKeys":
        """A first key, in a new file."""
        keyfile.write(path, [os.urandom(KEY_BYTES).hex()])
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> "SealingKeys":
        """The keys in the file.

        Raises:
            StartError: the file holds no usable keys, or others may read it.
        """
        try:
            keys = [bytes.fromhex(line) for line in keyfile.read(path)]
        except ValueError:
            keys = []
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise StartError(f"{path} must hold one key of {2 * KEY_BYTES} hexadecimal digits a line")
        return cls(keys)

    @property
    def newest(self) -> bytes:
        """What seals begin with that are made now."""
        return self._newest

    @property
    def known(self) -> frozenset[bytes]:
        """What the seals begin with that can be opened."""
        return frozenset(self._ciphers)

    def seal(self, content: bytes, of: str, purpose: Purpose) -> bytes:
        """Seal what belongs to `of`, such as a job's uuid. It takes some µs, and about 1 ms for each MiB."""
        nonce = os.urandom(_NONCE_BYTES)
        about = _about(self._newest, of, purpose)
        return self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, content, about)

    def open(self, sealed: bytes, of: str, purpose: Purpose) -> bytes:
        """What was sealed.

        Raises:
            SealError: its key is not here, or it is not what was sealed for this.
        """
        head = sealed[:HEAD_BYTES]
        cipher = self._ciphers.get(head)
        if cipher is None:
            raise SealError(f"the {purpose} {of} is sealed with a key that is not here")
        nonce, rest = sealed[HEAD_BYTES : HEAD_BYTES + _NONCE_BYTES], sealed[HEAD_BYTES + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, _about(head, of, purpose))
        except (InvalidTag, ValueError) as error:
            raise SealError(f"the {purpose} {of} is not what was sealed") from error


def _head(key: bytes) -> bytes:
    return _VERSION + hashlib.sha256(b"horde sealing key\0" + key).digest()[: HEAD_BYTES - 1]


def _about(head: bytes, of: str, purpose: Purpose) -> bytes:
    return b"\0".join((head, purpose.bound, of.encode()))
