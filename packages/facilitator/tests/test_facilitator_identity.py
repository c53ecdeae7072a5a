"""Who is let in and by whom: the allow-list, refusals, invitations, paced logins, keys, cordons."""

import asyncio

import pytest
from bittensor_wallet import Keypair

from horde_facilitator.clock import SECOND

CLASS = "always_on.test"
CPU = "always_on.cpu.8c.16gb"


def address(name: str) -> str:
    return Keypair.create_from_uri(f"//{name}").ss58_address


ADMITTED = {
    "user": frozenset({address("user")}),
    "executor": frozenset({address("executor"), address("second")}),
    "operator": frozenset({address("operator")}),
}


@pytest.fixture
async def served(serving):
    async with serving(admit=ADMITTED) as facilitator:
        yield facilitator


@pytest.fixture
async def operator(served):
    return await served.user("operator")


async def knock(served, name: str, agent: str = "", invitation: str | None = None):
    """What a hotkey is answered that logs in."""
    somebody = await served.user("operator")
    somebody.hotkey = Keypair.create_from_uri(f"//{name}")
    body = await somebody.login_body()
    path = "/auth/login" if invitation is None else "/auth/redeem"
    more = {} if invitation is None else {"invitation": invitation}
    return await somebody.http.post(path, json={**body, **more}, headers={"User-Agent": agent})


async def pending(operator) -> list[tuple[str, str, int]]:
    answer = await operator.get("/operator/v1/pending")
    assert answer.status_code == 200, answer.text
    return [(it["hotkey"], it["role"], it["times"]) for it in answer.json()["pending"]]


async def invite(operator, **request) -> str:
    answer = await operator.send("POST", "/operator/v1/invitations", json=request)
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


async def test_a_refused_hotkey_is_pending_until_it_is_let_in(served, operator):
    """It is remembered with what it seems to want; once it is admitted it comes in and is pending no more."""
    for _ in range(2):
        answer = await knock(served, "stranger")
        assert (answer.status_code, answer.json()) == (400, {"error": "Hotkey not allowed"})
    await knock(served, "machine", "compute-horde-executor/1.0.0")
    assert await pending(operator) == [(address("machine"), "executor", 1), (address("stranger"), "user", 2)]
    path = f"/operator/v1/hotkeys/{address('stranger')}/user"
    assert (await operator.send("PUT", path)).status_code == 204
    assert (await knock(served, "stranger")).status_code == 200
    assert await pending(operator) == [(address("machine"), "executor", 1)]


async def test_only_the_latest_refusals_are_remembered(serving):
    """However many knock, the list stays short; and a hotkey that nobody proved to own is not on it."""
    async with serving(admit=ADMITTED, pending_hotkeys=2) as served:
        operator = await served.user("operator")
        for name in ("a", "b", "c"):
            await knock(served, name)
        body = {**(await operator.login_body()), "hotkey": address("victim")}
        assert (await operator.http.post("/auth/login", json=body)).status_code == 401
        assert [hotkey for hotkey, _, _ in await pending(operator)] == [address("c"), address("b")]


async def test_a_hotkey_that_was_removed_gets_403_while_its_token_lives(served, operator):
    """A10: 403, not 401: a published client would log in again and again."""
    user = await served.user()
    path = f"/operator/v1/hotkeys/{address('user')}/user"
    assert (await operator.send("DELETE", path)).status_code == 204
    answer = await user.get("/api/v1/jobs/")
    assert (answer.status_code, address("user") in answer.json()["detail"]) == (403, True)
    assert (await operator.send("DELETE", path)).status_code == 404


async def test_the_only_operator_cannot_be_removed(operator):
    """Or nobody could let anybody in."""
    answer = await operator.send("DELETE", f"/operator/v1/hotkeys/{address('operator')}/operator")
    assert (answer.status_code, "only operator" in answer.text) == (400, True)
    assert (await operator.send("PUT", f"/operator/v1/hotkeys/{address('b')}/operator")).status_code == 204
    answer = await operator.send("DELETE", f"/operator/v1/hotkeys/{address('operator')}/operator")
    assert answer.status_code == 204
    assert (await operator.get("/operator/v1/hotkeys")).status_code == 403


