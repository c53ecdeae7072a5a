"""Section C, the API for clients: what other tests leave open. The rules stand in `docs/wire.md`."""

import asyncio
import time

import pytest

from horde_facilitator.settings import Settings

CLIENTS_WAIT_S = 5
MIB = 1024**2


async def test_a_page_has_ten_jobs_and_256_at_most(user):
    """C5: Ten where nothing is said; who asks for more than 256 gets so many, and the next page after them."""
    for number in range(11):
        await user.create(args=[str(number)])
    page = (await user.get("/api/v1/jobs/")).json()
    assert (page["count"], len(page["results"]), page["previous"]) == (11, 10, None)
    assert page["next"]
    last = (await user.get("/api/v1/jobs/", params={"page": 2})).json()
    assert (last["count"], len(last["results"]), last["next"]) == (11, 1, None)
    # What is above 256 is cut to it; that all eleven come shows that it is not taken for the default of ten.
    assert len((await user.get("/api/v1/jobs/", params={"page_size": 1000})).json()["results"]) == 11


async def test_no_job_is_skipped_while_others_come(user):
    """C6: Newest first, so what is created between two pages moves jobs back and hides none of them."""
    before = [await user.create(args=[str(number)]) for number in range(6)]
    seen: list[str] = []
    for page in (1, 2, 3, 4):
        reply = (await user.get("/api/v1/jobs/", params={"page": page, "page_size": 2})).json()
        seen += [job["uuid"] for job in reply["results"]]
        if page <= 2:
            await user.create()
    assert list(dict.fromkeys(seen)) == before[::-1]


async def test_a_redirect_keeps_method_and_body(user):
    """C9: A slash too many or too few: 307, 308 or no redirect; after a 301 or 302 clients would send a GET."""
    document = (await user.get("/api/openapi.json")).json()
    redirected = 0
    for path, methods in document["paths"].items():
        other = path.removesuffix("/") if path.endswith("/") else path + "/"
        for method in methods:
            answer = await user.send(method.upper(), other.format_map(Ones()), json={}, follow_redirects=False)
            assert answer.status_code not in (301, 302, 303), (method, path)
            redirected += answer.status_code in (307, 308)
    assert redirected > 10
    body = user.spec()
    answer = await user.send(
        "POST", "/api/v1/job-docker", json=body, headers=user.signed(body), follow_redirects=True
    )
    assert answer.status_code == 201


class Ones(dict):
    """A value for every parameter of a path."""

    def __missing__(self, key: str) -> str:
        return "1"


async def test_what_a_client_cannot_mend_is_not_said_with_a_5xx(user):
    """C8: Clients send the same five times on 429 and 5xx; what is wrong with it is said once, by another 4xx."""
    body = user.spec()
    for headers in ({}, {**user.signed(body), "X-CH-Signature": "?"}, user.signed({**body, "args": ["other"]})):
        assert (await user.post(body, headers)).status_code == 400
    user.token = "nonsense"
    assert (await user.post(body)).status_code == 401


async def test_the_largest_creation_is_answered_before_clients_give_up(user):
    """C10: 32 MiB are less work, on both sides together, than the 5 s that clients wait for an answer.

    On a busy machine time would say more about the others; `scripts/bench answers` tells it.
    """
    contents = "A" * ((Settings.__dataclass_fields__["body_bytes"].default - 2000) // 4 * 4)
    body = user.spec(volumes=[{"volume_type": "inline", "contents": contents, "relative_path": "x"}])
    headers = user.signed(body)
    began = time.process_time()
    answer = await user.post(body, headers)
    assert answer.status_code == 201
    assert time.process_time() - began < CLIENTS_WAIT_S


@pytest.mark.timeout(60)
async def test_too_many_large_requests_are_asked_to_come_again(serving):
    """C10: Rather than answered too late: 429, on which clients send the same again; each becomes one job."""
    async with serving(big_body_wait_s=0) as served:
        user = await served.user()
        volume = {"volume_type": "inline", "contents": "A" * (2 * MIB), "relative_path": "x"}
        requests = [
            (body, user.signed(body)) for body in (user.spec(args=[str(n)], volumes=[volume]) for n in range(8))
        ]
        answers = await asyncio.gather(*(user.post(*request) for request in requests))
        assert {answer.status_code for answer in answers} == {201, 429}
        assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 429)
        jobs = [(await user.post(*request)).json()["uuid"] for request in requests]
        assert len(set(jobs)) == (await user.get("/api/v1/jobs/")).json()["count"] == 8


async def test_answers_are_utf8_and_nothing_in_them_is_escaped_away(user):
    """C1: Whatever letters a request holds come back as they were."""
    args, env = ["Łódź", "😀", "\x01", "\x7f"], {"Ω": "ß"}
    answer = await user.post(user.spec(args=args, env=env))
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["args"], answer.json()["env"]) == (args, env)
    assert "Łódź" in answer.content.decode("utf-8")
