"""Section A, logging in: what is not told by `test_facilitator_login`. The rules stand in `docs/wire.md`."""

from horde_facilitator.home import Home


async def test_a_nonce_is_for_anybody(served):
    """A1: No credentials are asked for; it is a text that is never the same, and none is given twice."""
    client = served.client()
    nonces = [(await client.get("/auth/nonce")).json()["nonce"] for _ in range(3)]
    assert all(isinstance(nonce, str) and nonce for nonce in nonces)
    assert len(set(nonces)) == 3


async def test_a_signature_over_wrapped_bytes_logs_nobody_in(user):
    """A3: Wallets sign `<Bytes>…</Bytes>` for web pages; only a signature over the nonce itself counts."""
    body = await user.login_body()
    wrapped = user.hotkey.sign(f"<Bytes>{body['nonce']}</Bytes>".encode()).hex()
    answer = await user.http.post("/auth/login", json={**body, "signature": wrapped})
    assert (answer.status_code, answer.json()) == (401, {"error": "Invalid signature"})


async def test_the_constants_that_clients_send_along_mean_nothing(user):
    """A2: `Realm` and `SubnetID` may be there, be missing, or say something else."""
    token = {"Authorization": f"Bearer {user.token}"}
    for more in ({}, {"Realm": "mainnet", "SubnetID": "12"}, {"Realm": "x", "SubnetID": "y"}):
        assert (await user.http.get("/api/v1/jobs/", headers={**token, **more})).status_code == 200


async def test_a_token_of_a_key_that_is_gone_is_one_that_has_expired(serving):
    """A8: After a restart with another key the old token brings the client to log in again, and that works."""
    async with serving() as served:
        old = (await served.user()).token
    Home(served.settings.data).token_keys.unlink()
    async with serving() as served:
        user = await served.user()
        new, user.token = user.token, old
        answer = await user.get("/api/v1/jobs/")
        assert (answer.status_code, answer.json()) == (401, {"detail": "Token expired."})
        user.token = new
        assert (await user.get("/api/v1/jobs/")).status_code == 200
