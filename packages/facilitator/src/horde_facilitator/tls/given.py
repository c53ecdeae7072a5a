"""A certificate that the operator has from elsewhere: whether it can be served, and what hangs on it."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from horde_facilitator.errors import StartError
from horde_facilitator.tls.authority import Pair, names_in

OTHERS = 0o077
# A group that may read keys (as Debian's ssl-cert) is root's to name.
OTHERS_OF_ROOT = 0o037


def read_given(chain: Path, key: Path) -> Pair:
    """Both files.

    Raises:
        StartError: one cannot be read, or the key can be read by others.
    """
    try:
        status = key.stat()
        pair = Pair(chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise StartError(f"{error.filename} cannot be read: {error.strerror}") from error
    if status.st_mode & (OTHERS if status.st_uid else OTHERS_OF_ROOT):
        raise StartError(f"the key {key} can be read by others; set its mode to 0600")
    return pair


def check_given(pair: Pair, chain: Path, key: Path, now: datetime) -> None:
    """Check that clients will accept it, as far as that can be seen from here.

    Raises:
        StartError: they will not; the message names the file and what to do.
    """
    certificates = _certificates(pair, chain)
    own = certificates[0]
    if _public(own.public_key()) != _public_of_key(pair, key):
        raise StartError(f"the key {key} does not match the certificate in {chain}; give two that belong together")
    if own.not_valid_after_utc <= now:
        raise StartError(f"the certificate in {chain} expired on {own.not_valid_after_utc:%Y-%m-%d}; renew it")
    if own.not_valid_before_utc > now:
        raise StartError(f"the certificate in {chain} is not valid before {own.not_valid_before_utc:%Y-%m-%d}")
    if not names_in(own):
        raise StartError(f"the certificate in {chain} names no host (subjectAltName); clients do not accept such")
    for issued, issuer in pairwise(certificates):
        if not _is_issued_by(issued, issuer):
            raise StartError(
                f"the certificates in {chain} are no chain; "
                "put the server's own first, then the one that signed it, and so on"
            )


def end_of_chain(pair: Pair) -> x509.Certificate | None:
    """The last certificate if it hangs on nothing else; None where clients have to know the rest."""
    last = x509.load_pem_x509_certificates(pair.certificate)[-1]
    return last if _is_issued_by(last, last) else None


def _certificates(pair: Pair, chain: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pair.certificate)
    except ValueError as error:
        raise StartError(f"{chain} holds no certificate in PEM") from error


def _public_of_key(pair: Pair, key: Path) -> bytes:
    try:
        return _public(serialization.load_pem_private_key(pair.key, None).public_key())
    except TypeError as error:
        raise StartError(f"the key {key} is encrypted; give one without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StartError(f"{key} holds no private key in PEM") from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _is_issued_by(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
