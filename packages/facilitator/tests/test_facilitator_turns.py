"""Whose turn it is: owners alternate, then namespaces of an owner; priorities order an owner's own jobs."""

import time
from collections.abc import Sequence

import pytest
from sqlalchemy import Select, insert, text

from horde_facilitator.bus import LocalBus
from horde_facilitator.clock import SECOND, SystemClock
from horde_facilitator.database import Database, Transaction
from horde_facilitator.records import claims, jobs, turns
from horde_facilitator.records.turns import Offer
from horde_facilitator.records.values import Lane
from horde_facilitator.tables import jobs as job_table
from horde_facilitator.tables import requests

GPU = "always_on.gpu-24gb"


async def taken(executor, count: int, **fields) -> list[str]:
    """The next jobs that an executor gets, in their order."""
    return [(await executor.claim(**fields)).job for _ in range(count)]


async def test_owners_with_a_hundred_and_with_two_jobs_alternate(served, executor):
    """Whoever has many jobs waiting does not keep others from their turn."""
    user, other = await served.user(), await served.user("other")
    many = [await user.create() for _ in range(100)]
    few = [await other.create() for _ in range(2)]
    order = await taken(executor, 6)
    assert order == [many[0], few[0], many[1], few[1], many[2], many[3]]


async def test_owners_alternate_over_all_classes_that_an_executor_serves(served, executor):
    """Also when each asks for another class; and who was served elsewhere has had his turn."""
    user, other = await served.user(), await served.user("other")
    mine = [await user.create() for _ in range(3)]
    theirs = [await other.create(executor_class=GPU) for _ in range(2)]
    both = {"classes": ["always_on.test", GPU]}
    assert await taken(executor, 4, **both) == [mine[0], theirs[0], mine[1], theirs[1]]


async def test_an_owner_who_comes_back_waits_for_one_job_only(served, executor):
    """His last turn is longer ago than everybody else's."""
    user, other = await served.user(), await served.user("other")
    theirs = [await other.create() for _ in range(6)]
    assert await taken(executor, 3) == theirs[:3]
    late = await user.create()
    assert await taken(executor, 2) == [late, theirs[3]]


async def test_namespaces_of_an_owner_alternate(user, executor):
    """Each continues behind its own last job; then age decides."""
    many = [await user.create(job_namespace="SN1") for _ in range(5)]
    assert await taken(executor, 2) == many[:2]
    few = [await user.create(job_namespace="SN2") for _ in range(2)]
    assert await taken(executor, 5) == [many[2], few[0], many[3], few[1], many[4]]


async def test_a_priority_orders_the_jobs_of_its_owner_and_nobody_elses(served, executor):
    """A great priority is no way past other people."""
    user, other = await served.user(), await served.user("other")
    low = await user.create(priority=-10)
    plain = await user.create()
    high = await user.create(priority=10)
    theirs = [await other.create() for _ in range(3)]
    assert await taken(executor, 6) == [high, theirs[0], plain, theirs[1], low, theirs[2]]


@pytest.mark.parametrize("priority", [11, -11, "1", 1.5])
async def test_a_priority_out_of_range_is_refused_by_name(user, priority):
    """-10 to 10, whole numbers."""
    answer = await user.post(user.spec(priority=priority))
    assert (answer.status_code, list(answer.json())) == (400, ["priority"])


async def test_a_job_that_is_put_back_is_its_owners_next(served, executor):
    """It keeps its place among his jobs; the turn that it had counts."""
    user, other = await served.user(), await served.user("other")
    mine = [await user.create() for _ in range(2)]
    theirs = await other.create()
    hold = await (await executor.hold()).confirmed()
    assert hold.job == mine[0]
    assert (await hold.give_back()).status_code == 204
    assert await taken(executor, 3) == [theirs, mine[0], mine[1]]


async def test_over_the_limit_of_a_hotkey_jobs_are_rejected_with_the_count(serving):
    """Sent, then rejected, with 201; others are not concerned, and room is made by taking jobs."""
    async with serving(max_queued_per_hotkey=2) as served:
        user, other, executor = await served.user(), await served.user("other"), await served.executor()
        for _ in range(2):
            await user.create()
        answer = await user.post(user.spec())
        job = answer.json()
        assert answer.status_code == 201
        assert [entry["status"] for entry in job["status_history"]] == ["sent", "rejected"]
        outcome = job["horde"]["outcome"]
        assert outcome["reason"] == "queue_limit"
        assert "You have 2 jobs queued, and a hotkey may have 2 here" in outcome["message"]
        details = job["status_history"][-1]["metadata"]["job_rejection_details"]
        assert (details["reason"], details["rejected_by"]) == ("queue_limit", "facilitator")
        assert await other.statuses(await other.create()) == ["sent", "received"]
        assert await executor.claim() is not None
        assert await user.statuses(await user.create()) == ["sent", "received"]


