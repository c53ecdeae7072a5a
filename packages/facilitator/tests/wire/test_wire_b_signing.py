"""Section B, signed requests: what the recorded ones do not hold. The rules stand in `docs/wire.md`.

Requests are signed here by hand, so that the facilitator's reading is not judged by itself.
"""

import base64
import hashlib
import json

import pytest

from horde_facilitator.clock import SECOND

WHOLE = {
    "executor_class": "always_on.test",
    "docker_image": "a/b:1",
    "args": ["", " x ", 'a "quoted" \\ one/two', "\u0001\t\x7f", "ż😀"],
    "env": {"B": "2", "A": "1"},
    "use_gpu": True,
    "artifacts_dir": "/out",
    "on_trusted_miner": False,
    "download_time_limit": 1,
    "execution_time_limit": 2,
    "upload_time_limit": 3,
    "streaming_start_time_limit": 5,
    "streaming_details": None,
    "volumes": [],
    "uploads": [],
}
"""All fields that are signed, in their order."""
STANDS_FOR = {
    "args": "[]",
    "env": "{}",
    "use_gpu": "false",
    "artifacts_dir": '""',
    "on_trusted_miner": "false",
    "download_time_limit": "0",
    "execution_time_limit": "0",
    "upload_time_limit": "0",
    "streaming_start_time_limit": "0",
    "streaming_details": "null",
    "volumes": "[]",
    "uploads": "[]",
}
"""What is signed in the place of a field that is missing. (The class and the image must not be.)"""


def printed(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def inner(texts: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


def by_hand(user, text: str, at_ns: int, sign=None) -> dict[str, str]:
    """The headers for an inner text."""
    literal = '"' + "".join(escaped(unit) for unit in utf16(text)) + '"'
    hashed = at_ns.to_bytes(8, "big") + literal.encode("ascii")
    digest = hashlib.blake2b(hashed, digest_size=64).digest()
    return {
        "X-CH-Signature-Type": "bittensor",
        "X-CH-Signatory": user.hotkey.ss58_address,
        "X-CH-Timestamp-NS": str(at_ns),
        "X-CH-Signature": base64.b64encode((sign or user.hotkey.sign)(digest)).decode(),
        "X-CH-Signature-Scope": "SignedFields",
    }


def utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def escaped(unit: int) -> str:
    short = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
    if unit in short:
        return short[unit]
    return chr(unit) if 0x20 <= unit <= 0x7E else f"\\u{unit:04x}"


def now_ns(served) -> int:
    return served.clock.now().wall_us * 1000


TEXTS = {name: printed(value) for name, value in WHOLE.items()}


async def test_what_is_signed_is_printed_as_agreed(user, served):
    """B4: Fields in their order, no spaces, text raw inside and ASCII outside; nothing is trimmed or sorted."""
    answer = await user.post(WHOLE, by_hand(user, inner(TEXTS), now_ns(served)))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["args"], list(answer.json()["env"])) == (WHOLE["args"], ["B", "A"])


@pytest.mark.parametrize("form", ["compact", "spaced", "escaped", "reordered"])
async def test_the_form_of_the_body_is_no_part_of_the_signature(user, served, form):
    """B3: It is read as JSON first; old and new HTTP libraries print it differently."""
    body = {
        "compact": json.dumps(WHOLE, ensure_ascii=False, separators=(",", ":")),
        "spaced": json.dumps(WHOLE, ensure_ascii=False, indent=2),
        "escaped": json.dumps(WHOLE),
        "reordered": json.dumps(dict(reversed(WHOLE.items()))),
    }[form]
    headers = by_hand(user, inner(TEXTS), now_ns(served))
    answer = await user.send("POST", "/api/v1/job-docker/", content=body.encode(), headers=headers)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("missing", STANDS_FOR)
async def test_something_stands_for_a_missing_field(user, served, missing):
    """B5: Each field has one value that is signed where it is left out."""
    body = {name: value for name, value in WHOLE.items() if name != missing}
    headers = by_hand(user, inner({**TEXTS, missing: STANDS_FOR[missing]}), now_ns(served))
    answer = await user.post(body, headers)
    assert answer.status_code == 201, answer.text


async def test_a_null_directory_is_signed_as_none(user, served):
    """B5: `artifacts_dir` null, which every client sends that wants no artifacts, is signed as empty text."""
    headers = by_hand(user, inner({**TEXTS, "artifacts_dir": '""'}), now_ns(served))
    assert (await user.post({**WHOLE, "artifacts_dir": None}, headers)).status_code == 201


@pytest.mark.parametrize("field", ["target_validator_hotkey", "job_namespace", "tag"])
async def test_what_is_not_signed_may_differ(user, served, field):
    """B8: Three fields are outside; on their way they may be set and changed."""
    headers = by_hand(user, inner(TEXTS), now_ns(served))
    answer = await user.post({**WHOLE, field: "another"}, headers)
    assert (answer.status_code, answer.json()[field]) == (201, "another")


@pytest.mark.parametrize(("age_s", "status"), [(300, 201), (301, 400), (-60, 201), (-61, 400)], ids=str)
async def test_a_signature_is_good_for_five_minutes_and_one_ahead(serving, shifted_clock, age_s, status):
    """B10: To the second, by the facilitator's clock."""
    clock = shifted_clock()
    async with serving(clock) as served:
        user = await served.user()
        clock.set_wall(1_800_000_000 * SECOND)
        user.token = await _token(user)
        signed_us = clock.now().wall_us
        clock.wall_shift_us += age_s * SECOND - (clock.now().wall_us - signed_us)
        # The request itself takes a moment: what is not to be too old yet is signed that much later.
        moment_us = SECOND // 2 if age_s == 300 else 0
        answer = await user.post(WHOLE, by_hand(user, inner(TEXTS), (signed_us + moment_us) * 1000))
        assert answer.status_code == status, answer.text
        if status == 400:
            assert "X-CH-Timestamp-NS" in answer.json()["detail"]


async def _token(user) -> str:
    await user.login()
    return user.token


async def test_a_wrapped_signature_makes_no_job(user, served):
    """B13: As for logins: what a web page may have had signed is no request."""
    headers = by_hand(
        user, inner(TEXTS), now_ns(served), lambda digest: user.hotkey.sign(b"<Bytes>" + digest + b"</Bytes>")
    )
    answer = await user.post(WHOLE, headers)
    assert (answer.status_code, "signature" in answer.text) == (400, True)


async def test_a_repeat_is_the_same_job_whatever_became_of_it(user, served, executor):
    """B12: Also when the job has ended by then, and when what is not signed was changed on the way."""
    headers = by_hand(user, inner(TEXTS), now_ns(served))
    first = (await user.post(WHOLE, headers)).json()["uuid"]
    await (await executor.hold()).run()
    again = await user.post({**WHOLE, "tag": "changed"}, headers)
    assert (again.status_code, again.json()["uuid"], again.json()["status"]) == (201, first, "Completed")
    assert again.json()["tag"] == ""
