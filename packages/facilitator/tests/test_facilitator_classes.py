"""The vocabulary: operators change it and it counts at once; executors serve of it what they can keep."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_core.terms import ClassTerms, Share
from horde_facilitator.service import judge

CLASS = "always_on.test"
BIG = "lab.big"
GIB = 1024**3
FIVE = [
    "always_on.cpu.8c.16gb", "always_on.gpu-24gb", "always_on.llm.a6000", CLASS, "spin_up-4min.gpu-24gb"
]  # fmt: skip
SMALL = {"cpus": 2, "memory": 2 * GIB}


@pytest.fixture
def staffed(serving, people):
    """Starts a facilitator whose user `other` is its operator, too."""
    user, executor = people("user", "executor")
    other, second = people("other", "second")
    both = frozenset({user.hotkey.ss58_address, other.hotkey.ss58_address})
    machines = frozenset({executor.hotkey.ss58_address, second.hotkey.ss58_address})
    admit = {"user": both, "operator": frozenset({other.hotkey.ss58_address}), "executor": machines}
    return lambda **settings: serving(admit=admit, **settings)


@pytest.fixture
async def served(staffed):
    async with staffed() as served:
        yield served


@pytest.fixture
async def operator(served):
    return await served.user("other")


async def define(operator, name: str, **terms) -> None:
    answer = await operator.send("PUT", f"/operator/v1/classes/{name}", json=terms)
    assert answer.status_code == 204, answer.text


async def vocabulary(person) -> dict[str, dict]:
    answer = await person.get("/api/v1/classes/")
    assert answer.status_code == 200, answer.text
    return {entry.pop("name"): entry for entry in answer.json()["classes"]}


async def service(executor) -> tuple[list[str], dict[str, str]]:
    answer = (await executor.get("/executor/v1/classes")).json()
    return answer["served"], answer["refused"]


async def test_five_classes_are_there_and_one_that_is_removed_stays_removed(staffed):
    """Also over a restart; what was changed stays changed."""
    async with staffed() as served:
        operator = await served.user("other")
        found = await vocabulary(operator)
        assert list(found) == FIVE
        assert {(e["weight"], e["max_seconds"], e["profile"], e["executors"]) for e in found.values()} == {
            (1000, None, "default", 0)
        }
        await define(operator, CLASS, weight=2500)
        gone = f"/operator/v1/classes/{FIVE[0]}"
        assert (await operator.send("DELETE", gone)).status_code == 204
        assert (await operator.send("DELETE", gone)).status_code == 404
    async with staffed() as served:
        found = await vocabulary(await served.user())
        assert list(found) == FIVE[1:]
        assert found[CLASS]["weight"] == 2500


async def test_a_new_class_may_be_asked_for_at_once_and_a_removed_one_no_more(served, operator):
    """What is in nobody's vocabulary is a 400 that names the classes; while jobs wait or run it stays."""
    user, executor = await served.user(), await served.executor()
    refused = await user.post(user.spec(executor_class=BIG))
    assert refused.status_code == 400
    assert refused.json() == {"executor_class": [f"'{BIG}' is not known; the classes are {', '.join(FIVE)}"]}
    for _ in range(2):
        await define(operator, BIG, description="two big GPUs", gpus=2, vram=24 * GIB)
    uuid = await user.create(executor_class=BIG)
    path = f"/operator/v1/classes/{BIG}"
    kept = await operator.send("DELETE", path)
    assert (kept.status_code, "1 jobs wait for it and 0 run" in kept.text) == (400, True)
    hold = await executor.claim(classes=[BIG])
    assert hold.job == uuid
    kept = await operator.send("DELETE", path)
    assert (kept.status_code, "0 jobs wait for it and 1 run" in kept.text) == (400, True)
    assert (await vocabulary(user))[BIG]["executors"] == 1
    await hold.run()
    assert (await operator.send("DELETE", path)).status_code == 204
    assert (await user.post(user.spec(executor_class=BIG))).status_code == 400
    assert (await user.job(uuid))["executor_class"] == BIG
    usage = {line["executor_class"]: line for line in (await user.get("/api/v1/usage/")).json()["classes"]}
    assert (usage[BIG]["weight"], usage[BIG]["settled"]) == (None, 60_000)


