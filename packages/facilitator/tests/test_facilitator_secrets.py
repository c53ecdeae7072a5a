"""What jobs bring along is sealed in the records, shown to nobody who need not see it, and wiped at their end."""

import base64
import json
import shutil
import sqlite3
import stat
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from horde_facilitator import database, migrations
from horde_facilitator.clock import SystemClock
from horde_facilitator.errors import SealError, StartError
from horde_facilitator.home import Home
from horde_facilitator.resealing import keys_for
from horde_facilitator.sealing import Purpose, SealingKeys

JOB = str(uuid.uuid4())


def secret(what: str) -> str:
    return f"{what}/{uuid.uuid4().hex}+"


def places_of(word: str, root: Path) -> list[str]:
    """The files below a directory that hold the word, plain, in base64 or as URLs have it."""
    raw = word.encode()
    shifted = (base64.b64encode(b" " * n + raw)[4:-4] for n in range(3))
    forms = {raw, quote(word, safe="").encode(), json.dumps(word)[1:-1].encode(), *shifted}
    files = (path for path in root.rglob("*") if path.is_file())
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def keys(*numbers: int) -> SealingKeys:
    return SealingKeys([bytes([number]) * 32 for number in numbers])


def test_a_seal_opens_for_its_job_and_purpose_alone():
    """Not for another job or purpose, not when a bit is changed, and not without its key."""
    mine = keys(1)
    sealed = mine.seal(b"content", JOB, Purpose.BODY)
    assert b"content" not in sealed
    assert sealed != mine.seal(b"content", JOB, Purpose.BODY)
    assert mine.open(sealed, JOB, Purpose.BODY) == b"content"
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    attempts = [
        (mine, sealed, JOB, Purpose.ECHO),
        (mine, sealed, str(uuid.uuid4()), Purpose.BODY),
        (keys(2), sealed, JOB, Purpose.BODY),
        *((mine, other, JOB, Purpose.BODY) for other in (*changed, b"", sealed[:12], sealed[:-1])),
    ]
    for ring, blob, job, purpose in attempts:
        with pytest.raises(SealError):
            ring.open(blob, job, purpose)


def test_the_newest_key_seals_and_older_ones_open():
    sealed = keys(1).seal(b"old", JOB, Purpose.BODY)
    both = keys(2, 1)
    assert both.open(sealed, JOB, Purpose.BODY) == b"old"
    assert keys(2).open(both.seal(b"new", JOB, Purpose.BODY), JOB, Purpose.BODY) == b"new"


def test_the_file_of_keys_is_private_and_made_once(data):
    """Made with mode 0600, read again, refused when others may read it or it holds something else."""
    home = Home(data)
    made = keys_for(home.database, home.sealing_keys)
    assert stat.S_IMODE(home.sealing_keys.stat().st_mode) == 0o600
    assert keys_for(home.database, home.sealing_keys).newest == made.newest
    home.sealing_keys.chmod(0o640)
    with pytest.raises(StartError, match="0600"):
        keys_for(home.database, home.sealing_keys)
    home.sealing_keys.chmod(0o600)
    for text in ("00" * 31, "00" * 33, "no key"):
        home.sealing_keys.write_text(text)
        with pytest.raises(StartError, match="64 hexadecimal digits"):
            keys_for(home.database, home.sealing_keys)


async def test_secrets_are_in_no_file_and_no_reply_and_gone_at_the_end(served, user, executor):
    """From the first moment to the last; only the executor's claim has them. What may be shown is shown."""
    root = served.settings.data
    marked, plain, query, visible = secret("marked"), secret("plain"), secret("query"), secret("visible")
    fields = {
        "env": {"A": "1", "MARKED": marked, "PLAIN": plain},
        "secret_env": ["MARKED"],
        "job_namespace": visible,
        "volumes": [
            {"volume_type": "single_file", "url": f"https://h/f?s={quote(query)}", "relative_path": "f"},
        ],
    }
    body = user.spec(**fields)
    created = await user.post(body)
    job = created.json()["uuid"]
    stored = sqlite3.connect(root / "db.sqlite3")
    assert all(len(column) > 1 for column in stored.execute("SELECT body, echo FROM requests").fetchone())
    hold = await executor.hold()
    assert hold.claim["spec"]["env"]["MARKED"] == marked
    assert hold.claim["spec"]["secret_env"] == ["MARKED"]
    assert quote(query) in hold.claim["spec"]["volumes"][0]["url"]
    async with user.watch({job: 0}) as events:
        replies = [created.text, (await user.get(f"/api/v1/jobs/{job}/")).text]
        await hold.run()
        replies += [json.dumps(event) async for event in _until_ended(events)]
    replies += [(await user.get(path)).text for path in (f"/api/v1/jobs/{job}/", "/api/v1/jobs/")]
    for reply in replies:
        assert marked not in reply
        assert query not in reply
        assert quote(query) not in reply
    shown = await user.job(job)
    assert shown["env"] == {"A": "1", "PLAIN": plain}
    assert stored.execute("SELECT body FROM requests").fetchone() == (b"",)
    stored.close()
    assert places_of(visible, root)
    assert [places_of(word, root) for word in (marked, plain, query)] == [[], [], []]


async def _until_ended(events):
    async for event in events:
        yield event
        if event["ended"]:
            return


