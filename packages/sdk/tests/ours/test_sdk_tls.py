"""Whom a client trusts: real handshakes with a facilitator, and with others that pretend to be it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError, blocking
from compute_horde_sdk.v1._errors import UntrustedError
from horde_facilitator.encryption import OwnCertificate
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings
from horde_facilitator.tls.authority import Pair, issue, make_authority

CA = make_authority(datetime.now(UTC))


class Pretender:
    """A server with a certificate of one's choice; it answers every request in the same way."""

    def __init__(self, place: Path, pair: Pair, answer: str = "200 OK") -> None:
        file = place / "pretender.pem"
        file.write_bytes(pair.key + pair.certificate)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(file)
        self.context.sni_callback = self._greeted
        self.handshakes = 0
        self.requests = 0
        self.answer = answer

    def _greeted(self, *_: object) -> None:
        self.handshakes += 1

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(65536):
            self.requests += 1
            writer.write(f"HTTP/1.1 {self.answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    @asynccontextmanager
    async def serving(self, *, tls: bool = True) -> AsyncIterator[str]:
        context = self.context if tls else None
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=context) as server:
            yield f"://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def ca(tmp_path) -> Path:
    """The authority that the client trusts."""
    file = tmp_path / "ca.pem"
    file.write_bytes(CA.certificate)
    return file


def one_for(*names: str, authority: Pair = CA, age: timedelta = timedelta()) -> Pair:
    return issue(authority, names, datetime.now(UTC) - age)


async def test_a_client_that_knows_the_authority_is_served(tmp_path, hotkey):
    """It and its blocking twin; one that does not know it says what to do."""
    admit = {"user": frozenset({hotkey.ss58_address})}
    settings = Settings(tmp_path / "data", port=0, admit=admit, encryption=OwnCertificate())
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, ready=ready.set_result))
    url, file = await ready, tmp_path / "data" / "tls" / "ca.pem"
    try:
        async with ComputeHordeClient(hotkey, "v", facilitator_url=url, facilitator_ca=file) as client:
            assert await client.get_jobs() == []
        assert await asyncio.to_thread(_jobs_of_a_blocking_client, hotkey, url, file) == []
        async with ComputeHordeClient(hotkey, "v", facilitator_url=url) as stranger:
            with pytest.raises(
                ComputeHordeError, match=r"not issued by an authority.*--ca-fingerprint.*COMPUTE_HORDE_CA"
            ):
                await stranger.get_jobs()
    finally:
        task.cancel()
        await asyncio.wait([task])


def _jobs_of_a_blocking_client(hotkey, url: str, ca: Path) -> list:
    with blocking.ComputeHordeClient(hotkey, "v", facilitator_url=url, facilitator_ca=ca) as client:
        return client.get_jobs()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            one_for("127.0.0.1", authority=make_authority(datetime.now(UTC))),
            r"not issued by the CA in .*/ca\.pem; somebody may be in between",
        ),
        (one_for("127.0.0.1", age=timedelta(days=91)), "has expired; its operator has to renew it"),
        (one_for("127.0.0.1", age=-timedelta(days=3)), "not valid yet; set the clocks"),
        (one_for("elsewhere.test", "192.0.2.1"), "is for other names; use an address that it names"),
    ],
    ids=["somebody in between", "expired", "early", "other name"],
)
async def test_a_pretender_gets_no_request_and_is_not_asked_again(tmp_path, hotkey, ca, pair, message):
    """The error says what is wrong and what to do, after the first handshake."""
    pretender = Pretender(tmp_path, pair)
    async with (
        pretender.serving() as place,
        ComputeHordeClient(hotkey, "v", facilitator_url=f"https{place}", facilitator_ca=ca) as client,
    ):
        with pytest.raises(UntrustedError, match=message):
            await client.get_jobs()
    assert (pretender.handshakes, pretender.requests) == (1, 0)


async def test_https_to_a_plain_port_says_so(tmp_path, hotkey):
    """The likeliest mistake in a URL."""
    async with (
        Pretender(tmp_path, one_for("127.0.0.1"), "400 Bad Request").serving(tls=False) as place,
        ComputeHordeClient(hotkey, "v", facilitator_url=f"https{place}") as client,
    ):
        with pytest.raises(UntrustedError, match="speaks no TLS; write http://"):
            await client.get_jobs()


async def test_a_redirect_to_plain_http_is_not_followed(tmp_path, hotkey, ca):
    """Whatever the facilitator says: nothing leaves TLS."""
    plain = Pretender(tmp_path, one_for("127.0.0.1"))
    async with plain.serving(tls=False) as target:
        leading = Pretender(tmp_path, one_for("127.0.0.1"), f"302 Found\r\nLocation: http{target}/")
        async with (
            leading.serving() as place,
            ComputeHordeClient(hotkey, "v", facilitator_url=f"https{place}", facilitator_ca=ca) as client,
        ):
            with pytest.raises(ComputeHordeError, match=r"redirects to http://127.* not encrypted"):
                await client.get_jobs()
    assert (leading.requests, plain.requests) == (1, 0)


async def test_a_file_that_holds_no_authority_is_named(tmp_path, hotkey):
    """Before anything is sent."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file, message in ((empty, "holds no certificate"), (tmp_path / "none.pem", "cannot be read")):
        async with ComputeHordeClient(
            hotkey, "v", facilitator_url="https://127.0.0.1:9", facilitator_ca=file
        ) as client:
            with pytest.raises(ComputeHordeError, match=f"facilitator_ca: {file} {message}"):
                await client.get_jobs()
