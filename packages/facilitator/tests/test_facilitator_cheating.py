"""Reports of cheating: what is taken, what it is worth, whom it takes out and for how long."""

import asyncio
import json
import time
import uuid
from pathlib import Path

import pytest
from bittensor_wallet import Keypair

from horde_core.signing import Scope, sign_request
from horde_facilitator.auth import Tokens
from horde_facilitator.clock import SECOND
from horde_facilitator.home import Home
from horde_facilitator.keyring import Keyring

HOURS = 3600 * SECOND
PATH = "/api/v1/cheated-job/"
RECORDED = json.loads(
    (Path(__file__).parents[2] / "core" / "tests" / "recorded_requests.json").read_text(encoding="utf-8")
)


def address(name: str) -> str:
    return Keypair.create_from_uri(f"//{name}").ss58_address


ADMITTED = {
    "user": frozenset(map(address, ("user", "other"))),
    "executor": frozenset(map(address, ("executor", "second"))),
    "trusted": frozenset(map(address, ("trusted", "trusted too"))),
    "operator": frozenset({address("operator")}),
}


@pytest.fixture
async def served(serving):
    async with serving(admit=ADMITTED) as facilitator:
        yield facilitator


@pytest.fixture
async def trusted(served):
    return await served.executor("trusted")


@pytest.fixture
async def operator(served):
    return await served.user("operator")


async def done(user, executor, content: bytes | None, **fields) -> str:
    """A job that has run on this executor and left one artifact, or none."""
    job = await user.create(**fields)
    hold = await executor.hold()
    assert hold.job == job
    await hold.run(**({"artifacts": {"/artifacts/x": content}} if content is not None else {}))
    return job


async def pair(user, executor, trusted, contents=(b"forged", b"true"), **fields) -> tuple[str, str]:
    """A job and its copy on a trusted executor."""
    job = await done(user, executor, contents[0], **fields)
    return job, await done(user, trusted, contents[1], on_trusted_miner=True, **fields)


def signed(user, body: dict, *, scope: Scope = Scope.FULL_REQUEST, age_s: float = 0) -> dict[str, str]:
    return sign_request(body, scope, user.hotkey, time.time_ns() - int(age_s * 1e9)).headers()


async def send(user, body: dict, headers: dict[str, str] | None = None):
    return await user.send("POST", PATH, json=body, headers=signed(user, body) if headers is None else headers)


async def report(user, job: str, trusted_job: str | None = None, **more) -> dict:
    """A report in one of the published forms; it must be taken."""
    new_form = {"job_uuid": job, "trusted_job_uuid": trusted_job, "details": None, **more}
    answer = await send(user, new_form if trusted_job else {"job_uuid": job})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def cordoned(operator, name: str = "executor") -> str | None:
    found = (await operator.get("/operator/v1/executors")).json()["executors"]
    return next(it["cordoned"] for it in found if it["hotkey"] == address(name))


async def reports(operator) -> list[dict]:
    return (await operator.get("/operator/v1/cheats")).json()["reports"]


async def decide(operator, job: str, state: str, **more) -> int:
    return (await operator.send("PUT", f"/operator/v1/cheats/{job}", json={"state": state, **more})).status_code


async def test_a_forged_result_takes_its_executor_out_for_four_hours(served, user, executor, trusted, operator):
    """At once, with a reason that names the job; jobs then go past it, and after that time it gets jobs again."""
    job, copy = await pair(user, executor, trusted)
    found = await report(user, job, copy)
    assert (found["state"], found["executor_hotkey"]) == ("confirmed", address("executor"))
    assert found["why"] == "The two jobs left different results: /artifacts/x."
    assert await cordoned(operator) == f"cheat report about job {job}"
    waiting = await user.create()
    assert await executor.claim() is None
    second = await served.executor("second")
    assert (await second.hold()).job == waiting
    late = await user.create()
    served.clock.wall_shift_us = 4 * HOURS - 60 * SECOND
    await executor.login()
    assert await executor.claim() is None
    served.clock.wall_shift_us = 4 * HOURS + 60 * SECOND
    await executor.login()
    assert (await executor.hold()).job == late
    await operator.login()
    assert await cordoned(operator) is None


