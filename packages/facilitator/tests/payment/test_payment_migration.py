"""Jobs that were there before there was a ledger."""

import json
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from horde_facilitator import database, migrations
from horde_facilitator.clock import SystemClock

CLASS = "always_on.test"
FIRST = {
    "executor_class": CLASS,
    "namespace": "",
    "priority": 0,
    "attempt": 0,
    "losses": 0,
    "max_attempts": 3,
    "begun": False,
    "exposed": False,
    "shown": 0,
    "entries": 2,
    "budget_us": 10**10,
}


def first_schema(path: Path, owner: str, jobs: dict[str, bytes]) -> None:
    """A store of the first revision, with queued jobs of an owner."""
    engine = database.engine(path)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(connection)
        now = SystemClock().now().wall_us
        times = {"created_us": now, "updated_us": now, "deadline_us": now + 10**12}
        for uuid, body in jobs.items():
            row = {**FIRST, **times, "uuid": uuid, "owner": owner, "status": "received"}
            connection.execute(sa.insert(tables.tables["jobs"]).values(row))
            request = {"job": uuid, "body": body, "echo": body.decode()}
            connection.execute(sa.insert(tables.tables["requests"]).values(request))
            for seq, status in enumerate(("sent", "received")):
                entry = {"job": uuid, "seq": seq, "status": status, "attempt": 0, "at_us": now}
                connection.execute(sa.insert(tables.tables["history"]).values(entry))
    engine.dispose()


async def test_jobs_of_the_first_records_end_well_and_cost_nothing(serving, data, people):
    """They run, are cancelled and are listed as before; nothing is entered for them, and the ledger adds up."""
    user, executor = people("other", "executor")
    for person in (user, executor):
        await person.http.aclose()
    address = user.hotkey.ss58_address
    (data / "db.sqlite3").unlink()
    body = json.dumps(user.spec()).encode()
    first_schema(data / "db.sqlite3", address, {"runs": body, "cancelled": body})
    admit = {
        "user": frozenset({address}),
        "operator": frozenset({address}),
        "executor": frozenset({executor.hotkey.ss58_address}),
    }
    async with serving(admit=admit) as served:
        user, executor = await served.user("other"), await served.executor()
        await user.cancel("cancelled")
        hold = await executor.hold()
        assert hold.job == "runs"
        await hold.run()
        for uuid, status in (("runs", "Completed"), ("cancelled", "Failed")):
            job = await user.job(uuid)
            assert job["status"] == status
            assert (job["horde"]["price"], job["horde"]["payment"]) == (None, None)
        check = (await user.get("/operator/v1/ledger/check")).json()
        assert (check["entries"], check["problems"]) == (0, [])
