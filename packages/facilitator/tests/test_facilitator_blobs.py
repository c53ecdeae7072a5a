"""Inputs that are uploaded before the job: in pieces, by their hash, for their owner alone."""

import asyncio
import hashlib
import json
import os
import socket

import pytest

from horde_facilitator.clock import SECOND

DAY = 86_400 * SECOND
DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = f"/api/v1/blobs/{SHA256}/"


async def state(person, path: str = PATH) -> dict:
    answer = await person.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def put(person, offset: int, data: bytes, size: int = len(DATA), path: str = PATH):
    return await person.send("PUT", f"{path}{offset}", params={"size": size}, content=data)


async def upload(person, data: bytes = DATA) -> dict:
    path = f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}/"
    answer = await put(person, 0, data, len(data), path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def volume(data: bytes = DATA, **fields) -> dict:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"volume_type": "blob", "sha256": sha256, "size": len(data), "relative_path": "in/data", **fields}


async def test_a_blob_arrives_in_pieces_that_may_be_repeated(user):
    """The facilitator names the place to go on at; a gap is refused, and what came twice counts once."""
    assert await state(user) == {
        "sha256": SHA256, "size": None, "arrived": 0, "checked": 0, "whole": False, "piece_bytes": 16 * 1024**2
    }  # fmt: skip
    assert (await put(user, 0, DATA[:2_000_000])).json()["arrived"] == 2_000_000
    gap = await put(user, 2_000_001, DATA[2_000_001:])
    assert (gap.status_code, gap.json()["code"]) == (409, "missing_parts")
    assert (await put(user, 1_000_000, DATA[1_000_000:2_500_000])).json()["arrived"] == 2_500_000
    assert (await state(user))["whole"] is False
    assert (await put(user, 2_500_000, DATA[2_500_000:])).json()["whole"] is True
    assert (await state(user))["whole"] is True
    assert (await put(user, 0, b"is not read")).json()["arrived"] == len(DATA), "it is here"


async def test_what_arrived_of_a_piece_that_broke_off_counts(user, served, wait_until):
    """The next piece begins in the middle of the broken one."""
    host, port = served.url.removeprefix("http://").split(":")
    head = f"PUT {PATH}0?size={len(DATA)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n"
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"{head}Authorization: Bearer {user.token}\r\n\r\n".encode() + DATA[:2_500_000])

        async def arrived() -> int:
            return (await state(user))["arrived"]

        seen = await wait_until("the pieces", arrived)
    assert 0 < seen <= 2_500_000
    assert (await put(user, seen, DATA[seen:])).json()["whole"] is True


async def test_a_wrong_hash_is_named_and_the_upload_begins_anew(user):
    """Nobody can pass something off as the content of another hash."""
    answer = await put(user, 0, DATA[:-1] + bytes([DATA[-1] ^ 1]))
    assert answer.status_code == 400
    assert "have the hash" in answer.json()["sha256"][0]
    assert (await state(user))["arrived"] == 0
    assert (await upload(user))["whole"] is True


async def test_a_restart_between_two_pieces_loses_nothing(serving):
    """Neither bytes that were acknowledged nor the hash of the whole."""
    async with serving() as first:
        await put(await first.user(), 0, DATA[:2_000_000])
    async with serving() as second:
        user = await second.user()
        assert (await state(user))["arrived"] == 2_000_000
        assert (await put(user, 2_000_000, DATA[2_000_000:])).json()["whole"] is True


async def test_the_hash_of_a_large_blob_is_checked_by_and_by(serving, monkeypatch):
    """So that no request waits long for it: an empty piece at the end is repeated until the blob is whole."""
    monkeypatch.setattr("horde_facilitator.checks.BUDGET_S", 0)
    monkeypatch.setattr("horde_facilitator.checks.PIECE", 1_000_000)
    async with serving() as served:
        user = await served.user()
        checked = [(await upload(user))["checked"]]
        while not (answer := (await put(user, len(DATA), b"")).json())["whole"]:
            checked.append(answer["checked"])
    assert checked == [1_000_000, 2_000_000]


async def test_a_job_names_a_blob_and_only_its_executor_gets_it(served, user, executor, failure):
    """In ranges, as often as it likes, until the attempt is over."""
    await upload(user)
    await upload(user, b"another")
    job = await user.create(volumes=[volume(), volume(relative_path="again")])
    hold = await (await executor.hold()).confirmed()
    assert [v["sha256"] for v in hold.claim["spec"]["volumes"]] == [SHA256, SHA256]
    assert (await executor.get(f"{hold.path}/blobs/{SHA256}")).content == DATA
    rest = await executor.get(f"{hold.path}/blobs/{SHA256}", headers={"Range": "bytes=2999990-"})
    assert (rest.status_code, rest.content) == (206, DATA[-10:])
    unnamed = hashlib.sha256(b"another").hexdigest()
    assert (await executor.get(f"{hold.path}/blobs/{unnamed}")).status_code == 404
    stranger = await served.executor("second")
    assert (await stranger.get(f"{hold.path}/blobs/{SHA256}")).status_code == 404
    assert (await user.get(f"{hold.path}/blobs/{SHA256}")).status_code == 403
    assert (await hold.outcome(outcome=failure())).status_code == 204
    await user.wait_for(job, "Failed")
    assert (await executor.get(f"{hold.path}/blobs/{SHA256}")).json()["code"] == "stale_attempt"


