"""Who comes in: nonces, tokens, and the two lists."""

import asyncio
import stat

import jwt
import pytest
from sqlalchemy import delete

from horde_facilitator import database
from horde_facilitator.auth import Nonces, Tokens
from horde_facilitator.clock import SECOND
from horde_facilitator.errors import NotAuthenticated, StartError
from horde_facilitator.home import occupied
from horde_facilitator.keyring import Keyring
from horde_facilitator.tables import hotkeys

NOBODY = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"


async def test_a_nonce_logs_in_once_even_when_fifty_try_at_once(served, user):
    """A4: Of fifty parallel logins with one signed nonce exactly one gets a token."""
    body = await user.login_body()
    answers = await asyncio.gather(*(user.http.post("/auth/login", json=body) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert {a.json()["error"] for a in answers if a.status_code == 400} == {"Invalid nonce"}


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"hotkey": ""}, 400, "Missing hotkey"),
        ({"signature": ""}, 400, "Missing signature"),
        ({"nonce": ""}, 400, "Missing nonce"),
        ({"nonce": "1:2:3"}, 400, "Invalid nonce"),
        ({"nonce": "\u00fc"}, 400, "Invalid nonce"),
        ({"hotkey": "nobody"}, 400, "Invalid hotkey or signature"),
        ({"signature": "zz"}, 400, "Invalid hotkey or signature"),
        ({"signature": "00" * 64}, 401, "Invalid signature"),
        ({"hotkey": NOBODY}, 401, "Invalid signature"),
    ],
)
async def test_a_wrong_login_says_what_is_wrong(user, change, status, error):
    """A7: Statuses and texts are those of the original facilitator."""
    answer = await user.http.post("/auth/login", json={**await user.login_body(), **change})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


async def test_a_signature_may_begin_with_0x(user):
    """A6: As other tools print it."""
    body = await user.login_body()
    answer = await user.http.post("/auth/login", json={**body, "signature": "0x" + body["signature"]})
    assert answer.status_code == 200


async def test_a_hotkey_on_no_list_is_refused(served):
    """A7: An unset list admits nobody."""
    stranger = await served.user()
    stranger.hotkey = type(stranger.hotkey).create_from_uri("//stranger")
    answer = await stranger.http.post("/auth/login", json=await stranger.login_body())
    assert (answer.status_code, answer.json()) == (400, {"error": "Hotkey not allowed"})


async def test_a_hotkey_that_is_taken_off_its_list_is_refused_soon(serving, shifted_clock):
    """Its token is still good, but what it asks is answered with 403 a moment later."""
    clock = shifted_clock()
    async with serving(clock) as served:
        user = await served.user()
        assert (await user.get("/api/v1/jobs/")).status_code == 200
        engine = database.engine(served.settings.data / "db.sqlite3")
        with engine.begin() as connection:
            connection.execute(delete(hotkeys).where(hotkeys.c.hotkey == user.hotkey.ss58_address))
        engine.dispose()
        clock.boot_shift_us += 3 * SECOND
        answer = await user.get("/api/v1/jobs/")
        assert answer.status_code == 403
        assert user.hotkey.ss58_address in answer.json()["detail"]


async def test_a_nonce_expires(serving, shifted_clock):
    """A5: Five minutes after it was made a nonce is worth nothing."""
    clock = shifted_clock()
    async with serving(clock) as served:
        user = await served.user()
        body = await user.login_body()
        clock.wall_shift_us += 301 * SECOND
        answer = await user.http.post("/auth/login", json=body)
        assert (answer.status_code, answer.json()) == (400, {"error": "Invalid nonce"})


