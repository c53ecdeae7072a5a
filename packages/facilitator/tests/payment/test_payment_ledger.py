"""Random users, executors and accidents against the real application: the ledger adds up exactly, always.

Time is moved by hand, and the reconciler looks when it has moved.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from bittensor_wallet import Keypair
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from horde_facilitator.app import create_app, running
from horde_facilitator.clock import SECOND, Now
from horde_facilitator.reconciler import Reconciler
from horde_facilitator.settings import Settings

CLASS, OTHER_CLASS = "always_on.test", "always_on.cpu.8c.16gb"
OWNERS = ("user", "other")
EXECUTORS = ("executor", "second")
WEIGHTS = {OTHER_CLASS: 2500}
JOBS = 500
ADMIT = {
    "user": frozenset(Keypair.create_from_uri(f"//{name}").ss58_address for name in OWNERS),
    "operator": frozenset({Keypair.create_from_uri("//other").ss58_address}),
    "executor": frozenset(Keypair.create_from_uri(f"//{name}").ss58_address for name in EXECUTORS),
}
LIMITS = st.integers(0, 60)
WHEN_FAILED = [
    ("image_not_found", "prepare"),
    ("download_failed", "download"),
    ("timeout", "download"),
    ("command_not_found", "execution"),
    ("nonzero_return_code", "execution"),
    ("out_of_memory", "execution"),
    ("upload_failed", "upload"),
    ("executor_error", "execution"),
    ("image_unreachable", "prepare"),
]
PAID = {"nonzero_return_code", "out_of_memory", "upload_failed"}
"""Failures that are the job's fault after its code ran."""
HORDES_OWN = {"executor_error", "image_unreachable"}


class HandClock:
    """Time that passes only when it is told to; and a little with each look, as clocks do."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000
        self.looks = 0

    def now(self) -> Now:
        self.looks += 1
        us = self.seconds * SECOND + self.looks
        return Now(us, us)


class Held:
    """An attempt in the hands of the test, and what it has said."""

    def __init__(self, hold: Any) -> None:
        self.hold = hold
        self.said = 0

    @property
    def runs(self) -> bool:
        """Whether the user's code has begun."""
        return self.said == 2


