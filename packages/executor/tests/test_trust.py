"""Whom an executor trusts as its facilitator; real handshakes."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from bittensor_wallet import Keypair

from horde_executor.errors import ExecutorError, FacilitatorError, Untrusted
from horde_executor.facilitator import Facilitator
from horde_facilitator.tls.authority import Pair, issue, make_authority

NOW = datetime.now(UTC)
HOTKEY = Keypair.create_from_uri("//Machine")
BODY = '{"nonce": "n", "token": "t"}'
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n{BODY}"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(65536):
        writer.write(ANSWER.encode())
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def test_a_facilitator_that_never_proved_to_be_the_right_one_is_refused_at_once(tmp_path):
    """One that did gets time to mend its certificate: jobs of its run here."""
    ours, theirs = make_authority(NOW), make_authority(NOW)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(ours.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    def show(authority: Pair) -> None:
        pair = issue(authority, ["127.0.0.1"], NOW)
        (tmp_path / "server.pem").write_bytes(pair.key + pair.certificate)
        context.load_cert_chain(tmp_path / "server.pem")

    show(theirs)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Facilitator.connect(url, HOTKEY, ca) as facilitator:
            with pytest.raises(Untrusted, match=r"not issued by the CA in .*ca\.pem") as refused:
                await facilitator.log_in()
            assert not refused.value.is_transient
            show(ours)
            await facilitator.log_in()
            show(theirs)
            with pytest.raises(FacilitatorError, match="not issued by the CA in") as mended:
                await facilitator.log_in()
            assert mended.value.is_transient


async def test_a_file_that_holds_no_authority_is_named(tmp_path):
    """Before anything is sent."""
    with pytest.raises(ExecutorError, match=r"none\.pem, cannot be used"):
        async with Facilitator.connect("https://127.0.0.1:9", HOTKEY, tmp_path / "none.pem"):
            pass