async def test_every_unusable_token_is_answered_with_the_text_that_clients_know(serving, shifted_clock):
    """A8: Published clients log in again on 'Token expired', and on nothing else."""
    clock = shifted_clock()
    async with serving(clock) as served:
        user = await served.user()
        fresh = user.token
        header, payload, _ = fresh.split(".")
        forged = jwt.encode({"sub": user.hotkey.ss58_address, "exp": 2**40}, "k" * 32, "HS256")
        unsigned = jwt.encode({"sub": user.hotkey.ss58_address, "exp": 2**40}, None, "none")
        for token in ("nonsense", f"{header}.{payload}.", forged, unsigned):
            user.token = token
            answer = await user.get("/api/v1/jobs/")
            assert (answer.status_code, answer.json()) == (401, {"detail": "Token expired."})
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        user.token = fresh
        assert (await user.get("/api/v1/jobs/")).status_code == 200
        clock.wall_shift_us += 3601 * SECOND
        assert (await user.get("/api/v1/jobs/")).json() == {"detail": "Token expired."}


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Authentication credentials were not provided."),
        ("Basic abc", "Authentication credentials were not provided."),
        ("Bearer", "Invalid token header format."),
        ("Bearer a b", "Invalid token header format."),
        (b"Bearer \xfc", "Invalid token header encoding."),
    ],
)
async def test_a_header_that_carries_no_token_is_told_so(served, header, detail):
    """A9: These are mistakes of a program, which another login would not mend."""
    headers = {} if header is None else {"Authorization": header}
    answer = await served.client().get("/api/v1/jobs/", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": detail})


async def test_tokens_outlive_a_restart(serving):
    """The key is kept, so nobody has to log in again."""
    async with serving() as served:
        token = (await served.user()).token
    async with serving() as served:
        user = await served.user()
        user.token = token
        assert (await user.get("/api/v1/jobs/")).status_code == 200


def test_a_new_key_signs_and_an_old_one_is_accepted_until_its_tokens_have_expired(tmp_path):
    """Nobody is logged out by a rotation, also not over a restart; a key that is gone is worth nothing at once."""
    path, lifetime_s = tmp_path / "keys" / "tokens", 60
    keys = Keyring.opened(path, lifetime_s)
    first = keys.signing
    token, nonce = Tokens(keys, lifetime_s).make("me", 0), Nonces(keys, lifetime_s).make(0)
    assert keys.rotate(30 * SECOND) == 2
    assert keys.signing != first
    for ring in (keys, Keyring.opened(path, lifetime_s)):
        assert Tokens(ring, lifetime_s).hotkey(token, 59 * SECOND) == "me"
        assert Nonces(ring, lifetime_s).expiry(nonce, 59 * SECOND) == 60 * SECOND
        assert first in ring.accepted(90 * SECOND)
        assert first not in ring.accepted(91 * SECOND)
    assert keys.rotate(100 * SECOND) == 2
    assert first.hex() not in path.read_text()

    path.write_text(path.read_text().splitlines()[0])
    alone = Keyring.opened(path, lifetime_s)
    with pytest.raises(NotAuthenticated, match="Token expired"):
        Tokens(alone, lifetime_s).hotkey(token, 1)
    assert Nonces(alone, lifetime_s).expiry(nonce, 1) is None


def test_the_key_file_is_private_and_made_once(tmp_path):
    """Made with mode 0600, read again, refused when others may read it."""
    path = tmp_path / "keys" / "tokens"
    key = Keyring.opened(path, 60).signing
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keyring.opened(path, 60).signing == key
    path.chmod(0o644)
    with pytest.raises(StartError, match="0600"):
        Keyring.opened(path, 60)
    path.chmod(0o600)
    for text in ("short", "", "00" * 32 + " soon"):
        path.write_text(text)
        with pytest.raises(StartError):
            Keyring.opened(path, 60)


def test_a_data_directory_serves_one_facilitator(tmp_path):
    """A second one is refused instead of writing beside the first."""
    second = pytest.raises(StartError, match="another facilitator")
    with occupied(tmp_path / "data"), second, occupied(tmp_path / "data"):
        pass
    with occupied(tmp_path / "data"):
        pass
