"""`horde doctor`: what on this machine, or on the way to the facilitator, would keep jobs from running."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from horde_cli import places
from horde_cli.doctor import machine
from horde_cli.doctor.engine import engine
from horde_cli.doctor.report import Finding, State
from horde_cli.doctor.service import service
from horde_cli.view import plain

_MARKS = {
    State.OK: ("✓", "green"),
    State.WARN: ("!", "yellow"),
    State.FAIL: ("✗", "red"),
    State.SKIP: ("-", "dim"),
}


async def examine(facilitator: str | None, hotkey: Path | None, config: Path | None, *, as_json: bool) -> int:
    """Run all checks, print what they find, and return 1 if one of them failed."""
    findings = [
        machine.kernel(),
        machine.openat2(),
        machine.cgroups(),
        machine.disk(places.data_directory()),
        *engine(),
        *await service(facilitator, hotkey, config),
    ]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    return int(any(finding.state is State.FAIL for finding in findings))


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, style = _MARKS[finding.state]
        console.print(Text.assemble((mark, style), f" {finding.check:<12} {plain(finding.detail)}"))
        if finding.remedy:
            console.print(Text(f"  {'':<12} → {plain(finding.remedy)}", style="bold"))