async def test_a_job_may_wait_shorter_than_the_operator_lets_it(served, executor):
    """And not longer; the field is named."""
    user = await served.user()
    assert await executor.claim() is None
    short, usual = await user.create(queue_time_limit=100), await user.create()
    served.clock.wall_shift_us = 101 * SECOND
    job = await user.wait_for(short, "Rejected")
    assert job["horde"]["outcome"]["reason"] == "queue_limit"
    assert "No executor was free for 100 seconds" in job["horde"]["outcome"]["message"]
    assert await user.statuses(usual) == ["sent", "received"]
    answer = await user.post(user.spec(queue_time_limit=86_401))
    assert (answer.status_code, list(answer.json())) == (400, ["queue_time_limit"])


def fill(tx: Transaction, count: int, owners: int, namespaces: int) -> None:
    """Put jobs into the queue as `jobs.create` does, but all at once."""
    now = SystemClock().now().wall_us
    rows = [
        {
            "uuid": f"job-{index}", "owner": f"owner-{index % owners}", "executor_class": "c", "priority": 0,
            "namespace": f"n-{index // owners % namespaces}", "turn": index // owners // namespaces,
            "status": "received", "attempt": 0, "losses": 0, "max_attempts": 3, "begun": False,
            "exposed": False, "shown": 0, "entries": 0, "budget_us": SECOND, "created_us": now,
            "updated_us": now, "queue_until_us": now + SECOND, "deadline_us": now + SECOND,
        }
        for index in range(count)
    ]  # fmt: skip
    tx.connection.execute(insert(job_table), rows)
    tx.connection.execute(
        insert(requests), [{"job": row["uuid"], "head": b"", "echo": b"", "body": b""} for row in rows]
    )


def offer(number: int, classes: Sequence[str] = ("c",)) -> Offer:
    return Offer(f"claim-{number}", "executor", classes, 5 * SECOND, 60 * SECOND, 60 * SECOND)


async def claim_seconds(database: Database, count: int) -> list[float]:
    """How long claims take inside the writer's transaction, without the commit."""

    def run(tx: Transaction) -> list[float]:
        seconds: list[float] = []
        for number in range(count):
            began = time.perf_counter()
            assert claims.claim(tx, offer(number), SystemClock().now()) is not None
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)

    return await database.write(run)


async def test_a_claim_looks_at_the_front_of_the_queue_only(data):
    """However long the queue is: every step is a search in an index, and the work does not grow with the queue."""
    async with Database.opened(data / "db.sqlite3", LocalBus()) as database:
        plans = await database.write(lambda tx: [*plan(tx, turns._owners(2)), *plan(tx, turns._front(2))])
        of_jobs = [step for step in plans if "jobs" in step]
        assert of_jobs
        assert [step for step in of_jobs if not step.startswith("SEARCH jobs USING")] == []
        assert [step for step in of_jobs if "INDEX jobs_queued " not in step] == []

        steps: dict[int, int] = {}
        for size in (30, 20_000):
            await database.write(lambda tx: tx.execute(text("DELETE FROM jobs")))
            await database.write(lambda tx, size=size: fill(tx, size, owners=3, namespaces=5))
            steps[size] = await database.write(instructions)
        assert steps[20_000] <= 2 * steps[30]


def plan(tx: Transaction, query: Select) -> list[str]:
    lanes = {"class_0": "a", "trusted_0": False, "class_1": "a", "trusted_1": True}
    values = {**lanes, "me": "x", "lost_since": 0, "seen_since": 0, "of_owner": "o"}
    bound = query.params({name: value for name, value in values.items() if name in query.compile().params})
    statement = bound.compile(tx.connection.engine, compile_kwargs={"literal_binds": True})
    return [str(row.detail) for row in tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]


def instructions(tx: Transaction) -> int:
    """How many tens of SQLite's instructions a claim and a creation take."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    driver = tx.connection.connection.driver_connection
    driver.set_progress_handler(tick, 10)
    try:
        assert claims.claim(tx, offer(0), SystemClock().now()) is not None
        turns.next_turn(tx.connection, "owner-0", Lane("c"), 0, "n-1")
        jobs.find(tx.connection, "job-1")
    finally:
        driver.set_progress_handler(None, 10)
    return count