class Payments(RuleBasedStateMachine):
    """Two owners, two executors. What should have been paid is counted here, apart from the ledger."""

    place: ClassVar[Callable[[], Path]]
    people: ClassVar[Any]
    created: ClassVar[int] = 0
    ends: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.clock = HandClock()
        self.jobs: dict[str, tuple[str, int]] = {}
        self.held: dict[str, Held] = {}
        self.settled: Counter[str] = Counter()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(caps=st.tuples(*[st.none() | st.integers(0, 3_000_000)] * 2), refill=st.integers(0, 200_000))
    def open(self, caps: tuple[int | None, int | None], refill: int) -> None:
        """Each owner has no limit, or an allowance for one class."""
        self.do(self._open(caps, refill))

    async def _open(self, caps: tuple[int | None, ...], refill: int) -> None:
        place = type(self).place()
        used = Settings(place, admit=ADMIT, tick_s=10**6, token_s=10**8)
        parts = await self.stack.enter_async_context(running(used, self.clock))
        self.reconciler = Reconciler(used, self.clock, parts.database, parts.blobs)
        transport = httpx2.ASGITransport(create_app(parts))
        http = httpx2.AsyncClient(transport=transport, base_url="http://horde")
        await self.stack.enter_async_context(http)
        made = [type(self).people(*pair) for pair in zip(OWNERS, EXECUTORS, strict=True)]
        for person in (person for pair in made for person in pair):
            await person.http.aclose()
            person.http = http
            await person.login()
        self.users = {name: user for name, (user, _) in zip(OWNERS, made, strict=True)}
        self.executors = {name: executor for name, (_, executor) in zip(EXECUTORS, made, strict=True)}
        self.operator = self.users["other"]
        for name, weight in WEIGHTS.items():
            await self.operator.send("PUT", f"/operator/v1/classes/{name}", json={"weight": weight})
        for name, cap in zip(OWNERS, caps, strict=True):
            if cap is not None:
                await self._allow(name, cap, refill)

    def _allowance(self, name: str) -> str:
        return f"/operator/v1/allowances/{self.users[name].hotkey.ss58_address}/{CLASS}"

    async def _allow(self, name: str, cap: int, refill: int) -> None:
        body = {"cap": cap, "refill_per_hour": refill}
        answer = await self.operator.send("PUT", self._allowance(name), json=body)
        assert answer.status_code == 204, answer.text

    @rule(name=st.sampled_from(OWNERS), cap=st.integers(0, 3_000_000), refill=st.integers(0, 200_000))
    def allow(self, name: str, cap: int, refill: int) -> None:
        """An operator changes an allowance in the middle of everything."""
        self.do(self._allow(name, cap, refill))

    @rule(name=st.sampled_from(OWNERS))
    def end_allowance(self, name: str) -> None:
        """An operator ends an allowance while jobs are held against it."""
        answer = self.do(self.operator.send("DELETE", self._allowance(name)))
        assert answer.status_code in (204, 404)

    @rule(
        name=st.sampled_from(OWNERS),
        executor_class=st.sampled_from((CLASS, CLASS, OTHER_CLASS)),
        limits=st.tuples(LIMITS, LIMITS, LIMITS),
        number=st.integers(4, 12),
        attempts=st.integers(1, 3),
    )
    def create(
        self, *, name: str, executor_class: str, limits: tuple[int, int, int], number: int, attempts: int
    ) -> None:
        """Some jobs; the first request is sent twice."""
        keys = ("download_time_limit", "execution_time_limit", "upload_time_limit")
        fields = dict(zip(keys, limits, strict=True))
        body = self.users[name].spec(executor_class=executor_class, max_attempts=attempts, **fields)
        price = sum(limits) * WEIGHTS.get(executor_class, 1000)
        for n in range(number):
            self.do(self._create(name, body, price, twice=n == 0))

    async def _create(self, name: str, body: dict[str, Any], price: int, *, twice: bool) -> None:
        user = self.users[name]
        headers = user.signed(body, self.clock.now().wall_us * 1000)
        answer = await user.post(body, headers)
        assert answer.status_code == 201, answer.text
        job = answer.json()
        if twice:
            assert (await user.post(body, headers)).json()["uuid"] == job["uuid"]
        type(self).created += 1
        assert job["horde"]["price"] == price
        if job["status"] == "Rejected":
            assert job["horde"]["payment"] is None
            self.ends["rejected for want of allowance"] += 1
        else:
            self.jobs[job["uuid"]] = (name, price)

    @rule(name=st.sampled_from(EXECUTORS), number=st.integers(3, 10), said=st.integers(-1, 6))
    def claim(self, name: str, number: int, said: int) -> None:
        """An executor takes the next jobs and says so much; now and then their confirmation gets lost."""
        for _ in range(number):
            self.do(self._claim(name, min(said, 2)))

    async def _claim(self, name: str, said: int) -> None:
        executor = self.executors[name]
        hold = await executor.claim(classes=[CLASS, OTHER_CLASS], slots=50)
        if hold is None:  # it may have lost so many that it was cordoned
            address = executor.hotkey.ss58_address
            answer = await self.operator.send("DELETE", f"/operator/v1/executors/{address}/cordon")
            assert answer.status_code in (204, 404)
            return
        self.held[hold.job] = held = Held(hold)
        if said >= 0:
            assert (await hold.lease()).status_code == 200
        for _ in range(said):
            await self._step(held)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(1, 9))
    def go_on(self, number: int) -> None:
        """Attempts reach their next status; at volumes_ready the user's code begins."""
        for held in [held for held in self.held.values() if held.said < 2][:number]:
            self.do(self._step(held))

    async def _step(self, held: Held) -> None:
        status = ("executor_ready", "volumes_ready")[held.said]
        assert (await held.hold.events(held.said, status)).status_code == 204
        held.said += 1

    @precondition(lambda self: any(held.runs for held in self.held.values()))
    @rule(which=st.integers(0, 99), number=st.integers(1, 3), repeat=st.booleans())
    def complete(self, which: int, number: int, repeat: bool) -> None:
        """Jobs complete; their outcomes may be said twice."""
        for _ in range(min(number, sum(held.runs for held in self.held.values()))):
            self._complete(which, repeat=repeat)

    def _complete(self, which: int, *, repeat: bool) -> None:
        job, held = self._choose(which, runs=True)
        done = [{"kind": "status", "status": "execution_done", "at_ns": self.clock.now().wall_us * 1000}]
        for _ in range(2 if repeat else 1):
            assert self.do(held.hold.outcome(first_seq=2, events=done)).status_code == 204
        self._ended(job, paid=True)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), how=st.sampled_from(WHEN_FAILED))
    def fail(self, which: int, how: tuple[str, str]) -> None:
        """A job fails; the horde's own failures put it back while attempts are left."""
        reason, stage = how
        runs = stage in ("execution", "upload")
        if not any(held.runs is runs for held in self.held.values()):
            return
        job, held = self._choose(which, runs=runs)
        self._say(held, stage, reason)
        if reason in HORDES_OWN:
            self._look(job, held)
        else:
            self._ended(job, paid=reason in PAID)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def hand_back(self, which: int) -> None:
        """An executor leaves on purpose."""
        job, held = self._choose(which)
        assert self.do(held.hold.give_back()).status_code == 204
        self._look(job, held)

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 99), report=st.booleans())
    def cancel(self, which: int, report: bool) -> None:
        """An owner cancels: a queued job ends at once, a running one when its executor says so or is lost."""
        job = list(self.jobs)[which % len(self.jobs)]
        reply = self.do(self.users[self.jobs[job][0]].cancel(job))
        if job not in self.held:
            assert reply["status"] == "Failed"
            self._ended(job, paid=False)
        elif report:
            held = self.held.pop(job)
            self._say(held, "execution" if held.runs else "download", "cancelled")
            self._ended(job, paid=held.runs)

    @rule(seconds=st.sampled_from((1, 1, 2, 2, 3, 3, 6, 20, 31, 31, 600, 86_401)))
    def pass_time(self, seconds: int) -> None:
        """Claims lapse, leases run out, allowances fill, the queue is given up."""
        self.clock.seconds += seconds
        for _ in range(3):  # each look acts on so many only
            self.do(self.reconciler.tick())
        lost = [job for job, held in self.held.items() if self.do(held.hold.events(0)).status_code == 409]
        for job in lost:
            self._look(job, self.held.pop(job))
        for name, user in self.users.items():
            page = self.do(user.get("/api/v1/jobs/", params={"page_size": 256, "inline": 0})).json()
            for reply in page["results"]:
                if reply["horde"]["outcome"] and self.jobs.get(reply["uuid"], ("", 0))[0] == name:
                    self._look(reply["uuid"], None)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """At every moment: entry by entry, and what is reserved is what the open jobs cost."""
        if not hasattr(self, "operator"):
            return
        answer = self.do(self.operator.get("/operator/v1/ledger/check"))
        assert answer.status_code == 200, answer.text
        assert answer.json()["problems"] == []
        assert answer.json()["reserved"] == sum(price for _, price in self.jobs.values())
        assert answer.json()["settled"] == sum(self.settled.values())

    def teardown(self) -> None:
        """Every job is brought to an end: nothing is reserved then, and each owner paid what was to be paid."""
        try:
            if hasattr(self, "operator"):
                for job in list(self.jobs):
                    self.cancel_for_good(job)
                self.the_ledger_adds_up()
                self.do(self._everybody_paid())
        finally:
            self.do(self.stack.aclose())
            self.loop.close()

    def cancel_for_good(self, job: str) -> None:
        self.do(self.users[self.jobs[job][0]].cancel(job))
        held = self.held.pop(job, None)
        if held:
            self._say(held, "execution" if held.runs else "download", "cancelled")
        self._ended(job, paid=held is not None and held.runs)

    async def _everybody_paid(self) -> None:
        for name, user in self.users.items():
            lines = (await user.get("/api/v1/usage/")).json()["classes"]
            assert sum(line["settled"] for line in lines) == self.settled[name]
            assert not any(line["reserved"] for line in lines)
        for line in (await self.operator.get("/operator/v1/allowances")).json()["allowances"]:
            assert (line["held"], line["available"] >= 0) == (0, True)

    def _choose(self, which: int, *, runs: bool | None = None) -> tuple[str, Held]:
        jobs = [job for job, held in self.held.items() if runs is None or held.runs is runs]
        job = jobs[which % len(jobs)]
        return job, self.held.pop(job)

    def _say(self, held: Held, stage: str, reason: str) -> None:
        failure = {"kind": "failed", "stage": stage, "reason": reason, "message": "said"}
        answer = self.do(held.hold.outcome(outcome=failure, first_seq=held.said))
        assert answer.status_code == 204, answer.text

    def _look(self, job: str, held: Held | None) -> None:
        """See whether a job that nobody holds has ended: then the horde was at fault, or it was cancelled."""
        reply = self.do(self.users[self.jobs[job][0]].job(job, inline=0))
        if reply["horde"]["outcome"] is not None:
            cancelled = reply["horde"]["outcome"].get("reason") == "cancelled"
            self._ended(job, paid=cancelled and held is not None and held.runs)

    def _ended(self, job: str, *, paid: bool) -> None:
        name, price = self.jobs.pop(job)
        reply = self.do(self.users[name].job(job, inline=0))
        assert (reply["horde"]["payment"], reply["horde"]["price"]) == ("settled" if paid else "released", price)
        if paid:
            self.settled[name] += price
        outcome = reply["horde"]["outcome"]
        self.ends[f"{outcome.get('reason', 'completed')}, {'paid' if paid else 'not paid'}"] += 1


@pytest.mark.timeout(300)
def test_after_five_hundred_random_jobs_the_ledger_adds_up(tmp_path, template, people) -> None:
    """With cancels, failures and lost executors, allowances that change, and requests that are sent twice."""
    numbers = iter(range(10**6))

    def place() -> Path:
        directory = tmp_path / str(next(numbers))
        directory.mkdir(mode=0o700)
        shutil.copy(template, directory / "db.sqlite3")
        return directory

    class Machine(Payments):
        pass

    Machine.place, Machine.people = staticmethod(place), staticmethod(people)
    Machine.ends = Counter()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,  # what is drawn also depends on which modules are loaded, so there is some room
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Machine.created} jobs: {dict(Machine.ends)}")  # noqa: T201  # figures, for those who ask with -s
    assert Machine.created >= JOBS
    assert {"completed, paid", "cancelled, paid", "cancelled, not paid"} <= set(Machine.ends)
    assert {"executor_lost, not paid", "rejected for want of allowance"} <= set(Machine.ends)
    assert any(f"{reason}, paid" in Machine.ends for reason in PAID)
