"""Two owners and two executors: neither sees anything of the other, on any route."""

import uuid

SECRET = "nobody-else-reads-this"
GIVEN_BY_THE_CALLER = {
    "/auth/nonce",
    "/auth/login",
    "/auth/redeem",
    "/healthz",
    "/api/v1/job-docker/",
    "/api/v1/events/",
    "/api/v1/cheated-job/",
}
"""Routes without a job in their path that show nothing but what the caller has sent, or are tested below."""


async def routes(person) -> list[tuple[str, str]]:
    document = (await person.http.get("/api/openapi.json")).json()
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


class Filled(dict):
    """Values for the parameters of a path that are no job."""

    def __missing__(self, key: str) -> str:
        return {"stream": "stdout", "path": f"artifacts/{SECRET}"}.get(key, "1")


async def finished_job(user, executor) -> str:
    job = await user.create(args=["echo", SECRET], env={"A": SECRET}, job_namespace=SECRET)
    await (await executor.hold()).run(SECRET.encode(), {f"/artifacts/{SECRET}": SECRET.encode()})
    await user.wait_for(job, "Completed")
    return job


async def test_a_foreign_job_is_a_job_that_does_not_exist(served):
    """A11: Every route with a job in its path answers both with the same 404; all others show nothing of it."""
    owner, other, executor = await served.user(), await served.user("other"), await served.executor()
    job, unknown = await finished_job(owner, executor), str(uuid.uuid4())
    mine = hers = 0
    for method, path in await routes(owner):
        if path.startswith(("/executor/", "/operator/")) or path in GIVEN_BY_THE_CALLER:
            continue
        if "{uuid}" not in path:
            answer = await other.send(method, path.format_map(Filled()), json={})
            assert answer.status_code < 500
            for word in (job, SECRET, owner.hotkey.ss58_address):
                assert word not in answer.text, (method, path)
            mine += 1
            continue
        answers = [
            await other.send(method, path.format_map(Filled(uuid=text)), json={}, params={"follow": 0})
            for text in (job, unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404], (method, path)
        assert answers[0].text.replace(job, "") == answers[1].text.replace(unknown, ""), (method, path)
        hers += 1
    assert mine >= 1
    assert hers >= 5


async def test_a_watch_says_the_same_of_a_foreign_job_and_of_none(served):
    """Both are missing."""
    owner, other, executor = await served.user(), await served.user("other"), await served.executor()
    job, unknown = await finished_job(owner, executor), str(uuid.uuid4())
    said = {}
    async with other.watch({job: 0, unknown: 0}) as events:
        async for event in events:
            said[event.pop("job")] = event
            if len(said) == 2:
                break
    assert said[job] == said[unknown]
    assert said[job]["missing"]


async def test_another_ones_signed_request_makes_no_job(served):
    """B11: A captured request, sent by another user, is refused; the owner's job is not shown."""
    owner, other = await served.user(), await served.user("other")
    body = owner.spec(env={"A": SECRET})
    headers = owner.signed(body)
    assert (await owner.post(body, headers)).status_code == 201
    answer = await other.post(body, headers)
    assert (answer.status_code, SECRET in answer.text) == (400, False)


async def test_an_executor_sees_only_the_jobs_that_it_holds(served):
    """Another one's attempt, and one that never was, are the same 404, on every route of an attempt."""
    owner, executor, second = await served.user(), await served.executor(), await served.executor("second")
    await owner.create(env={"A": SECRET})
    hold = await (await executor.hold()).confirmed()
    unknown = str(uuid.uuid4())
    foreign = await type(hold)(second, hold.job, hold.attempt, {}).every_request()
    nothing = await type(hold)(second, unknown, hold.attempt, {}).every_request()
    attempts = [path for _, path in await routes(owner) if path.startswith("/executor/v1/attempts/")]
    assert len(attempts) == len(foreign)
    for name, answer in foreign.items():
        assert (answer.status_code, nothing[name].status_code) == (404, 404), name
        assert answer.text.replace(hold.job, "") == nothing[name].text.replace(unknown, ""), name
    assert (await second.claim(claim_id="x")) is None


async def test_an_executor_learns_which_jobs_have_one_owner_and_not_who_that_is(served):
    """It keeps private inputs apart by this, so two owners never share a value, and one always has the same."""
    owner, other, executor = await served.user(), await served.user("other"), await served.executor()
    told = []
    for person in (owner, other, owner):
        await person.create()
        told.append((await executor.hold()).claim["owner"])
    assert told[0] == told[2] != told[1]
    assert all(told)
    assert owner.hotkey.ss58_address not in told[0]