async def test_a_job_cannot_name_what_is_not_its_owners(served, user, executor):
    """A blob that is somebody else's, not whole, or of another size is the same as none."""
    other = await served.user("other")
    await upload(other)
    assert (await state(user))["arrived"] == 0
    await put(user, 0, DATA[:1000])
    begun = {**volume(), "relative_path": None, "unpack": True}
    for wrong in (volume(), begun, volume(b"nobody has this"), {**volume(), "size": 5}):
        answer = await user.post(user.spec(volumes=[wrong]))
        assert answer.status_code == 400, answer.text
        assert "upload it first" in answer.json()["volumes"][0]
    assert await executor.claim() is None
    assert (await other.post(other.spec(volumes=[volume()]))).status_code == 201


async def test_the_volume_is_part_of_what_is_signed(user):
    """A hash that was changed on the way makes another job, which nobody signed."""
    await upload(user)
    await upload(user, b"evil" * 3)
    body = user.spec(volumes=[volume()])
    headers = user.signed(body)
    body["volumes"] = [volume(b"evil" * 3)]
    assert (await user.post(body, headers)).status_code == 400


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"sha256": "AB"}, "sha256"), ({"size": 0}, "size"), ({"relative_path": None}, "path must name one")],
)
async def test_a_wrong_volume_names_its_field(user, wrong, said):
    answer = await user.post(user.spec(volumes=[{**volume(), **wrong}]))
    assert answer.status_code == 400
    assert said in answer.json()["volumes"][0]


async def test_caps_are_told_before_anything_is_taken(serving):
    """Of one blob, of all of an owner's together (begun ones count), and of a piece."""
    async with serving(blob_bytes=4_000_000, blob_bytes_per_hotkey=5_000_000) as served:
        user = await served.user()
        large = await put(user, 0, b"", 4_000_001)
        assert (large.status_code, "the limit is 4000000" in large.text) == (413, True)
        assert (await put(user, 0, b"")).status_code == 200
        path = f"/api/v1/blobs/{hashlib.sha256(b'2').hexdigest()}/"
        full = await put(user, 0, b"", 2_000_001, path)
        assert (full.status_code, "the limit is 5000000" in full.text) == (413, True)
        assert (await put(user, 0, b"", 2_000_000, path)).status_code == 200
        assert (await put(user, 0, DATA, path=path, size=1)).status_code == 413, "more than the blob has"
        assert (await put(user, 2, b"", 1, path)).status_code == 400
        assert (await put(await served.user("other"), 0, b"", 4_000_000)).status_code == 200


async def test_what_nobody_uses_is_forgotten_but_not_while_a_job_names_it(
    serving, shifted_clock, data, wait_until, failure
):
    """Drafts after a day; whole ones a week after their last use. The bytes are gone, too."""
    clock, stored = shifted_clock(), data / "blobs" / "inputs"

    async def count(number: int):
        async def counted() -> bool:
            return len(list(stored.glob("*"))) == number

        await wait_until(f"{number} blobs", counted)

    async with serving(clock, sweep_s=0) as served:
        user, executor = await served.user(), await served.executor()
        await upload(user)
        await upload(user, b"named by no job")
        await put(user, 0, b"begun", 100, f"/api/v1/blobs/{'0' * 64}/")
        await user.create(volumes=[volume()], queue_time_limit=80_000)
        hold = await (await executor.hold()).confirmed()
        await count(3)
        clock.wall_shift_us += DAY + SECOND
        await count(2)
        clock.wall_shift_us += 6 * DAY + SECOND
        await count(1)
        await executor.login()
        assert (await executor.get(f"{hold.path}/blobs/{SHA256}")).content == DATA
        assert (await hold.outcome(outcome=failure())).status_code == 204
        await count(0)
        await user.login()
        assert (await state(user))["arrived"] == 0
        assert (await upload(user))["whole"] is True


async def test_many_pieces_of_one_blob_at_once_are_one_blob(user):
    """Two processes that upload the same content do not harm each other."""
    pieces = [0, 1_000_000, 2_000_000]
    for _ in range(3):
        await asyncio.gather(*(put(user, at, DATA[at : at + 1_000_000]) for at in (*pieces, *pieces)))
    assert (await state(user))["whole"] is True


async def test_a_draft_of_another_size_gives_way(user):
    """Who began with a wrong size need not wait for a day."""
    assert (await put(user, 0, DATA[:10], 77)).json()["size"] == 77
    assert (await upload(user))["whole"] is True
    assert json.loads((await put(user, 0, b"", 5)).text)["size"] == len(DATA), "a whole one stays what it is"