async def test_the_time_is_the_operators_to_set(serving):
    """In seconds."""
    async with serving(admit=ADMITTED, cheat_out_s=60) as served:
        user, executor, trusted = await served.user(), await served.executor(), await served.executor("trusted")
        await report(user, *(await pair(user, executor, trusted)))
        waiting = await user.create()
        assert await executor.claim() is None
        served.clock.wall_shift_us = 61 * SECOND
        assert (await executor.hold()).job == waiting


async def test_the_same_result_is_unfounded_and_takes_nobody_out(user, executor, trusted, operator):
    """The report is kept, with what was found."""
    job, copy = await pair(user, executor, trusted, (b"true", b"true"))
    found = await report(user, job, copy)
    assert (found["state"], found["why"]) == ("unfounded", "The two jobs left the same.")
    assert found["out_until"] is None
    assert await cordoned(operator) is None


async def test_without_a_trusted_job_an_operator_decides(user, executor, operator):
    """As clients before 0.0.17 report: the owner's word takes nobody out."""
    job = await done(user, executor, b"forged")
    found = await report(user, job)
    assert (found["state"], found["trusted_job_uuid"]) == ("open", None)
    assert await cordoned(operator) is None
    (entry,) = await reports(operator)
    assert (entry["job_uuid"], entry["reporter"], entry["executor_hotkey"]) == (
        job, address("user"), address("executor")
    )  # fmt: skip
    assert await decide(operator, job, "confirmed", why="seen it myself") == 204
    assert await cordoned(operator) == f"cheat report about job {job}"
    (entry,) = await reports(operator)
    assert (entry["state"], entry["why"], entry["decided_by"]) == (
        "confirmed", "seen it myself", address("operator")
    )  # fmt: skip


