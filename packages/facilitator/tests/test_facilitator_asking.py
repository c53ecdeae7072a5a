"""Idempotency keys and searching."""

import asyncio

import pytest

from horde_facilitator.clock import SECOND


async def keyed(user, key: str, **fields):
    body = user.spec(**fields)
    return await user.send(
        "POST", "/api/v1/job-docker/", json=body, headers={**user.signed(body), "Idempotency-Key": key}
    )


async def found(user, **query) -> list[str]:
    answer = await user.get("/api/v1/jobs/", params={"inline": 0, **query})
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == len(answer.json()["results"])
    return [job["uuid"] for job in answer.json()["results"]]


async def test_the_same_key_makes_one_job(user):
    """Fifty signatures over the same body, at the same moment, and once more when the job has ended."""
    answers = await asyncio.gather(*(keyed(user, "once") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    uuids = {answer.json()["uuid"] for answer in answers}
    assert len(uuids) == 1
    await user.cancel(*uuids)
    again = await keyed(user, "once")
    assert (again.status_code, again.json()["uuid"], again.json()["status"]) == (201, *uuids, "Failed")
    assert await found(user) == [*uuids]


async def test_a_key_with_another_body_is_refused_and_named(user):
    """What the key made stays as it is, and is named too."""
    first = (await keyed(user, "mine")).json()["uuid"]
    answer = await keyed(user, "mine", args=["other"])
    assert answer.status_code == 409
    assert "'mine'" in answer.json()["detail"]
    assert first in answer.json()["detail"]
    assert await found(user) == [first]


async def test_keys_belong_to_their_owner(served, user):
    """Two people may hit upon the same key."""
    other = await served.user("other")
    assert (await keyed(user, "k")).json()["uuid"] != (await keyed(other, "k", args=["x"])).json()["uuid"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused_by_name(user, key):
    """One to 255 visible ASCII characters."""
    answer = await keyed(user, key)
    assert (answer.status_code, list(answer.json())) == (400, ["Idempotency-Key"])


async def test_jobs_are_found_by_status_in_either_spelling(user, executor):
    """Several statuses together, too; horde_failed is a failure."""
    done, cancelled, queued = [await user.create() for _ in range(3)]
    await (await executor.hold()).run()
    await user.cancel(cancelled)
    assert await found(user, status="completed") == await found(user, status="Completed") == [done]
    assert await found(user, status="received") == [queued]
    assert await found(user, status=["Failed", "completed"]) == [cancelled, done]
    assert await found(user, status="horde_failed") == [cancelled]
    assert await found(user, status="executor_ready") == []


async def test_jobs_are_found_by_namespace_and_image(user):
    """An image without a tag means all its tags and digests, and no image that merely begins alike."""
    digest = "a/b@sha256:" + "0" * 64
    images = ["a/b", "a/b:1", digest, "a/bc", "a/b-c:1", "host:5000/a/b"]
    jobs = {image: await user.create(docker_image=image, job_namespace="SN1") for image in images}
    other = await user.create(docker_image="a/b:1", job_namespace="SN2")
    assert await found(user, image="a/b:1") == [other, jobs["a/b:1"]]
    assert await found(user, image="a/b") == [other, jobs[digest], jobs["a/b:1"], jobs["a/b"]]
    assert await found(user, image="host:5000/a/b") == [jobs["host:5000/a/b"]]
    assert await found(user, image="a/b", namespace="SN2") == [other]
    assert await found(user, namespace="SN") == []


async def test_jobs_are_found_by_time(served, user):
    """From the first moment on, before the second, so that periods side by side share no job."""
    early = await user.create()
    served.clock.wall_shift_us = 100 * SECOND
    late = await user.create()
    at = (await user.job(late))["created_at"]
    assert await found(user, created_after=at) == [late]
    assert await found(user, created_before=at) == [early]
    assert await found(user, created_after=at.replace("Z", "+00:00")) == [late]
    assert await found(user, created_after="2001-01-01") == [late, early]
    assert await found(user, created_before="2001-01-01") == []


@pytest.mark.parametrize(
    ("name", "value"), [("status", "lost"), ("created_after", "yesterday"), ("created_before", "")]
)
async def test_a_search_that_cannot_be_read_is_refused_by_name(user, name, value):
    """It is not taken for a search for everything."""
    answer = await user.get("/api/v1/jobs/", params={name: value})
    assert (answer.status_code, list(answer.json())) == (400, [name])


async def test_pages_of_a_search_keep_the_search(user):
    """The next page is of the same search, newest first."""
    jobs = [await user.create(job_namespace=name) for name in ("a", "b") * 3]
    first = (await user.get("/api/v1/jobs/", params={"namespace": "a", "page_size": 2})).json()
    assert (first["count"], first["previous"]) == (3, None)
    second = (await user.http.get(first["next"], headers=user.headers)).json()
    assert [job["uuid"] for job in first["results"] + second["results"]] == [jobs[4], jobs[2], jobs[0]]
    assert second["next"] is None


async def test_searching_finds_nobody_elses_jobs(served, user):
    """Whatever is asked for."""
    await user.create(job_namespace="SN1")
    other = await served.user("other")
    assert await found(other, namespace="SN1", status="received") == []