async def test_a_price_is_fixed_at_creation_by_the_weight_of_that_moment(served, operator):
    """Usage and vocabulary tell the same weight, and a change counts for the next job."""
    user = await served.user()
    first = await user.create()
    await define(operator, CLASS, weight=2500)
    second = await user.create()
    prices = [(await user.job(uuid))["horde"]["price"] for uuid in (first, second)]
    assert prices == [60_000, 150_000]
    usage = (await user.get("/api/v1/usage/")).json()["classes"]
    assert {line["executor_class"]: line["weight"] for line in usage} == {
        name: entry["weight"] for name, entry in (await vocabulary(user)).items()
    }


async def test_a_job_above_the_limit_of_its_class_is_rejected_with_both_figures(served, operator):
    """201 with sent, rejected; nothing is reserved, and nobody gets the job. The weight does not count."""
    user, executor = await served.user(), await served.executor()
    await define(operator, CLASS, max_seconds=60, weight=2500)
    fits = await user.create()
    answer = await user.post(user.spec(execution_time_limit=21))
    assert answer.status_code == 201
    job = answer.json()
    assert [entry["status"] for entry in job["status_history"]] == ["sent", "rejected"]
    details = job["status_history"][-1]["metadata"]["job_rejection_details"]
    assert details["reason"] == "class_limit"
    assert details["message"].startswith(
        f"The job's limits add up to 61 s, and a job of the class '{CLASS}' may have 60 s."
    )
    assert (job["horde"]["price"], job["horde"]["payment"]) == (152_500, None)
    assert (await executor.hold()).job == fits
    assert await executor.claim() is None