async def test_what_the_report_of_an_old_client_really_was_is_understood(serving, shifted_clock):
    """The recorded request of 0.0.14 is verified; its job is nobody's here, which is a 404 with the known text."""
    recorded = [r for r in RECORDED if r["target"] == PATH]
    clock = shifted_clock()
    signatories = frozenset(r["headers"]["X-CH-Signatory"] for r in recorded)
    async with serving(clock, admit={"user": signatories}) as served:
        client = served.client()
        tokens = Tokens(Keyring.opened(Home(served.settings.data).token_keys, 3600), 3600)
        for request in recorded:
            headers = request["headers"]
            clock.set_wall(int(headers["X-CH-Timestamp-NS"]) // 1000)
            token = tokens.make(headers["X-CH-Signatory"], clock.now().wall_us)
            headers = {**headers, "Authorization": f"Bearer {token}"}
            answer = await client.post(PATH, content=request["body"].encode(), headers=headers)
            if request["valid"]:
                assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")
            else:
                assert (answer.status_code, "signature" in answer.text) == (400, True)
        assert recorded


async def test_a_repeated_report_gets_the_same_answer(user, executor, trusted, operator):
    """The same request, many at once, or a later one with another word: one report, judged once."""
    job, copy = await pair(user, executor, trusted)
    body = {"job_uuid": job, "trusted_job_uuid": copy, "details": {"seen": ["ż", 1.5]}}
    headers = signed(user, body)
    answers = await asyncio.gather(*(send(user, body, headers) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = await done(user, trusted, b"forged", on_trusted_miner=True)
    assert await report(user, job, other, details="else") == answers[0].json()
    assert await report(user, job) == answers[0].json()
    (entry,) = await reports(operator)
    assert (entry["trusted_job_uuid"], entry["details"]) == (copy, {"seen": ["ż", 1.5]})


async def test_a_report_may_get_its_trusted_job_later(user, executor, trusted, operator):
    """As long as no operator has decided."""
    job = await done(user, executor, b"forged")
    first = await report(user, job)
    copy = await done(user, trusted, b"true", on_trusted_miner=True)
    second = await report(user, job, copy)
    assert (first["state"], second["state"]) == ("open", "confirmed")
    assert second["reported_at"] == first["reported_at"]
    assert len(await reports(operator)) == 1


async def test_the_state_of_a_report_is_its_authors_to_see(served, user, executor, trusted):
    """At the job's address below the reports; there is none for others, and none of a job without report."""
    job, copy = await pair(user, executor, trusted)
    assert (await user.get(f"{PATH}{job}/")).status_code == 404
    found = await report(user, job, copy)
    assert (await user.get(f"{PATH}{job}/")).json() == found
    other = await served.user("other")
    answers = [await other.get(f"{PATH}{text}/") for text in (job, str(uuid.uuid4()), "nonsense")]
    assert [(a.status_code, a.json()) for a in answers] == [(404, {"detail": "Not found."})] * 3


async def test_both_jobs_must_be_the_callers(served, user, executor, trusted):
    """A foreign job is a job that does not exist."""
    other = await served.user("other")
    job, copy = await pair(user, executor, trusted)
    theirs, their_copy = await pair(other, executor, trusted)
    for body, said in (
        ({"job_uuid": theirs}, "Job not found"),
        ({"job_uuid": str(uuid.uuid4())}, "Job not found"),
        ({"job_uuid": theirs, "trusted_job_uuid": copy, "details": None}, "Job not found"),
        ({"job_uuid": job, "trusted_job_uuid": their_copy, "details": None}, "Trusted job not found"),
        ({"job_uuid": job, "trusted_job_uuid": str(uuid.uuid4()), "details": None}, "Trusted job not found"),
    ):
        answer = await send(user, body)
        assert (answer.status_code, answer.json()["error"]) == (404, said)


async def test_jobs_of_the_wrong_kind_are_refused_by_name(user, executor, trusted):
    """The reported one must not be trusted, the other one must; both must have ended, and the reported one run."""
    job, copy = await pair(user, executor, trusted)
    cancelled = await user.create()
    await user.cancel(cancelled)
    running, running_copy = await user.create(), await user.create(on_trusted_miner=True)
    for body, field, said in (
        ({"job_uuid": copy}, "job_uuid", "ran on a trusted executor"),
        ({"job_uuid": job, "trusted_job_uuid": job}, "trusted_job_uuid", "not created with on_trusted_miner"),
        ({"job_uuid": running}, "job_uuid", "report it when it has ended"),
        ({"job_uuid": job, "trusted_job_uuid": running_copy}, "trusted_job_uuid", "when it has ended"),
        ({"job_uuid": cancelled}, "job_uuid", "no executor ran the job"),
        ({}, "job_uuid", "required"),
        ({"job_uuid": "nonsense"}, "job_uuid", "UUID"),
        ({"job_uuid": None}, "job_uuid", "UUID"),
        ({"job_uuid": job, "trusted_job_uuid": "nonsense"}, "trusted_job_uuid", "UUID"),
    ):
        answer = await send(user, body)
        assert (answer.status_code, list(answer.json())) == (400, [field]), answer.text
        assert said in answer.json()[field][0]


async def test_only_a_fresh_signature_of_the_owner_over_the_whole_request_counts(served, user, executor):
    """Anything else is a 400 that says why, never a 500, and nothing is kept."""
    other = await served.user("other")
    job = await done(user, executor, b"x")
    body = {"job_uuid": job}
    good = signed(user, body)
    for headers, said in (
        ({}, "X-CH-Signature-Type"),
        ({**good, "X-CH-Signature": "eA=="}, "base64 of 64 bytes"),
        (signed(user, {"job_uuid": str(uuid.uuid4())}), "does not belong"),
        (signed(other, body), "not the hotkey that logged in"),
        (signed(user, body, scope=Scope.SIGNED_FIELDS), "X-CH-Signature-Scope must be FullRequest"),
        ({key: value for key, value in good.items() if "Scope" not in key}, "does not belong"),
        (signed(user, body, age_s=400), "300 s"),
        (signed(user, body, age_s=-100), "60 s ahead"),
    ):
        answer = await send(user, body, headers)
        assert (answer.status_code, said in answer.text) == (400, True), answer.text
    for content in (b"", b"[]", b"{", b"\xff"):
        answer = await user.send("POST", PATH, content=content, headers=good)
        assert answer.status_code == 400
    large = {"job_uuid": job, "details": "x" * 70_000}
    assert (await send(user, large)).status_code == 413
    assert (await user.http.post(PATH, json=body, headers=good)).status_code == 401
    assert (await user.get(f"{PATH}{job}/")).status_code == 404


@pytest.mark.parametrize(
    "other",
    [
        {"args": ["echo", "else"]},
        {"env": {"A": "2"}},
        {"artifacts_dir": "/artifacts/sub"},
        {"volumes": [{"volume_type": "inline", "contents": "eA==", "relative_path": "x"}]},
    ],
)
async def test_other_work_proves_nothing(user, executor, trusted, operator, other):
    """What a result may depend on must be alike; then an operator decides."""
    job = await done(user, executor, b"one")
    copy = await done(user, trusted, b"two", on_trusted_miner=True, **other)
    found = await report(user, job, copy)
    assert (found["state"], "not asked to do the same" in found["why"]) == ("open", True)
    assert await cordoned(operator) is None


async def test_names_limits_and_the_name_of_the_image_are_no_part_of_the_work(user, executor, trusted):
    """A copy may name the image by its digest, have more time and another namespace."""
    job = await done(user, executor, b"one")
    freely = {"docker_image": "x@sha256:" + 64 * "a", "execution_time_limit": 99, "job_namespace": "SN9"}
    copy = await done(user, trusted, b"two", on_trusted_miner=True, **freely)
    assert (await report(user, job, copy))["state"] == "confirmed"


async def test_without_artifacts_the_output_decides(user, executor, trusted):
    """By its hash; what both lack proves nothing."""
    states = []
    for outputs in ((b"true", b"true"), (b"", b""), (b"forged", b"true")):
        job, copy = await user.create(), await user.create(on_trusted_miner=True)
        for machine, wanted, output in ((executor, job, outputs[0]), (trusted, copy, outputs[1])):
            hold = await machine.hold()
            assert hold.job == wanted
            await hold.run(output)
        states.append((await report(user, job, copy))["state"])
    assert states == ["unfounded", "open", "confirmed"]


async def test_a_job_that_did_not_complete_proves_nothing(user, executor, trusted, failure):
    """It may be reported, and an operator decides."""
    job = await user.create()
    hold = await (await executor.hold()).confirmed()
    assert (await hold.events(0, "executor_ready", "volumes_ready")).status_code == 204
    assert (await hold.outcome(outcome=failure(), first_seq=2)).status_code == 204
    copy = await done(user, trusted, b"x", on_trusted_miner=True)
    found = await report(user, job, copy)
    assert (found["state"], "the job did not complete" in found["why"]) == ("open", True)


async def test_a_trusted_executor_cannot_be_accused(served, user, trusted, operator):
    """It takes ordinary jobs, too; two trusted ones that differ show that the work is not deterministic."""
    job, copy = await pair(user, trusted, await served.executor("trusted too"))
    found = await report(user, job, copy)
    assert (found["state"], "not deterministic" in found["why"]) == ("unfounded", True)
    assert await cordoned(operator, "trusted") is None


async def test_an_executor_that_is_trusted_no_more_is_no_reference(user, executor, trusted, operator):
    """What counts is whom the operator trusts when the report is judged."""
    job, copy = await pair(user, executor, trusted)
    role = f"/operator/v1/hotkeys/{address('trusted')}/trusted"
    assert (await operator.send("DELETE", role)).status_code == 204
    found = await report(user, job, copy)
    assert (found["state"], "not trusted any more" in found["why"]) == ("open", True)


async def test_one_hotkey_keeps_one_executor_out_at_a_time(served, user, executor, trusted, operator):
    """Random results would else let anybody empty the horde; who else reports is not held back by it."""
    second, other = await served.executor("second"), await served.user("other")
    assert (await report(user, *(await pair(user, executor, trusted))))["state"] == "confirmed"
    job, copy = await pair(user, second, trusted)
    held = await report(user, job, copy)
    assert held["state"] == "open"
    assert "Other reports of this hotkey keep 1 out already, so an operator decides." in held["why"]
    assert await cordoned(operator, "second") is None
    assert (await report(other, *(await pair(other, second, trusted))))["state"] == "confirmed"
    assert await cordoned(operator, "second") is not None


async def test_a_dismissed_report_lets_the_executor_in_and_costs_its_author_credit(
    served, user, executor, trusted, operator
):
    """At once; and his next reports take nobody out by themselves for a week."""
    job, copy = await pair(user, executor, trusted)
    await report(user, job, copy)
    waiting = asyncio.create_task(executor.hold(wait_s=10))
    expected = await user.create()
    assert await decide(operator, job, "dismissed", why="that job rolls dice") == 204
    await (await waiting).run()
    assert (await user.job(expected))["status"] == "Completed"
    (entry,) = await reports(operator)
    assert (entry["state"], entry["why"], entry["out_until"]) == ("dismissed", "that job rolls dice", None)
    assert await report(user, job, copy) == {key: entry[key] for key in await report(user, job, copy)}
    second, third = await pair(user, executor, trusted), await pair(user, executor, trusted)
    found = await report(user, *second)
    assert (found["state"], "dismissed lately" in found["why"]) == ("open", True)
    served.clock.wall_shift_us = 8 * 24 * HOURS
    await user.login()
    body = {"job_uuid": third[0], "trusted_job_uuid": third[1]}
    answer = await send(user, body, signed(user, body, age_s=-8 * 24 * 3600))
    assert (answer.status_code, answer.json()["state"]) == (201, "confirmed")


async def test_dismissing_one_report_leaves_what_others_did(served, user, executor, trusted, operator):
    """Another report, or an operator's own cordon, keeps the executor out."""
    other = await served.user("other")
    first, second = await pair(user, executor, trusted), await pair(other, executor, trusted)
    await report(user, *first)
    served.clock.wall_shift_us = SECOND
    await report(other, *second)
    assert await decide(operator, second[0], "dismissed") == 204
    assert await cordoned(operator) == f"cheat report about job {first[0]}"
    cordon = f"/operator/v1/executors/{address('executor')}/cordon"
    assert (await operator.send("PUT", cordon, json={"why": "new disk"})).status_code == 204
    assert await decide(operator, first[0], "dismissed") == 204
    assert await cordoned(operator) == "new disk"


async def test_a_report_does_not_shorten_a_cordon(user, executor, trusted, operator):
    """Who is out until an operator lets him in stays so."""
    job, copy = await pair(user, executor, trusted)
    cordon = f"/operator/v1/executors/{address('executor')}/cordon"
    assert (await operator.send("PUT", cordon, json={"why": "new disk"})).status_code == 204
    assert (await report(user, job, copy))["state"] == "confirmed"
    assert await cordoned(operator) == "new disk"


async def test_what_is_no_verdict_is_refused(operator):
    """Two verdicts are there, and only about what was reported."""
    assert await decide(operator, str(uuid.uuid4()), "dismissed") == 404
    assert await decide(operator, str(uuid.uuid4()), "open") == 400