async def test_every_end_wipes_the_body(served, user, executor, failure):
    """A cancel in the queue, a failure and a rejection, in the transaction that ends the job."""
    await user.cancel(await user.create())
    await user.create()
    hold = await (await executor.hold()).confirmed()
    assert (await hold.outcome(outcome=failure())).status_code == 204
    with sqlite3.connect(served.settings.data / "db.sqlite3") as stored:
        assert stored.execute("SELECT body FROM requests").fetchall() == [(b"",), (b"",)]
    stored.close()


async def test_a_secret_name_without_a_value_is_refused(user):
    """The answer names the field and the variable, and no value."""
    for names, word in ((["A", "B"], "'B' is not in env"), (["A", "A"], "twice")):
        answer = await user.post(user.spec(env={"A": "value-of-a"}, secret_env=names))
        assert answer.status_code == 400
        assert word in answer.json()["secret_env"][0]
        assert "value-of-a" not in answer.text


async def test_after_a_rotation_the_old_key_is_not_needed(serving, data):
    """A new first line, a start: everything is sealed anew, so the old line can go, and no job notices."""
    path = Home(data).sealing_keys
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        ended, waiting = await user.create(env={"A": "ended"}), await user.create(env={"A": "waiting"})
        await (await executor.hold()).run()
    first = path.read_text()
    path.write_text(f"{'5a' * 32}\n{first}")
    async with serving():
        pass
    path.write_text("5a" * 32)
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        assert (await user.job(ended))["env"] == {"A": "ended"}
        hold = await executor.hold()
        assert (hold.job, hold.claim["spec"]["env"]) == (waiting, {"A": "waiting"})


async def test_without_its_key_a_job_ends_honestly(serving, data):
    """A missing file keeps the facilitator from starting. If an empty one says that it is lost, the job fails."""
    path = Home(data).sealing_keys
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        ended, waiting = await user.create(), await user.create()
        await (await executor.hold()).run()
    path.unlink()
    with pytest.raises(StartError, match="Put it back"):
        async with serving():
            raise AssertionError("it started")
    path.touch(mode=0o600)
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        assert await executor.claim() is None
        job = await user.job(waiting)
        assert job["status_history"][-1]["status"] == "horde_failed"
        assert job["horde"]["outcome"]["reason"] == "request_lost"
        assert job["horde"]["payment"] == "released"
        told = await user.job(ended)
        assert (told["status"], told["docker_image"]) == ("Completed", "horde-test/busybox:1")
        assert (told["args"], told["env"]) == ([], {})
        new = await user.create(env={"A": "new"})
        assert (await executor.hold()).job == new


def test_what_was_stored_plain_is_sealed_and_leaves_no_trace(tmp_path):
    """Bodies and echoes of the first records, small and large, are nowhere in the file once it was opened anew."""
    home = Home(tmp_path)
    words = {size: secret("plain") for size in (0, 3000, 2_000_000)}
    jobs = {str(uuid.uuid4()): word + "x" * size for size, word in words.items()}
    _plain_records(home.database, jobs)
    assert all(places_of(word, tmp_path) for word in words.values())
    migrations.bring_up_to_date(home.database)
    sealing = keys_for(home.database, home.sealing_keys)
    assert [places_of(word, tmp_path) for word in words.values()] == [[], [], []]
    stored = sqlite3.connect(home.database)
    rows = stored.execute("SELECT job, body, echo, status FROM requests JOIN jobs ON uuid = job").fetchall()
    stored.close()
    assert len(rows) == len(jobs)
    for job, body, echo, status in rows:
        assert json.loads(sealing.open(echo, job, Purpose.ECHO)) == {"env": {"A": jobs[job]}}
        wiped = status == "completed"
        assert body == b"" if wiped else sealing.open(body, job, Purpose.BODY) == jobs[job].encode()
    assert {row[3] for row in rows} == {"completed", "received"}


def _plain_records(path: Path, jobs: dict[str, str]) -> None:
    """A store of the revision before there were seals."""
    engine, config = database.engine(path), Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    now = SystemClock().now().wall_us
    row = {
        "owner": "me",
        "executor_class": "c",
        "namespace": "",
        "priority": 0,
        "attempt": 0,
        "losses": 0,
        "max_attempts": 3,
        "begun": False,
        "exposed": False,
        "shown": 0,
        "entries": 2,
        "budget_us": 1,
        "created_us": now,
        "updated_us": now,
        "deadline_us": now,
    }
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        tables = sa.MetaData()
        tables.reflect(connection)
        for job, text in jobs.items():
            status = "completed" if job == min(jobs) else "received"
            connection.execute(sa.insert(tables.tables["jobs"]).values({**row, "uuid": job, "status": status}))
            request = {"job": job, "body": text.encode(), "echo": json.dumps({"env": {"A": text}})}
            connection.execute(sa.insert(tables.tables["requests"]).values(request))
    engine.dispose()


def test_errors_of_the_store_show_no_parameters(tmp_path, template):
    """What the log quotes of a failed statement is the statement alone."""
    shutil.copy(template, tmp_path / "db")
    engine, word = database.engine(tmp_path / "db"), secret("parameter")
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO hotkeys (hotkey) VALUES (:word)"), {"word": word})
    engine.dispose()
    assert word not in str(caught.value)
