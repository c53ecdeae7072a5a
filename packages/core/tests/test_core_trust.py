"""Fingerprints of CAs, and what a failed handshake says."""

import base64
import hashlib
import ssl

import pytest

from horde_core.trust import Distrust, complaint, distrust_in, fingerprint_of, is_loopback, read_fingerprint

DER = bytes(range(256)) * 3
PEM = ssl.DER_cert_to_PEM_cert(DER)


def test_a_fingerprint_is_the_hash_of_the_binary_certificate():
    """As openssl prints it; with text around the certificate or not."""
    assert fingerprint_of(f"a comment\n{PEM}") == f"sha256:{hashlib.sha256(DER).hexdigest()}"
    for wrong in ("", PEM + PEM, PEM.replace("A", "!")):
        with pytest.raises(ValueError, match=r"certificate is expected|base64"):
            fingerprint_of(wrong)


def test_fingerprints_are_read_as_people_copy_them():
    """Upper case and colons mean nothing; anything else is none."""
    digits = hashlib.sha256(DER).hexdigest()
    apart = ":".join(digits[i : i + 2] for i in range(0, 64, 2)).upper()
    assert {read_fingerprint(text) for text in (f"sha256:{digits}", f" SHA256:{apart}\n")} == {f"sha256:{digits}"}
    for wrong in ("", digits, f"sha1:{digits}", f"sha256:{digits[1:]}", f"sha256:{digits}0", f"sha256:{'x' * 64}"):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            read_fingerprint(wrong)


def test_the_cause_of_a_failed_handshake_is_found_below_other_errors():
    """Libraries wrap it; what is no matter of trust is told apart, because it may pass."""

    def wrapped(inner: Exception) -> Exception:
        middle, outer = OSError(), ValueError()
        middle.__context__, outer.__cause__ = inner, middle
        return outer

    refused = ssl.SSLCertVerificationError()
    refused.verify_code = 20
    assert distrust_in(wrapped(refused)) is Distrust.UNKNOWN_AUTHORITY
    refused.verify_code = 23  # revoked
    assert distrust_in(wrapped(refused)) is Distrust.UNUSABLE
    assert distrust_in(wrapped(ConnectionResetError())) is None


def test_every_complaint_says_what_to_do():
    """And names the place; an authority that was pinned is not to be replaced lightly."""
    for why in Distrust:
        text = complaint("https://h:1", why, None)
        assert ("https://h:1" in text, "; " in text) == (True, True)
    assert "somebody may be in between" in complaint("https://h:1", Distrust.UNKNOWN_AUTHORITY, "/ca.pem")


def test_loopback_is_what_never_leaves_the_machine():
    hosts = ["127.0.0.1", "127.5.0.1", "::1", "localhost", "0.0.0.0", "::", "", "192.0.2.1", "fd00::1", "x.test"]
    assert [host for host in hosts if is_loopback(host)] == hosts[:4]


def test_base64_of_a_certificate_may_be_broken_anywhere():
    long = base64.b64encode(DER).decode()
    one_line = f"-----BEGIN CERTIFICATE-----\n{long}\n-----END CERTIFICATE-----\n"
    assert fingerprint_of(one_line) == fingerprint_of(PEM)
