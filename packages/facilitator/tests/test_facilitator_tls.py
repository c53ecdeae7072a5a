"""HTTPS: what is served, to whom, and over the renewals of its certificate. Real handshakes, real certificates."""

import asyncio
import os
import socket
import ssl
import stat
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from horde_core.trust import authority_in
from horde_facilitator.encryption import GivenCertificate, OwnCertificate, by_default
from horde_facilitator.errors import StartError
from horde_facilitator.tls.authority import AUTHORITY_LIFE, Pair, is_good, issue, make_authority, names_in
from horde_facilitator.tls.names import is_name, names_of, reached_as

DAY_US = 86_400_000_000


def trusting(ca: Path) -> ssl.SSLContext:
    """A client that trusts this CA alone, and is as strict as the newest Python."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(url: str, context: ssl.SSLContext, name: str) -> x509.Certificate:
    """What the server shows to a client that means `name`; the connection itself goes to loopback."""
    with (
        socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


async def shown(served, name: str = "127.0.0.1") -> x509.Certificate:
    """The certificate that the next connection gets, whatever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await asyncio.to_thread(handshake, served.url, context, name)


async def test_off_loopback_only_https_is_spoken(serving, data):
    """By an own CA, for every name of this machine; old TLS and plain requests end at once; keys are private."""
    async with serving(host="0.0.0.0") as served:
        assert served.url.startswith("https://0.0.0.0:")
        trusted = trusting(data / "tls" / "ca.pem")
        for name in ("127.0.0.1", "::1", "localhost", socket.gethostname(), *names_of("0.0.0.0", ())):
            await asyncio.to_thread(handshake, served.url, trusted, name)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'elsewhere\.test'"):
            await asyncio.to_thread(handshake, served.url, trusted, "elsewhere.test")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError, match=r"ALERT_PROTOCOL_VERSION|EOF|reset by peer"):  # as the end arrives
            await asyncio.to_thread(handshake, served.url, old, "localhost")

        async with httpx2.AsyncClient(timeout=5) as plain:
            with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
                await plain.get(served.url.replace("https://0.0.0.0", "http://127.0.0.1") + "/healthz")
        user = await served.user()
        uuid = await user.create()
        assert (await user.job(uuid))["status"] == "Received"
        assert (await user.http.get("/ca.pem")).text == (data / "tls" / "ca.pem").read_text()
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (data / "tls").iterdir()}
    assert (modes, stat.S_IMODE((data / "tls").stat().st_mode)) == ({0o600}, 0o700)


async def another(served, certificate: x509.Certificate) -> x509.Certificate | None:
    """The certificate that is shown now, if it is not this one."""
    found = await shown(served)
    return None if found == certificate else found


async def test_a_renewal_shows_in_the_next_handshake_and_ends_no_stream(serving, shifted_clock, data, wait_until):
    """A stream that was opened before it says what happens after it, and the CA stays the same."""
    clock = shifted_clock()
    async with serving(clock, encryption=OwnCertificate(), certificate_s=0.02) as served:
        ca = (data / "tls" / "ca.pem").read_text()
        first = await shown(served)
        user = await served.user()
        uuid = await user.create()
        async with user.watch({uuid: 0}) as events:
            assert (await anext(events))["job"] == uuid
            clock.wall_shift_us = 61 * DAY_US
            renewed = await wait_until("a new certificate", lambda: another(served, first))
            clock.wall_shift_us = 0
            await user.cancel(uuid)
            assert (await anext(events))["job"] == uuid
        assert renewed.not_valid_after_utc - first.not_valid_after_utc >= timedelta(days=60)
        assert (data / "tls" / "ca.pem").read_text() == ca
        renewed.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode()))