@pytest.mark.parametrize(("path", "status"), [("nobody/user", 400), (f"{address('a')}/king", 400)])
async def test_what_is_no_hotkey_or_no_role_is_not_admitted(operator, path, status):
    assert (await operator.send("PUT", f"/operator/v1/hotkeys/{path}")).status_code == status


async def test_operators_alone_use_the_operator_api(served):
    """Every one of its routes answers 403 to users and executors, and 401 to those without a token."""
    user, executor = await served.user(), await served.executor()
    document = (await user.http.get("/api/openapi.json")).json()
    routes = [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        if path.startswith("/operator/")
        for method in methods
    ]
    assert len(routes) >= 10
    for method, template in routes:
        path = template.format_map(_Filled())
        for person in (user, executor):
            assert (await person.send(method, path, json={})).status_code == 403, (method, path)
        assert (await user.http.request(method, path, json={})).status_code == 401, (method, path)


class _Filled(dict):
    def __missing__(self, key: str) -> str:
        return {"hotkey": address("executor"), "role": "user"}.get(key, "1")


async def test_an_invitation_lets_in_as_many_as_it_says(served, operator):
    """Each once; a repeat by somebody who is in already uses up nothing."""
    token = await invite(operator, role="user", count=2)
    for name in ("ann", "ann", "bob", "ann"):
        assert (await knock(served, name, invitation=token)).status_code == 200
    answer = await knock(served, "eve", invitation=token)
    assert (answer.status_code, "used up" in answer.json()["error"]) == (400, True)
    assert (await knock(served, "ann")).status_code == 200
    assert (await knock(served, "eve")).status_code == 400
    answer = await knock(served, "eve", invitation="guessed")
    assert (answer.status_code, "unknown" in answer.json()["error"]) == (400, True)


