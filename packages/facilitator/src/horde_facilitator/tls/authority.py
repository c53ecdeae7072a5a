"""A CA of one facilitator, and the certificates that it issues. Values only; `certificate` has them on disk.

The CA may issue nothing but certificates of servers, and no further CA. It is bound to no names, although whoever
trusts it might like that: a facilitator gets new names and addresses, while its CA stays, because every executor
and client knows it by its fingerprint.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=90)
RENEWED_BEFORE = timedelta(days=30)
# For clocks that are behind.
BACKDATED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(…)"


def make_authority(now: datetime) -> Pair:
    """A new CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own, so that the CAs of two facilitators are told apart where both are trusted.
    name = _name(f"ComputeHorde CA {secrets.token_hex(4)}")
    usage = _usage(digital_signature=False, signs_certificates=True)
    certificate = (
        _begun(name, name, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(authority: Pair, names: Iterable[str], now: datetime) -> Pair:
    """A certificate for a server with these names and addresses; the CA's own stands behind it."""
    ca = x509.load_pem_x509_certificate(authority.certificate)
    ca_key = _ec_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + SERVER_LIFE, ca.not_valid_after_utc)
    certificate = (
        _begun(_name("ComputeHorde facilitator"), ca.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pair = _pair(certificate, key)
    return Pair(pair.certificate + authority.certificate, pair.key)


def check_authority(authority: Pair, now: datetime) -> None:
    """Check that a CA can issue.

    Raises:
        ValueError: it cannot; the message says why, as the rest of a sentence about it.
    """
    ca = x509.load_pem_x509_certificate(authority.certificate)
    if _ec_key(authority.key).public_key() != ca.public_key():
        raise ValueError("does not belong to its key")
    if ca.not_valid_after_utc <= now:
        raise ValueError(f"ended on {ca.not_valid_after_utc:%Y-%m-%d}")


def is_good(chain: bytes, authority: Pair, names: Iterable[str], now: datetime) -> bool:
    """Whether a server's certificate is of this CA, made out to these names and far from its end."""
    try:
        found = x509.load_pem_x509_certificates(chain)[0]
        ca = x509.load_pem_x509_certificate(authority.certificate)
        found.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    rest = min(RENEWED_BEFORE, ca.not_valid_after_utc - now - BACKDATED)
    is_in_time = found.not_valid_before_utc <= now and now + rest < found.not_valid_after_utc
    return is_in_time and set(names_in(found)) == set(names)


def names_in(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is made out to."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("has a key of another kind")  # noqa: TRY004 - the file is wrong, not the program
    return key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