def test_a_certificate_is_renewed_a_month_before_its_end_and_never_outlives_its_authority():
    """And at once when it has other names, another CA, or lies in the future."""
    now = datetime.now(UTC)
    ca, other = make_authority(now), make_authority(now)
    chain = issue(ca, ["a.test"], now).certificate
    good = [day for day in (-2, 0, 59, 61) if is_good(chain, ca, ["a.test"], now + timedelta(days=day))]
    assert good == [0, 59]
    assert not is_good(chain, ca, ["a.test", "b.test"], now)
    assert not is_good(chain, other, ["a.test"], now)
    late = now + AUTHORITY_LIFE - timedelta(days=9)
    last = issue(ca, ["a.test"], late).certificate
    leaf, authority = x509.load_pem_x509_certificates(last)
    assert leaf.not_valid_after_utc == authority.not_valid_after_utc
    assert is_good(last, ca, ["a.test"], late)
    assert b"PRIVATE" not in last


async def test_the_authority_outlives_restarts_and_new_names_get_a_new_certificate(serving, data):
    """Executors know it by its fingerprint, so only what it issued may change."""
    found = []
    for names in ((), (), ("horde.example", "192.0.2.77")):
        async with serving(encryption=OwnCertificate(names)) as served:
            found.append((authority_in((data / "tls" / "ca.pem").read_text()), await shown(served)))
    (ca, one), (same_ca, same), (still_ca, other) = found
    assert (ca, one) == (same_ca, same)
    assert (ca, one) != (still_ca, other)
    assert ca == still_ca
    assert {"horde.example", "192.0.2.77"} <= set(names_in(other))


async def test_an_authority_that_cannot_be_used_is_named(serving, data):
    """Nothing is made in its place by itself: everybody would have to be let in anew."""
    async with serving(encryption=OwnCertificate()):
        pass
    file = data / "tls" / "authority.pem"
    file.chmod(0o640)
    with pytest.raises(StartError, match=r"authority\.pem can be read by others; set its mode to 0600"):
        async with serving(encryption=OwnCertificate()):
            pass
    file.chmod(0o600)
    other = make_authority(datetime.now(UTC))
    file.write_bytes(other.key + (data / "tls" / "ca.pem").read_bytes())
    with pytest.raises(StartError, match=r"does not belong to its key.*restore that file"):
        async with serving(encryption=OwnCertificate()):
            pass


class Given:
    """Files as an operator has them from elsewhere."""

    def __init__(self, place: Path) -> None:
        self.authority = make_authority(datetime.now(UTC))
        self.chain, self.key = place / "fullchain.pem", place / "privkey.pem"
        self.setting = GivenCertificate(self.chain, self.key)

    def write(self, *names: str, at: datetime | None = None, with_ca: bool = False) -> Pair:
        pair = issue(self.authority, names, at or datetime.now(UTC))
        own = pair.certificate.removesuffix(self.authority.certificate)
        for file, content in ((self.key, pair.key), (self.chain, pair.certificate if with_ca else own)):
            draft = file.with_suffix(".new")
            draft.touch(mode=0o600)
            draft.write_bytes(content)
            draft.replace(file)
        return pair


@pytest.fixture
def given(tmp_path) -> Given:
    found = Given(tmp_path)
    found.write("horde.example", "localhost")
    return found


async def test_a_given_certificate_is_served_and_followed(serving, data, given, wait_until, caplog):
    """On loopback too; the URL has a name of it; new files are taken up, a pair that does not fit is not."""
    ca = data / "public.pem"
    ca.write_bytes(given.authority.certificate)
    async with serving(encryption=given.setting, certificate_s=0.02) as served:
        assert served.url.startswith("https://localhost:")
        first = await asyncio.to_thread(handshake, served.url, trusting(ca), "horde.example")
        assert (await served.client().get("/ca.pem")).status_code == 404
        assert not (data / "tls" / "ca.pem").exists()
        given.key.write_bytes(make_authority(datetime.now(UTC)).key)
        await wait_until("a complaint", lambda: asyncio.to_thread(lambda: "does not match" in caplog.text))
        assert await asyncio.to_thread(handshake, served.url, trusting(ca), "horde.example") == first
        given.write("horde.example")
        await wait_until("the new certificate", lambda: another(served, first))
        await asyncio.to_thread(handshake, served.url, trusting(ca), "horde.example")