async def test_one_place_is_not_given_to_two_who_come_at_once(served, operator):
    """Twenty hotkeys redeem an invitation for one at the same moment: one is let in."""
    token = await invite(operator, count=1)
    answers = await asyncio.gather(*(knock(served, f"n{number}", invitation=token) for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_an_invitation_expires(serving, shifted_clock):
    """After its time it lets nobody in, but whoever is in may still present it, as a unit file does."""
    clock = shifted_clock()
    async with serving(clock, admit=ADMITTED) as served:
        operator = await served.user("operator")
        token = await invite(operator, count=2, expires_s=60)
        assert (await knock(served, "ann", invitation=token)).status_code == 200
        clock.wall_shift_us += 61 * SECOND
        assert (await knock(served, "bob", invitation=token)).status_code == 400
        assert (await knock(served, "ann", invitation=token)).status_code == 200


async def test_an_enrolled_executor_serves_the_classes_of_its_invitation_alone(served, operator):
    """Whatever it offers."""
    token = await invite(operator, role="executor", classes=[CPU])
    assert (await knock(served, "bound", invitation=token)).status_code == 200
    bound, user = await served.executor("bound"), await served.user()
    await user.create(executor_class=CLASS)
    wanted = await user.create(executor_class=CPU)
    hold = await bound.claim(classes=[CLASS, CPU])
    assert hold is not None
    assert hold.job == wanted
    assert await bound.claim(classes=[CLASS, CPU]) is None
    answer = await operator.send("POST", "/operator/v1/invitations", json={"role": "executor", "classes": ["x"]})
    assert (answer.status_code, "x" in answer.text) == (400, True)


async def test_logins_of_a_hotkey_are_paced(serving, shifted_clock):
    """429 with Retry-After beyond the burst, for this hotkey alone; and nobody can use up another one's logins."""
    clock = shifted_clock()
    async with serving(clock, admit=ADMITTED, login_burst=4, login_per_s=0.1) as served:
        user, other = await served.user(), await served.user("operator")
        for _ in range(9):
            forged = {**await other.login_body(), "hotkey": address("user")}
            assert (await other.http.post("/auth/login", json=forged)).status_code == 401
        for _ in range(3):
            await user.login()
        answer = await user.http.post("/auth/login", json=await user.login_body())
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        await other.login()
        clock.boot_shift_us += 10 * SECOND
        await user.login()


async def test_logins_from_an_address_are_paced(serving):
    """Also those that fail, since each costs the check of a signature."""
    async with serving(admit=ADMITTED, peer_login_burst=5, peer_login_per_s=0.01) as served:
        http = served.client()
        answers = [await http.post("/auth/login", json={}) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [400] * 5 + [429]


async def test_a_rotation_logs_nobody_out(serving, shifted_clock):
    """Tokens of the old key are taken until they expire, then answered as every token that has expired."""
    clock = shifted_clock()
    async with serving(clock, admit=ADMITTED) as served:
        operator, user = await served.user("operator"), await served.user()
        answer = await operator.send("POST", "/operator/v1/keys/rotate")
        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
        old = user.token
        await user.login()
        for token in (old, user.token):
            user.token = token
            assert (await user.get("/api/v1/jobs/")).status_code == 200
        clock.wall_shift_us += 3601 * SECOND
        user.token = old
        answer = await user.get("/api/v1/jobs/")
        assert (answer.status_code, answer.json()) == (401, {"detail": "Token expired."})


async def entry(operator, name: str) -> dict:
    answer = await operator.get("/operator/v1/executors")
    assert answer.status_code == 200, answer.text
    return next(it for it in answer.json()["executors"] if it["hotkey"] == address(name))


async def lose(executor, failure) -> None:
    hold = await (await executor.hold()).confirmed()
    assert (await hold.outcome(outcome=failure("executor_error", "prepare"))).status_code == 204


async def test_three_losses_in_a_row_cordon_an_executor(served, operator, failure):
    """It gets no more jobs, operators see why, and another executor gets them."""
    user, executor, second = await served.user(), await served.executor(), await served.executor("second")
    job = await user.create()
    for _ in range(3):
        await lose(executor, failure)
    seen = await entry(operator, "executor")
    assert (seen["losses"], job in seen["cordoned"], seen["version"]) == (3, True, "1.0.0")
    waiting = await user.create()
    assert await executor.claim() is None
    assert (await second.hold()).job == waiting
    assert (await entry(operator, "second"))["running"] == [waiting]


async def test_a_result_ends_the_row(served, operator, failure):
    """Two losses, a result, two losses: no cordon. What is no fault of the executor's is no loss at all."""
    user, executor = await served.user(), await served.executor()
    for losses in (2, 2):
        await user.create()
        for _ in range(losses):
            await lose(executor, failure)
        await (await executor.hold()).run()
    await user.create()
    for _ in range(3):
        hold = await (await executor.hold()).confirmed()
        assert (await hold.outcome(outcome=failure("image_unreachable", "prepare"))).status_code == 204
    assert (await entry(operator, "executor"))["cordoned"] is None


async def test_a_cordoned_executor_finishes_what_it_runs_and_hears_at_once_that_it_is_back(served, operator):
    """A cordon takes nothing away; the end of it wakes a claim that waits."""
    user, executor = await served.user(), await served.executor()
    first = await user.create()
    hold = await (await executor.claim(5, claim_id="c")).confirmed()
    path = f"/operator/v1/executors/{address('executor')}/cordon"
    assert (await operator.send("PUT", path, json={"why": "new disk"})).status_code == 204
    assert (await entry(operator, "executor"))["cordoned"] == "new disk"
    assert (await executor.claim(claim_id="c")).job == first
    await hold.run()
    await user.wait_for(first, "Completed")
    second = await user.create()
    waiting = asyncio.create_task(executor.hold(wait_s=15))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    assert (await operator.send("DELETE", path)).status_code == 204
    assert (await asyncio.wait_for(waiting, 5)).job == second


async def test_a_removed_executor_is_refused_and_its_job_goes_on_elsewhere(served, operator):
    """At once, without waiting for its lease, and it counts as no loss."""
    user, executor, second = await served.user(), await served.executor(), await served.executor("second")
    job = await user.create(max_attempts=1)
    hold = await (await executor.hold()).confirmed()
    path = f"/operator/v1/executors/{address('executor')}"
    assert (await operator.send("DELETE", path)).status_code == 204
    assert {answer.status_code for answer in (await hold.every_request()).values()} == {403}
    again = await second.hold()
    assert (again.job, again.attempt) == (job, 2)
    assert (await operator.send("DELETE", path)).status_code == 404
