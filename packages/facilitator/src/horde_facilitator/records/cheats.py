"""Reports of cheating: kept, and put into effect."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, insert, select, update

from horde_core.wire.cheating import CheatEntry, CheatReport, CheatState
from horde_facilitator.cheating import DOUBTED_US, Judgement, Standing
from horde_facilitator.clock import Now, time_of
from horde_facilitator.database import Transaction
from horde_facilitator.records import cordons, machines, people
from horde_facilitator.records.values import pack
from horde_facilitator.tables import cheat_reports, jobs

LISTED = 1000


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report that is in order. `executor` ran the job."""

    job: str
    reporter: str
    executor: str
    trusted_job: str | None
    details: JsonValue


def find(connection: Connection, job: str, reporter: str) -> CheatReport | None:
    """What was reported of a job, by the one who did."""
    query = select(cheat_reports).where(_of(job), cheat_reports.c.reporter == reporter)
    row = connection.execute(query).mappings().one_or_none()
    return CheatReport(**_seen_by_owner(row)) if row else None


def listing(connection: Connection) -> list[CheatEntry]:
    """The latest reports, the last one first."""
    query = select(cheat_reports).order_by(cheat_reports.c.reported_us.desc(), cheat_reports.c.job).limit(LISTED)
    return [
        CheatEntry(
            **_seen_by_owner(row),
            reporter=row["reporter"],
            details=json.loads(row["details"]) if row["details"] else None,
            decided_at=time_of(row["decided_us"]) if row["decided_us"] else None,
            decided_by=row["decided_by"],
        )
        for row in connection.execute(query).mappings()
    ]


def _seen_by_owner(row: RowMapping) -> dict[str, Any]:
    return {
        "job_uuid": row["job"],
        "trusted_job_uuid": row["trusted_job"],
        "state": row["state"],
        "why": row["why"],
        "executor_hotkey": row["executor"],
        "reported_at": time_of(row["reported_us"]),
        "out_until": time_of(row["out_until_us"]) if row["out_until_us"] else None,
    }


def _of(job: str) -> ColumnElement[bool]:
    return cheat_reports.c.job == job


def same_work(connection: Connection, first: str, second: str) -> bool:
    """Whether two jobs were asked to do the same."""
    query = select(jobs.c.work_sha256).where(jobs.c.uuid.in_((first, second)))
    works = list(connection.execute(query).scalars())
    return None not in works and len(set(works)) == 1


def standing(connection: Connection, reporter: str, accused: str, now: Now) -> Standing:
    """What counts for and against a report besides what the jobs left."""
    own = cheat_reports.c.reporter == reporter
    others_out = select(func.count(cheat_reports.c.executor.distinct())).where(
        own,
        cheat_reports.c.state == CheatState.CONFIRMED.value,
        cheat_reports.c.decided_by.is_(None),
        cheat_reports.c.out_until_us > now.wall_us,
        cheat_reports.c.executor != accused,
    )
    dismissed = select(cheat_reports.c.job).where(
        own,
        cheat_reports.c.state == CheatState.DISMISSED.value,
        cheat_reports.c.decided_us > now.wall_us - DOUBTED_US,
    )
    return Standing(
        accused_is_trusted=people.is_trusted(connection, accused),
        others_out=int(connection.execute(others_out).scalar_one()),
        dismissed=connection.execute(dismissed.limit(1)).first() is not None,
    )


def report(tx: Transaction, new: NewReport, judged: Judgement, now: Now, out_us: int) -> None:
    """Keep a report as it was judged and put it into effect. It takes the place of an earlier one of the job."""
    said: dict[str, object] = {"trusted_job": new.trusted_job, "state": judged.state.value, "why": judged.why}
    if new.details is not None:
        said["details"] = pack(new.details)
    if judged.state is not CheatState.OPEN:
        said["decided_us"] = now.wall_us
    if tx.execute(update(cheat_reports).where(_of(new.job)).values(**said)).rowcount == 0:
        row = {"job": new.job, "reporter": new.reporter, "executor": new.executor, "reported_us": now.wall_us}
        tx.execute(insert(cheat_reports).values(**row, **said))
    if judged.state is CheatState.CONFIRMED:
        _take_out(tx, new.job, new.executor, now, out_us)


def decide(tx: Transaction, job: str, judged: Judgement, operator: str, *, now: Now, out_us: int) -> bool:
    """Let an operator decide a report; False if there is none. Deciding the same again changes nothing."""
    row = tx.execute(select(cheat_reports).where(_of(job))).mappings().one_or_none()
    if row is None:
        return False
    if row["state"] == judged.state.value and row["decided_by"] is not None:
        return True
    said = {"state": judged.state.value, "decided_us": now.wall_us, "decided_by": operator}
    if judged.why:
        said["why"] = judged.why
    tx.execute(update(cheat_reports).where(_of(job)).values(**said))
    if judged.state is CheatState.DISMISSED:
        _let_in(tx, job, row["executor"], now)
    elif row["state"] != CheatState.CONFIRMED:
        _take_out(tx, job, row["executor"], now, out_us)
    return True


def _take_out(tx: Transaction, job: str, executor: str, now: Now, out_us: int) -> None:
    if machines.is_executor(tx.connection, executor):
        until_us = now.wall_us + out_us
        tx.execute(update(cheat_reports).where(_of(job)).values(out_until_us=until_us))
        cordons.cordon_for_report(tx, executor, job, until_us, now)


def _let_in(tx: Transaction, job: str, executor: str, now: Now) -> None:
    """Undo what a report did, as far as no other one and no operator keeps the executor out."""
    tx.execute(update(cheat_reports).where(_of(job)).values(out_until_us=None))
    if cordons.reported_job(tx.connection, executor) != job:
        return
    cordons.uncordon(tx, executor)
    other = tx.execute(_still_out(executor, now)).one_or_none()
    if other is not None:
        cordons.cordon_for_report(tx, executor, other.job, other.out_until_us, now)


def _still_out(executor: str, now: Now) -> Select[Any, Any]:
    until = cheat_reports.c.out_until_us
    query = select(cheat_reports.c.job, until).where(cheat_reports.c.executor == executor, until > now.wall_us)
    return query.order_by(until.desc()).limit(1)