async def test_a_chain_with_its_root_tells_whom_to_trust(serving, data, given):
    """So a company's CA is known by its fingerprint, like an own one."""
    given.write("localhost", with_ca=True)
    async with serving(encryption=given.setting) as served:
        ca = (await served.client().get("/ca.pem")).text
        assert ca.encode() == given.authority.certificate == (data / "tls" / "ca.pem").read_bytes()
        await asyncio.to_thread(handshake, served.url, trusting(data / "tls" / "ca.pem"), "localhost")


def encrypted(given: Given) -> None:
    key = serialization.load_pem_private_key(given.key.read_bytes(), None)
    best = serialization.BestAvailableEncryption(b"secret")
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    given.key.write_bytes(key.private_bytes(*form, best))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda it: it.chain.unlink(), r"fullchain\.pem cannot be read: No such file"),
        (lambda it: it.key.unlink(), r"privkey\.pem cannot be read: No such file"),
        (lambda it: it.key.chmod(0o644), r"privkey\.pem can be read by others; set its mode to 0600"),
        (lambda it: it.chain.write_text("nothing"), r"fullchain\.pem holds no certificate"),
        (lambda it: it.key.write_text("nothing"), r"privkey\.pem holds no private key"),
        (encrypted, r"privkey\.pem is encrypted; give one without a passphrase"),
        (lambda it: it.key.write_bytes(it.authority.key), "does not match the certificate"),
        (lambda it: it.write("a.test", at=datetime.now(UTC) - timedelta(days=91)), r"expired on .*; renew it"),
        (lambda it: it.write("a.test", at=datetime.now(UTC) + timedelta(days=2)), "not valid before"),
        (
            lambda it: it.chain.write_bytes(it.chain.read_bytes() + make_authority(datetime.now(UTC)).certificate),
            "are no chain; put the server's own first",
        ),
    ],
)
async def test_a_given_certificate_that_clients_would_refuse_is_refused_at_the_start(
    serving, given, spoil, message
):
    """With the file and what to do."""
    spoil(given)
    with pytest.raises(StartError, match=message):
        async with serving(encryption=given.setting):
            pass


def test_what_leaves_the_machine_is_encrypted_by_default():
    """Only loopback is plain."""
    plain = [host for host in HOSTS if not isinstance(by_default(host), OwnCertificate)]
    assert plain == ["127.0.0.1", "127.5.0.1", "::1", "localhost"]


HOSTS = ["127.0.0.1", "127.5.0.1", "::1", "localhost", "0.0.0.0", "::", "", "192.0.2.1", "fd00::1", "localhost.x"]


def test_the_url_has_a_host_that_the_certificate_names():
    """The address that is listened on if possible, else one of this machine, else the first plain name."""
    assert reached_as("0.0.0.0", ["x.test", "127.0.0.1"]) == "0.0.0.0"
    assert reached_as("0.0.0.0", ["x.test", "localhost"]) == "localhost"
    assert reached_as("127.0.0.1", ["x.test", "localhost"]) == "localhost"
    assert reached_as("192.0.2.1", ["localhost", "192.0.2.1"]) == "192.0.2.1"
    assert reached_as("192.0.2.1", ["*.x.test", "y.test"]) == "y.test"
    assert reached_as("192.0.2.1", ["*.x.test"]) == "192.0.2.1"


def test_names_are_hosts_and_addresses():
    """What a certificate cannot be made out to is none."""
    assert [name for name in ("a", "a.b", "*.a.b", "1.2.3.4", "fd00::1") if not is_name(name)] == []
    assert [
        name for name in ("", "a b", "a..b", "a/b", "http://a", "ä.test", "a.*", "x" * 64) if is_name(name)
    ] == []
    assert names_of("192.0.2.9", ("B.test.", "FD00:0::1"))[:3] == ("b.test", "fd00::1", "192.0.2.9")
    assert os.uname().nodename.lower() in names_of("0.0.0.0", ())
