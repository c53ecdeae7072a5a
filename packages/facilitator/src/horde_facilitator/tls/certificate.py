"""The certificate that is served, from the first connection to the last, over all its renewals.

Below the data directory lie, in `tls`: ``authority.pem``, the key and certificate of the own CA; ``server.pem``,
the key and chain that it issued; ``ca.pem``, what clients have to trust where that is no public authority.
"""

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from horde_core.trust import fingerprint_of
from horde_facilitator.clock import SECOND, Clock
from horde_facilitator.encryption import Encryption, GivenCertificate, OwnCertificate, Plain
from horde_facilitator.errors import StartError
from horde_facilitator.tls.authority import Pair, check_authority, is_good, issue, make_authority, names_in
from horde_facilitator.tls.given import OTHERS, check_given, end_of_chain, read_given
from horde_facilitator.tls.names import names_of

log = logging.getLogger(__name__)

_FIRST_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Served:
    """What a source has now: the files with chain and key, and the PEM of what clients have to trust, or None."""

    chain: Path
    key: Path
    leaf: x509.Certificate
    authority: str | None


class Source(Protocol):
    """Where a certificate comes from."""

    def current(self, now: datetime) -> Served:
        """The certificate to serve now, made or read anew if need be; blocks.

        Raises:
            StartError: it cannot be served; what was served before still can.
        """
        ...


class Certificate:
    """The certificate of a facilitator, loaded into a context that all connections share.

    A renewal changes what the next handshake shows; connections that are open know nothing of it.
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._served = source.current(self._now())
        self._said = ""
        self.context = _context()
        self._load(self.context)

    @property
    def names(self) -> list[str]:
        """What it is made out to."""
        return names_in(self._served.leaf)

    @property
    def authority(self) -> str | None:
        """The certificate, as PEM, that clients have to trust; None where it is for them to know."""
        return self._served.authority

    async def follow(self, every_s: float) -> None:
        """Look after it without an end: renew it in time, or load what somebody else has renewed."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self._refresh)

    def _refresh(self) -> None:
        try:
            found = self._source.current(self._now())
            if found.leaf != self._served.leaf:
                before, self._served = self._served, found
                try:
                    self._load(_context())  # a pair that does not fit must not spoil the context that serves
                    self._load(self.context)
                except StartError:
                    self._served = before
                    raise
                log.info("a new certificate is served, until %s", found.leaf.not_valid_after_utc.date())
            self._said = ""
        except (StartError, OSError, ValueError) as error:
            if str(error) != self._said:
                log.warning("the certificate stays as it was: %s", error)
            self._said = str(error)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._served.chain, self._served.key)
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"the certificate in {self._served.chain} cannot be served: {error}") from error

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now().wall_us / SECOND, UTC)


def opened(encryption: Encryption, place: Path, host: str, clock: Clock) -> Certificate | None:
    """The certificate of a facilitator that listens on `host`, its own files in `place`; None: plain HTTP.

    Raises:
        StartError: a file is wrong or cannot be used; the message says which, and what to do.
    """
    match encryption:
        case Plain():
            source = None
        case GivenCertificate(chain, key):
            source = _Given(chain, key)
        case OwnCertificate(names):
            source = _Own(place, names_of(host, names))
    try:
        certificate = Certificate(source, clock) if source else None
        _show_authority(place / "ca.pem", certificate.authority if certificate else None)
    except OSError as error:
        raise StartError(f"{place} cannot be used: {error.strerror or error}") from error
    except ValueError as error:  # what cryptography says of certificates that are not as they should be
        raise StartError(f"the certificate cannot be used: {error}") from error
    if certificate and certificate.authority:
        log.info("clients trust it by %s, %s", place / "ca.pem", fingerprint_of(certificate.authority))
    return certificate


class _Own:
    """Of an own CA, which is made once."""

    def __init__(self, place: Path, names: tuple[str, ...]) -> None:
        self._authority = place / "authority.pem"
        self._server = place / "server.pem"
        self._names = names

    def current(self, now: datetime) -> Served:
        authority = self._own_authority(now)
        pair = _read(self._server) if self._server.exists() else None
        if pair is None or not is_good(pair.certificate, authority, self._names, now):
            pair = issue(authority, self._names, now)
            _write(self._server, pair)
        leaf = x509.load_pem_x509_certificates(pair.certificate)[0]
        return Served(self._server, self._server, leaf, authority.certificate.decode())

    def _own_authority(self, now: datetime) -> Pair:
        if not self._authority.exists():
            _write(self._authority, make_authority(now))
        if self._authority.stat().st_mode & OTHERS:
            raise StartError(f"{self._authority} can be read by others; set its mode to 0600")
        pair = _read(self._authority)
        try:
            check_authority(pair, now)
        except ValueError as error:
            raise StartError(
                f"the CA in {self._authority} cannot be used ({error}); restore that file, or remove it: "
                "then another CA is made, and executors and clients have to be let in anew"
            ) from error
        return pair


class _Given:
    """Of somebody else, who writes new files in time."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key

    def current(self, now: datetime) -> Served:
        pair = read_given(self._chain, self._key)
        check_given(pair, self._chain, self._key, now)
        end = end_of_chain(pair)
        shown = end.public_bytes(serialization.Encoding.PEM).decode() if end else None
        leaf = x509.load_pem_x509_certificates(pair.certificate)[0]
        return Served(self._chain, self._key, leaf, shown)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _show_authority(file: Path, authority: str | None) -> None:
    if authority is None:
        file.unlink(missing_ok=True)
    else:
        _write_whole(file, authority.encode())


def _read(file: Path) -> Pair:
    key, mark, certificates = file.read_bytes().partition(_FIRST_CERTIFICATE)
    return Pair(mark + certificates, key)


def _write(file: Path, pair: Pair) -> None:
    # In one file, so that no crash can part a certificate from its key.
    _write_whole(file, pair.key + pair.certificate)


def _write_whole(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened_file:
        opened_file.write(data)
        opened_file.flush()
        os.fsync(opened_file.fileno())
    draft.replace(file)
