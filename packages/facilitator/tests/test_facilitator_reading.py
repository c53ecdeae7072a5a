"""What owners read: their jobs in pages, logs and artifacts inline and as bytes, and nothing of others."""

import base64
import json
import re
import uuid

MIB = 1024**2


async def test_pages_are_newest_first_and_complete(user):
    """C6: Walking by `next` gives every job once, newest first."""
    uuids = [await user.create() for _ in range(7)]
    found, page = [], 1
    while True:
        reply = (await user.get("/api/v1/jobs/", params={"page": page, "page_size": 3})).json()
        assert reply["count"] == 7
        found += [job["uuid"] for job in reply["results"]]
        assert (reply["previous"] is None) == (page == 1)
        if reply["next"] is None:
            break
        page += 1
        assert f"page={page}" in reply["next"]
    assert found == uuids[::-1]
    assert page == 3


async def test_odd_pages_are_answered_as_the_original_does(user):
    """C5: A page that does not exist is a 404; a size that makes no sense is the default; no size is above 256."""
    await user.create()
    for page in ("2", "0", "-1", "x", "9" * 30):
        assert (await user.get("/api/v1/jobs/", params={"page": page})).status_code == 404, page
    for size in ("0", "-5", "x", "1000000"):
        assert (await user.get("/api/v1/jobs/", params={"page_size": size})).status_code == 200, size
    empty = (await user.get("/api/v1/jobs/", params={"page": 1})).json()
    assert empty["count"] == 1


async def test_an_empty_list_has_a_first_page(user):
    """C7: No jobs is not an error."""
    reply = (await user.get("/api/v1/jobs/")).json()
    assert reply == {"count": 0, "next": None, "previous": None, "results": []}


async def test_jobs_of_others_do_not_exist(user, served, executor):
    """C4: On every route a foreign job is answered exactly as one that never was."""
    job = await user.create()
    await (await executor.hold()).run(b"secret", {"/artifacts/x": b"secret"})
    other = await served.user("other")
    routes = [
        ("GET", ""),
        ("GET", "logs/"),
        ("GET", "logs/?follow=1"),
        ("GET", "logs/stdout/"),
        ("GET", "logs/stderr/"),
        ("GET", "artifacts/artifacts/x"),
        ("POST", "cancel/"),
    ]
    for method, path in routes:
        foreign = await other.send(method, f"/api/v1/jobs/{job}/{path}")
        unknown = await other.send(method, f"/api/v1/jobs/{uuid.uuid4()}/{path}")
        malformed = await other.send(method, f"/api/v1/jobs/no-uuid/{path}")
        assert foreign.status_code == unknown.status_code == malformed.status_code == 404, path
        assert foreign.json() == unknown.json() == malformed.json() == {"detail": "Not found."}
    assert (await other.get("/api/v1/jobs/")).json()["count"] == 0
    async with other.watch({job: 0}) as events:
        assert await anext(events) == {
            "job": job,
            "cursor": 0,
            "entries": [],
            "progress": None,
            "missing": True,
            "ended": None,
        }


async def test_one_reply_holds_fifty_mebibytes_and_lists_the_rest(serving):
    """What does not fit is listed with its size and can be fetched by its own address."""
    async with serving(inline_bytes=2 * MIB) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        artifacts = {
            "/artifacts/a": b"\x00" * (MIB + 1),
            "/artifacts/b": b"\x01" * (3 * MIB),
            "/artifacts/c": b"\x02" * 5,
        }
        await (await executor.hold()).run(b"out", artifacts)
        reply = await user.job(job)
        inside = {path: base64.b64decode(text, validate=True) for path, text in reply["artifacts"].items()}
        assert inside == {path: artifacts[path] for path in ("/artifacts/a", "/artifacts/c")}
        left_out = reply["horde"]["left_out"]
        assert [(item["path"], item["size"]) for item in left_out] == [("/artifacts/b", 3 * MIB)]
        assert len(reply["horde"]["artifacts"]) == 3
        whole = await user.get(f"/api/v1/jobs/{job}/artifacts/artifacts/b")
        assert whole.content == artifacts["/artifacts/b"]

        bare = await user.job(job, inline=0)
        assert (bare["artifacts"], bare["stdout"], bare["horde"]["left_out"]) == ({}, "", [])
        assert len(bare["horde"]["artifacts"]) == 3


async def test_listings_hold_a_little_of_each_job(user, executor):
    """64 KiB a job: small artifacts are inside, larger ones listed, long logs shortened."""
    await user.create()
    artifacts = {"/artifacts/small": b"x" * 1000, "/artifacts/large": b"x" * 40_000}
    await (await executor.hold()).run(b"a" * 30_000 + b"b" * 30_000, artifacts)
    job = (await user.get("/api/v1/jobs/")).json()["results"][0]
    assert list(job["artifacts"]) == ["/artifacts/small"]
    assert [item["path"] for item in job["horde"]["left_out"]] == ["/artifacts/large"]
    assert job["stdout"].startswith("aaa")
    assert job["stdout"].endswith("bbb")
    assert "left out" in job["stdout"]
    assert len(job["stdout"]) < 17_000
    assert job["horde"]["logs"]["stdout"]["size"] == 60_000


