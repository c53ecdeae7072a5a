"""Payment over the API: what is reserved, what is missing, and what an operator sees and decides."""

import sqlite3
from contextlib import closing

import pytest

from horde_facilitator.clock import SECOND

CLASS = "always_on.test"
PRICE = 60_000  # the limits of a job of the fixtures: 10 + 20 + 30 seconds


@pytest.fixture
def priced(serving):
    """Starts a facilitator whose user `other` is its operator, too."""

    def start(**settings):
        from bittensor_wallet import Keypair

        address = {
            name: Keypair.create_from_uri(f"//{name}").ss58_address for name in ("user", "other", "executor")
        }
        admit = {
            "user": frozenset({address["user"], address["other"]}),
            "operator": frozenset({address["other"]}),
            "executor": frozenset({address["executor"]}),
        }
        return serving(admit=admit, **settings)

    return start


async def allow(operator, user, cap: int, refill_per_hour: int = 0) -> None:
    body = {"cap": cap, "refill_per_hour": refill_per_hour}
    path = f"/operator/v1/allowances/{user.hotkey.ss58_address}/{CLASS}"
    answer = await operator.send("PUT", path, json=body)
    assert answer.status_code == 204, answer.text


async def own(user) -> dict:
    answer = await user.get("/api/v1/usage/")
    assert answer.status_code == 200, answer.text
    return next(line for line in answer.json()["classes"] if line["executor_class"] == CLASS)


async def proved(operator) -> dict:
    answer = await operator.get("/operator/v1/ledger/check")
    assert answer.status_code == 200, answer.text
    assert answer.json()["problems"] == []
    return answer.json()


async def test_a_job_is_reserved_for_at_its_creation_and_settled_when_it_completes(priced):
    """Without an allowance nobody is limited, but what was used shows."""
    async with priced() as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        assert (await operator.send("PUT", f"/operator/v1/classes/{CLASS}", json={"weight": 2500})).is_success
        uuid = await user.create()
        job = await user.job(uuid)
        assert (job["horde"]["price"], job["horde"]["payment"]) == (150_000, "reserved")
        assert (await own(user))["reserved"] == 150_000
        await (await executor.hold()).run()
        assert (await user.job(uuid))["horde"]["payment"] == "settled"
        line = await own(user)
        assert line == {
            "executor_class": CLASS,
            "weight": 2500,
            "jobs": 1,
            "settled": 150_000,
            "reserved": 0,
            "allowance": None,
        }
        found = await proved(operator)
        assert (found["settled"], found["reserved"], found["entries"]) == (150_000, 0, 2)
        by = await operator.get("/operator/v1/usage", params={"by": "executor"})
        expected = {"name": executor.hotkey.ss58_address, "executor_class": CLASS, "jobs": 1, "settled": 150_000}
        assert by.json()["lines"] == [expected]
        later = await operator.get("/operator/v1/usage", params={"by": "hotkey", "since": "2999-01-01T00:00:00Z"})
        assert later.json()["lines"] == []


async def test_a_streaming_start_limit_costs_nothing_where_nothing_streams(priced):
    """The client always sends one."""
    async with priced() as served:
        user = await served.user()
        job = await user.job(await user.create(streaming_start_time_limit=500))
        assert job["horde"]["price"] == PRICE


async def test_too_little_allowance_is_a_rejection_that_says_how_much_is_missing(priced):
    """201 with sent, rejected; nothing is reserved, nobody gets the job, a repeated request gives the same job."""
    async with priced() as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        await allow(operator, user, 100_000)
        taken = await user.create()
        body = user.spec()
        headers = user.signed(body)
        answer = await user.post(body, headers)
        assert answer.status_code == 201
        job = answer.json()
        assert [entry["status"] for entry in job["status_history"]] == ["sent", "rejected"]
        details = job["status_history"][-1]["metadata"]["job_rejection_details"]
        assert details["reason"] == "no_allowance"
        assert "20 are missing" in details["message"]
        assert (job["horde"]["price"], job["horde"]["payment"]) == (PRICE, None)
        assert (await user.post(body, headers)).json()["uuid"] == job["uuid"]
        assert (await own(user))["allowance"]["available"] == 40_000
        assert (await executor.hold()).job == taken
        assert await executor.claim() is None
        await proved(operator)


async def test_a_price_is_held_over_all_attempts_and_comes_back_when_the_horde_failed(priced, failure):
    """Three losses by executors that give up: one reservation, one release, and the allowance is whole again."""
    async with priced() as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        await allow(operator, user, PRICE)
        uuid = await user.create(max_attempts=2)
        for _ in range(2):
            assert (await own(user))["allowance"]["available"] == 0
            hold = await (await executor.hold()).confirmed()
            await hold.events(0, "executor_ready", "volumes_ready")
            assert (await hold.outcome(outcome=failure("executor_error"))).status_code == 204
        assert (await user.job(uuid))["horde"]["payment"] == "released"
        allowance = (await own(user))["allowance"]
        assert (allowance["available"], allowance["held"]) == (PRICE, 0)
        assert (await proved(operator))["entries"] == 3


async def test_time_refills_an_allowance_up_to_its_cap(priced, shifted_clock):
    """What was settled comes back by the hour, and no more than the cap."""
    clock = shifted_clock()
    async with priced(clock=clock) as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        await allow(operator, user, PRICE, refill_per_hour=30_000)
        await user.create()
        await (await executor.hold()).run()
        assert (await own(user))["allowance"]["available"] < 1000
        clock.wall_shift_us += 3600 * SECOND
        await user.login()
        assert 30_000 <= (await own(user))["allowance"]["available"] < 31_000
        clock.wall_shift_us += 30 * 3600 * SECOND
        await user.login()
        await operator.login()
        assert (await own(user))["allowance"]["available"] == PRICE
        body = user.spec()
        created = await user.post(body, user.signed(body, clock.now().wall_us * 1000))
        assert created.json()["status"] == "Received"
        await proved(operator)


