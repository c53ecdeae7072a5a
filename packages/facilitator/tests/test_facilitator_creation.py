"""From a request to a job: signatures, what is refused and why, and that no request makes two jobs."""

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest

RECORDED = json.loads(
    (Path(__file__).parents[2] / "core" / "tests" / "recorded_requests.json").read_text(encoding="utf-8")
)
CREATIONS = [r for r in RECORDED if r["target"] == "/api/v1/job-docker/"]


def not_available(body: dict) -> set[str]:
    """The fields of a recorded request that ask for what is not there yet."""
    fields = set()
    if body.get("streaming_details"):
        fields.add("streaming_details")
    return fields


async def test_what_published_clients_really_sent_is_understood(serving, shifted_clock):
    """B2: Recorded requests become jobs; what is not available yet is named by a 400; altered ones are refused."""
    clock = shifted_clock()
    signatories = frozenset(r["headers"]["X-CH-Signatory"] for r in CREATIONS)
    async with serving(clock, admit={"user": signatories}) as served:
        client = served.client()
        seen = set()
        for request in CREATIONS:
            headers = request["headers"]
            clock.set_wall(int(headers["X-CH-Timestamp-NS"]) // 1000)
            tokens = await served_tokens(served)
            token = tokens.make(headers["X-CH-Signatory"], clock.now().wall_us)
            answer = await client.post(
                "/api/v1/job-docker/",
                content=request["body"].encode(),
                headers={**headers, "Authorization": f"Bearer {token}"},
            )
            body = json.loads(request["body"])
            missing = not_available(body)
            if not request["valid"]:
                assert answer.status_code == 400, request["id"]
                assert "signature" in answer.json()["detail"]
            elif missing:
                assert answer.status_code == 400, request["id"]
                assert set(answer.json()) == missing, request["id"]
                assert "not available yet" in str(answer.json())
            else:
                assert answer.status_code == 201, (request["id"], answer.text)
                job = answer.json()
                assert job["args"] == body["args"]
                assert job["env"] == body["env"]
                seen.add(job["uuid"])
        assert len(seen) == 11


async def served_tokens(served):
    """What makes tokens for hotkeys whose private half only the recorded client had."""
    from horde_facilitator.auth import Tokens
    from horde_facilitator.home import Home
    from horde_facilitator.keyring import Keyring

    return Tokens(Keyring.opened(Home(served.settings.data).token_keys, 3600), 3600)


async def test_fifty_copies_of_one_request_make_one_job(user):
    """B12: The client's own retries reuse headers and body; all get the one job, with 201."""
    body = user.spec()
    headers = user.signed(body)
    answers = await asyncio.gather(*(user.post(body, headers) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["uuid"] for answer in answers}) == 1
    assert (await user.get("/api/v1/jobs/")).json()["count"] == 1


async def test_the_job_object_suits_every_published_client(user):
    """C2: Everything that 0.0.14 and 0.0.18 require is there, and nothing of it is null."""
    answer = await user.post(user.spec(job_namespace="SN1.0", tag="t"))
    assert answer.status_code == 201
    job = answer.json()
    for name in ("uuid", "executor_class", "created_at", "docker_image", "stdout", "stderr", "status"):
        assert isinstance(job[name], str), name
    assert job["status"] == "Received"
    assert [entry["status"] for entry in job["status_history"]] == ["sent", "received"]
    assert job["artifacts"] == job["upload_results"] == {}
    assert (job["streaming_server_cert"], job["streaming_server_address"]) == ("", "")
    assert job["streaming_server_port"] == 0
    assert (job["job_namespace"], job["tag"], job["use_gpu"]) == ("SN1.0", "t", True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"executor_class": "always_on.unknown"}, "executor_class"),
        ({"docker_image": "Not An Image"}, "docker_image"),
        ({"args": ["a", 1]}, "args"),
        ({"args": None}, "args"),
        ({"env": {"A": 1}}, "env"),
        ({"execution_time_limit": -1}, "execution_time_limit"),
        ({"execution_time_limit": "20"}, "execution_time_limit"),
        ({"execution_time_limit": 2**31}, "execution_time_limit"),
        ({"artifacts_dir": "relative"}, "artifacts_dir"),
        ({"surprise": 1}, "surprise"),
        ({"volumes": [{"volume_type": "inline", "contents": "%%", "relative_path": "a"}]}, "volumes"),
        ({"volumes": [{"volume_type": "zip_url", "contents": "no URL"}]}, "volumes"),
        ({"volumes": [{"volume_type": "huggingface_volume", "repo_id": ""}]}, "volumes"),
        (
            {"uploads": [{"output_upload_type": "single_file_put", "url": "ftp://a/b", "relative_path": "x"}]},
            "uploads",
        ),
        ({"streaming_details": {"public_key": "PEM"}}, "streaming_details"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
async def test_a_wrong_field_is_a_400_that_names_it(user, change, field):
    """C3: Nothing is coerced, trimmed or left out in silence."""
    answer = await user.post(user.spec(**change))
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert all(isinstance(message, str) for message in answer.json()[field])
    if field == "executor_class":
        assert "always_on.test" in answer.json()[field][0]


async def test_what_published_clients_send_without_need_is_fine(user):
    """B9: Empty lists, a null directory, a GPU that nobody needs, empty and blank arguments."""
    answer = await user.post(
        user.spec(volumes=[], uploads=[], artifacts_dir=None, use_gpu=True, args=["", " ", " a "])
    )
    assert answer.status_code == 201
    assert answer.json()["args"] == ["", " ", " a "]


async def test_bodies_that_are_no_json_object_are_refused(user):
    """No body, however odd, is answered with a 500."""
    signed = user.signed({})
    bodies = [b"", b"{", b"[]", b"1", b"\xff\xfe", b'{"a":' * 100_000, b'{"args":' + b"9" * 5000 + b"}"]
    bodies += [b'{"docker_image": "\\ud800"}', b'{"execution_time_limit": NaN}', "{}".encode("utf-16")]
    for body in bodies:
        answer = await user.send("POST", "/api/v1/job-docker/", content=body, headers=signed)
        assert answer.status_code == 400, body[:40]


async def test_signature_headers_are_judged(user, served):
    """B1: Missing, malformed, foreign or wrong: 400, so that no client tries the same again."""
    body = user.spec()
    good = user.signed(body)
    other = await served.user("other")
    bad = [
        {},
        {**good, "X-CH-Signature-Type": "ed25519"},
        {**good, "X-CH-Signature": base64.b64encode(b"x" * 64).decode()},
        {**good, "X-CH-Signature": "short"},
        {**good, "X-CH-Timestamp-NS": "-1"},
        {**good, "X-CH-Timestamp-NS": str(int(good["X-CH-Timestamp-NS"]) + 1)},
        {**good, "X-CH-Signatory": other.hotkey.ss58_address},
        other.signed(body),
    ]
    for headers in bad:
        answer = await user.post(body, headers)
        assert answer.status_code == 400, headers
        assert "detail" in answer.json()
    assert (await user.post({**body, "args": ["other"]}, good)).status_code == 400
    assert (await user.post(body, good)).status_code == 201


async def test_old_and_future_signatures_are_refused(user):
    """Five minutes back and one ahead; the message says what to check."""
    body, now = user.spec(), time.time_ns()
    for seconds, status in ((-290, 201), (50, 201), (-310, 400), (70, 400)):
        answer = await user.post(body, user.signed(body, now + seconds * 10**9))
        assert answer.status_code == status, seconds
        assert status == 201 or "clock" in answer.json()["detail"]


async def test_a_large_body_is_taken_and_a_larger_one_is_a_413(user, executor):
    """C11: 32 MiB is the cap; what lies below reaches the executor unchanged."""
    contents = base64.b64encode(b"\x01" * (6 * 1024**2)).decode()
    volume = {"volume_type": "inline", "contents": contents, "relative_path": "big.bin"}
    uuid = await user.create(volumes=[volume])
    hold = await executor.hold()
    assert hold.job == uuid
    assert hold.claim["spec"]["volumes"][0]["contents"] == contents
    answer = await user.send(
        "POST", "/api/v1/job-docker/", content=b"x" * (32 * 1024**2 + 1), headers=user.signed({})
    )
    assert answer.status_code == 413
    assert "detail" in answer.json()


async def test_a_large_body_delays_nobody_else(user, served):
    """While a body of 30 MiB is judged, small requests are answered promptly."""
    contents = base64.b64encode(b"\x01" * (22 * 1024**2)).decode()
    body = user.spec(volumes=[{"volume_type": "inline", "contents": contents, "relative_path": "big.bin"}])
    text = json.dumps(body).encode()
    headers = user.signed(body)
    creation = asyncio.create_task(user.send("POST", "/api/v1/job-docker/", content=text, headers=headers))
    other, slowest = await served.user("other"), 0.0
    while not creation.done():
        started = time.monotonic()
        assert (await other.get("/healthz")).status_code == 200
        slowest = max(slowest, time.monotonic() - started)
    assert (await creation).status_code == 201
    assert slowest < 2


async def test_a_job_whose_request_named_a_key_twice_runs_what_was_signed(user, executor):
    """Of a key that stands twice the last one counts, everywhere: it is what was signed, and what runs."""
    body = user.spec(args=["signed"])
    text = json.dumps(body)
    text = '{"args": ["first"], ' + text[1:]
    answer = await user.send("POST", "/api/v1/job-docker/", content=text.encode(), headers=user.signed(body))
    assert answer.status_code == 201
    assert answer.json()["args"] == ["signed"]
    assert (await executor.hold()).claim["spec"]["args"] == ["signed"]