async def test_logs_in_replies_are_text_whatever_the_job_wrote(user, executor):
    """Bytes that are no UTF-8 are replaced; above a million characters head and tail are kept."""
    job = await user.create()
    await (await executor.hold()).run(b'\xff\x00"\\ \xc3\xa9\n')
    assert (await user.job(job))["stdout"] == '\ufffd\x00"\\ é\n'

    for size in (1_500_000, 9_000_000):
        job = await user.create()
        hold = await executor.hold()
        await hold.run(b"H" * (size // 2) + b"T" * (size // 2))
        stdout = (await user.job(job))["stdout"]
        assert stdout.count("H") == stdout.count("T") == 500_000
        assert len(stdout) < 1_000_200


async def test_bytes_are_served_in_ranges(user, executor):
    """Artifacts and logs can be fetched in part, and resumed only while they are the same."""
    job = await user.create()
    data = bytes(range(256)) * 16
    await (await executor.hold()).run(data, {"/artifacts/ä b/%41?": data})
    address = f"/api/v1/jobs/{job}/artifacts/artifacts/%C3%A4%20b/%2541%3F"
    whole = await user.get(address)
    assert whole.status_code == 200
    assert whole.content == data
    etag = whole.headers["ETag"]
    for path in (address, f"/api/v1/jobs/{job}/logs/stdout/"):
        for asked, part in (
            ("bytes=0-9", data[:10]),
            ("bytes=4090-", data[4090:]),
            ("bytes=-5", data[-5:]),
            ("bytes=10-99999", data[10:]),
        ):
            answer = await user.get(path, headers={"Range": asked})
            assert answer.status_code == 206, asked
            assert answer.content == part
            assert answer.headers["Content-Range"].endswith("/4096")
        outside = await user.get(path, headers={"Range": "bytes=4096-"})
        assert outside.status_code == 416
        assert outside.headers["Content-Range"] == "bytes */4096"
        for odd in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"):
            assert (await user.get(path, headers={"Range": odd})).content == data
    same = await user.get(address, headers={"Range": "bytes=0-1", "If-Range": etag})
    changed = await user.get(address, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (same.status_code, changed.status_code) == (206, 200)
    assert (await user.get(f"/api/v1/jobs/{job}/artifacts/artifacts/none")).status_code == 404
    assert (await user.get(f"/api/v1/jobs/{job}/logs/stdin/")).status_code == 400


async def test_a_log_above_its_cap_shows_a_mark_in_the_middle(serving):
    """Readers see head, mark and tail; and while the job runs, no byte beyond the head."""
    from horde_core.wire.executor import Limits

    async with serving(limits=Limits(log_bytes=1000)) as served:
        user, executor = await served.user(), await served.executor()
        job = await user.create()
        hold = await (await executor.hold()).confirmed()
        await hold.events(0, "executor_ready", "volumes_ready")
        assert (await hold.log("stdout", 0, b"H" * 500)).status_code == 204
        assert (await hold.log("stdout", 500, b"T" * 500)).status_code == 204
        assert (await hold.log("stdout", 1000, b"x")).status_code == 413
        path = f"/api/v1/jobs/{job}/logs/stdout/"
        assert (await user.get(path)).content == b"H" * 500
        done = [{"kind": "status", "status": "execution_done", "at_ns": 1}]
        total = {"size": 1000, "dropped": 77, "head": 500}
        answer = await hold.outcome(first_seq=2, events=done, logs={"stdout": total})
        assert answer.status_code == 204, answer.text
        seen = b"H" * 500 + b"\n[... 77 bytes left out ...]\n" + b"T" * 500
        assert (await user.get(path)).content == seen
        part = await user.get(path, headers={"Range": "bytes=498-535"})
        assert part.content == seen[498:536]
        reply = await user.job(job)
        assert reply["stdout"] == seen.decode()
        assert reply["horde"]["logs"]["stdout"] == {"size": 1077, "dropped": 77}


async def test_no_odd_request_is_a_500(user, executor):
    """Unknown paths, wrong methods and wrong types are refused in JSON."""
    await user.create()
    hold = await executor.hold()
    odd = [
        await user.get("/nowhere"),
        await user.send("DELETE", "/api/v1/jobs/"),
        await user.send("POST", "/api/v1/events/", content=b"{"),
        await user.send("POST", "/api/v1/events/", json={"jobs": {"x": -1}}),
        await user.send("POST", "/api/v1/events/", json={"jobs": {str(n): 0 for n in range(10_001)}}),
        await user.get(f"/api/v1/jobs/{hold.job}/logs/", params={"stdout": "-1"}),
        await executor.send("PUT", f"{hold.path}/logs/stdout/-1", content=b"x"),
        await executor.send("PUT", f"{hold.path}/logs/stdout/{10**30}", content=b"x"),
        await executor.send("PUT", f"{hold.path}/events/x", json={"events": []}),
        await executor.send("PUT", f"/executor/v1/attempts/{hold.job}/{10**30}/outcome", json={}),
        await executor.send("PUT", f"{hold.path}/artifacts/x", content=b"x"),
        await executor.send("PUT", "/executor/v1/claims/x", json={"classes": []}),
        await executor.send("PUT", "/executor/v1/claims/x", json=[1]),
    ]
    for answer in odd:
        assert 400 <= answer.status_code < 500, answer.request.url
        assert isinstance(answer.json(), dict)
    schema = (await user.get("/api/openapi.json")).json()
    assert "/api/v1/job-docker/" in schema["paths"]
    assert schema["paths"]["/api/v1/jobs/{uuid}/"]["get"]["responses"]["404"]
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)))
    assert names <= set(schema["components"]["schemas"])
    assert {"JobSpec", "Claim", "OutcomeReport", "JobReply", "Refusal"} <= names