async def test_an_operator_changes_adds_to_and_ends_an_allowance(priced):
    """A lower cap takes away at once; a grant may go above the cap; without an allowance there is no limit."""
    async with priced() as served:
        user, operator = await served.user(), await served.user("other")
        path = f"/operator/v1/allowances/{user.hotkey.ss58_address}/{CLASS}"
        await allow(operator, user, 100_000)
        await allow(operator, user, 50_000)
        assert (await own(user))["allowance"]["available"] == 50_000
        granted = await operator.send("POST", f"{path}/grant", json={"amount": 20_000})
        assert granted.json()["available"] == 70_000
        taken = await operator.send("POST", f"{path}/grant", json={"amount": -500_000})
        assert taken.json()["available"] == 0
        assert (await user.job(await user.create()))["status"] == "Rejected"
        listed = (await operator.get("/operator/v1/allowances")).json()["allowances"]
        assert [(line["hotkey"], line["cap"]) for line in listed] == [(user.hotkey.ss58_address, 50_000)]
        assert (await operator.send("DELETE", path)).status_code == 204
        assert (await operator.send("DELETE", path)).status_code == 404
        assert (await operator.send("POST", f"{path}/grant", json={"amount": 1})).status_code == 404
        assert (await user.job(await user.create()))["status"] == "Received"
        await proved(operator)


async def test_a_job_that_was_reserved_under_an_allowance_ends_well_without_it(priced):
    """The ledger still adds up when the allowance was ended meanwhile, and another one begins whole."""
    async with priced() as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        await allow(operator, user, PRICE)
        await user.create()
        path = f"/operator/v1/allowances/{user.hotkey.ss58_address}/{CLASS}"
        assert (await operator.send("DELETE", path)).status_code == 204
        await allow(operator, user, PRICE)
        await (await executor.hold()).run()
        allowance = (await own(user))["allowance"]
        assert (allowance["available"], allowance["held"]) == (PRICE, 0)
        await proved(operator)


async def test_a_default_allowance_limits_everybody_whom_nobody_gave_more(priced):
    """It opens with the first job, outlives a restart, and what it gave follows it when it changes."""
    path = "/operator/v1/allowances/default"
    async with priced() as served:
        user, operator = await served.user(), await served.user("other")
        assert (await operator.send("PUT", path, json={"cap": PRICE})).status_code == 204
        assert (await operator.get("/operator/v1/allowances")).json()["default"]["cap"] == PRICE
        assert (await own(user))["allowance"]["available"] == PRICE
        assert (await user.job(await user.create()))["status"] == "Received"
        assert (await user.job(await user.create()))["status"] == "Rejected"
        await allow(operator, operator, 3 * PRICE)
        assert (await own(operator))["allowance"]["by_default"] is False
    async with priced() as served:
        user, operator = await served.user(), await served.user("other")
        assert (await own(user))["allowance"]["cap"] == PRICE
        assert (await operator.send("PUT", path, json={"cap": 0})).status_code == 204
        assert (await own(user))["allowance"]["cap"] == 0
        assert (await user.job(await user.create()))["status"] == "Rejected"
        assert (await operator.job(await operator.create()))["status"] == "Received"
        for _ in range(2):
            assert (await operator.send("DELETE", path)).status_code == 204
        assert (await operator.get("/operator/v1/allowances")).json()["default"] is None
        assert (await own(user))["allowance"] is None
        assert (await user.job(await user.create()))["status"] == "Received"
        await proved(operator)


async def test_only_operators_see_and_change_what_others_have(priced):
    """Every other caller gets a 403, and sees nothing but their own."""
    async with priced() as served:
        user, operator, executor = await served.user(), await served.user("other"), await served.executor()
        path = f"/operator/v1/allowances/{user.hotkey.ss58_address}/{CLASS}"
        for caller in (user, executor):
            for method, url, body in [
                ("GET", "/operator/v1/usage", None),
                ("GET", "/operator/v1/allowances", None),
                ("PUT", path, {"cap": 1}),
                ("POST", f"{path}/grant", {"amount": 1}),
                ("DELETE", path, None),
                ("PUT", "/operator/v1/allowances/default", {"cap": 1}),
                ("DELETE", "/operator/v1/allowances/default", None),
                ("GET", "/operator/v1/ledger/check", None),
            ]:
                assert (await caller.send(method, url, json=body)).status_code == 403, url
        await user.create()
        assert (await own(operator))["reserved"] == 0
        assert (await operator.send("PUT", path + "x", json={"cap": 1})).status_code == 400
        assert (await operator.send("PUT", path, json={"cap": -1})).status_code == 400
        assert (await user.get("/api/v1/usage/", params={"since": "yesterday"})).status_code == 400


async def test_the_ledger_cannot_be_changed_and_a_change_behind_its_back_is_found(priced, data):
    """The store refuses updates and deletions; whoever removes that guard is found out by the check."""
    async with priced() as served:
        user, executor, operator = await served.user(), await served.executor(), await served.user("other")
        await user.create()
        await (await executor.hold()).run()
        await proved(operator)
        with closing(sqlite3.connect(data / "db.sqlite3")) as store:
            for change in ("UPDATE ledger SET amount = 1", "DELETE FROM ledger"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    store.execute(change)
            with store:
                store.execute("DROP TRIGGER ledger_without_update")
                store.execute("UPDATE ledger SET amount = 1 WHERE kind = 'settle'")
        found = (await operator.get("/operator/v1/ledger/check")).json()
        assert len(found["problems"]) == 2