@pytest.mark.parametrize(
    ("path", "terms", "field"),
    [
        (BIG, {"disk": 1}, "disk"),
        (BIG, {"runtime": "runsc"}, "runtime"),
        (BIG, {"weight": "2"}, "weight"),
        (BIG, {"memory": GIB, "shm": 2 * GIB}, "shm"),
        ("a%20b", {}, "name"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(operator, path, terms, field):
    """Nothing is changed by it."""
    answer = await operator.send("PUT", f"/operator/v1/classes/{path}", json=terms)
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert list(await vocabulary(operator)) == FIVE


async def test_only_operators_change_classes(served, operator):
    """Users see them, executors hear which they serve; the number of classes is bounded."""
    user, executor = await served.user(), await served.executor()
    for person in (user, executor):
        assert (await person.send("PUT", f"/operator/v1/classes/{BIG}", json={})).status_code == 403
        assert (await person.send("DELETE", f"/operator/v1/classes/{CLASS}")).status_code == 403
    assert (await executor.get("/api/v1/classes/")).status_code == 403
    assert (await user.get("/executor/v1/classes")).status_code == 403
    for number in range(64 - len(FIVE)):
        await define(operator, f"c{number}")
    full = await operator.send("PUT", f"/operator/v1/classes/{BIG}", json={})
    assert (full.status_code, "64 classes" in full.text) == (400, True)
    await define(operator, "c0", weight=1)
    await user.create(executor_class="c58")
    assert (await executor.claim(classes=None)).claim["spec"]["executor_class"] == "c58"


async def test_an_executor_is_given_what_its_class_gives_a_container(served, operator):
    """Profile, cores, memory and shared memory travel with the claim, as they are at that moment."""
    user, executor = await served.user(), await served.executor()
    await user.create()
    await define(operator, CLASS, profile="strict", cpus=1.5, memory=GIB, shm=GIB // 2, gpus=1, weight=1)
    hold = await executor.claim(share=SMALL)
    assert hold.claim["allotment"] == {"profile": "strict", "cpus": 1.5, "memory": GIB, "shm": GIB // 2}


WHY = "a job gets 2048 MiB of memory there, and the class promises 16384 MiB of memory"


async def test_a_job_of_a_class_that_nobody_can_keep_leaves_the_queue_with_the_reason(staffed):
    """As that of a class that nobody serves."""
    async with staffed(no_executor_s=0.1) as served:
        user, operator, executor = await served.user(), await served.user("other"), await served.executor()
        await define(operator, BIG, memory=16 * GIB)
        assert await executor.claim(classes=[BIG], share=SMALL) is None
        job = await user.wait_for(await user.create(executor_class=BIG), "Rejected")
        details = job["status_history"][-1]["metadata"]["job_rejection_details"]
        assert (details["reason"], WHY in details["message"]) == ("no_executor", True)


async def test_an_executor_whose_share_is_smaller_than_the_promise_gets_no_job_of_the_class(staffed):
    """The operator, the executor and whoever asks why the job waits hear so in numbers."""
    async with staffed() as served:
        user, operator = await served.user(), await served.user("other")
        executor, second = await served.executor(), await served.executor("second")
        await define(operator, BIG, memory=16 * GIB)
        uuid = await user.create(executor_class=BIG)
        assert await executor.claim(classes=[BIG, CLASS], share=SMALL) is None
        assert await second.claim(classes=[BIG]) is None
        assert await service(executor) == ([CLASS], {BIG: WHY})
        assert (await service(second))[1] == {BIG: "the executor does not say what a job gets there"}
        listed = {e["hotkey"]: e for e in (await operator.get("/operator/v1/executors")).json()["executors"]}
        assert listed[executor.hotkey.ss58_address]["refused"] == {BIG: WHY}
        assert (await vocabulary(user))[BIG]["executors"] == 0
        found = (await user.get(f"/api/v1/jobs/{uuid}/explain/")).json()
        assert {e["state"] for e in found["executors"]} == {"refused"}
        assert f"{executor.hotkey.ss58_address} does not serve it: {WHY}" in found["summary"]
        assert (await executor.claim(classes=[BIG], share={"cpus": 2, "memory": 16 * GIB})).job == uuid
        assert await service(executor) == ([BIG], {})


async def test_an_offer_of_a_class_that_nobody_defined_is_shown_until_somebody_does(served, operator):
    """It keeps the executor from nothing else; and what its hotkey may not serve is shown, too."""
    user, executor = await served.user(), await served.executor()
    waiting = asyncio.create_task(executor.claim(20, classes=["typo", CLASS]))
    uuid = await user.create()
    assert (await waiting).job == uuid
    assert await service(executor) == ([CLASS], {"typo": "nobody has defined such a class"})
    waiting = asyncio.create_task(executor.claim(20, classes=["typo"]))
    await define(operator, "typo")
    uuid = await user.create(executor_class="typo")
    assert (await waiting).job == uuid


async def test_an_executor_that_serves_whatever_there_is_learns_of_a_new_class(served, operator):
    """A wait that began before the class was defined ends at once, and the next one is given its jobs."""
    user, executor = await served.user(), await served.executor()
    waiting = asyncio.create_task(executor.claim(20, classes=None))

    while CLASS not in (await service(executor))[0]:
        pass
    await define(operator, BIG)
    assert await waiting is None
    waiting = asyncio.create_task(executor.claim(20, classes=None))
    uuid = await user.create(executor_class=BIG)
    assert (await waiting).job == uuid
    assert (await service(executor))[0] == sorted([*FIVE, BIG])


NAMES = st.sampled_from(["a", "b", "c"])


@given(
    offered=st.none() | st.frozensets(NAMES),
    bound=st.none() | st.frozensets(NAMES),
    cpus=st.dictionaries(NAMES, st.none() | st.integers(1, 4)),
    share=st.none() | st.integers(0, 5),
)
def test_what_is_offered_is_served_or_refused_for_a_reason(offered, bound, cpus, share):
    """Served is exactly what is offered, defined, allowed and kept; all else that was named has a reason."""
    vocabulary = {name: ClassTerms(cpus=count) for name, count in cpus.items()}
    found = judge(offered, bound, vocabulary, None if share is None else Share(share, GIB))
    named = offered if offered is not None else vocabulary if bound is None else bound
    kept = {name for name, count in cpus.items() if count is None or (share is not None and count <= share)}
    assert found.served == set(named) & kept & (set("abc") if bound is None else bound)
    assert set(found.refused) == set(named) - found.served
