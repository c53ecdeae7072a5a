"""What operators do with reports of cheating: see them and decide them."""

from typing import Literal

from horde_cli import prefixes, view
from horde_cli.operator import Operator
from horde_core.wire.cheating import CHEATS_PATH, CheatEntry, CheatReports, CheatState, CheatVerdict

Verdict = Literal[CheatState.CONFIRMED, CheatState.DISMISSED]


async def listing(operator: Operator, *, as_json: bool) -> None:
    """Print the reports, the latest first."""
    found = await operator.get(CHEATS_PATH, CheatReports)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    headings = ("JOB", "REPORTED", "BY", "EXECUTOR", "STATE", "OUT UNTIL", "WHY")
    view.print_rows(headings, [_row(it) for it in found.reports])


def _row(it: CheatEntry) -> tuple[str, ...]:
    return (
        it.job_uuid,
        f"{view.ago(it.reported_at)} ago",
        it.reporter,
        it.executor_hotkey,
        it.state,
        f"{it.out_until:%Y-%m-%d %H:%M} UTC" if it.out_until else "",
        it.why,
    )


async def decide(operator: Operator, text: str, state: Verdict, why: str) -> str:
    """Confirm or dismiss the report about the job that the text names; returns the job's UUID."""
    found = await operator.get(CHEATS_PATH, CheatReports)
    uuid = prefixes.full(text) or prefixes.choose(text, (it.job_uuid for it in found.reports))
    await operator.put(f"{CHEATS_PATH}/{uuid}", CheatVerdict(state=state, why=why))
    return uuid
