"""Jobs as people read them, and as programs do."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compute_horde_sdk.v1 import ComputeHordeJob, ComputeHordeJobStatus

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_KIB = 1024
_COLOURS = {
    ComputeHordeJobStatus.COMPLETED: "green",
    ComputeHordeJobStatus.FAILED: "red",
    ComputeHordeJobStatus.REJECTED: "yellow",
}


def word(status: ComputeHordeJobStatus) -> str:
    """A status in small letters, as programs and the command line spell it."""
    return status.name.lower()


def record(job: ComputeHordeJob) -> dict[str, Any]:
    """A job for programs. Keys are stable; times are ISO 8601 in UTC, sizes bytes."""
    result, error = job.result, job.error
    return {
        "uuid": job.uuid,
        "status": word(job.status),
        "executor_class": job.executor_class,
        "docker_image": job.docker_image,
        "args": job.args,
        "job_namespace": job.job_namespace,
        "created_at": job.created_at.isoformat(),
        "attempts": job.attempts,
        "executor_hotkey": job.executor_hotkey,
        "image_digest": job.image_digest,
        "exit_code": result.exit_code if result else None,
        "stopped_at_limit": result.stopped_at_limit if result else False,
        "error": {
            "reason": error.reason,
            "message": error.message,
            "stage": error.stage,
            "fault": error.fault,
        }
        if error
        else None,
        "stage_seconds": job.stage_seconds,
        "artifacts": [{"path": path, "size": size} for path, size in job.artifact_sizes.items()],
        "history": [
            {"status": word(entry.status), "created_at": entry.created_at.isoformat(), "attempt": entry.attempt}
            for entry in job.status_history
        ],
    }


def ago(then: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in its largest unit."""
    seconds = max(0, int(((now or datetime.now(UTC)) - then).total_seconds()))
    for size, name in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def size(count: int) -> str:
    """Bytes for people."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while value >= _KIB and len(units) > 1:
        value, units = value / _KIB, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def plain(text: str) -> str:
    """A text from elsewhere that cannot command the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_table(jobs: list[ComputeHordeJob]) -> None:
    """Jobs, one a line; a narrow terminal sees the beginnings of long names."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("UUID", "STATUS", "AGE", "IMAGE", "END"):
        table.add_column(heading, no_wrap=True, min_width=36 if heading == "UUID" else None)
    for job in jobs:
        table.add_row(job.uuid, _coloured(job.status), ago(job.created_at), Text(job.docker_image), Text(end(job)))
    _console().print(table)


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of plain texts."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    _console().print(table)


def end(job: ComputeHordeJob) -> str:
    """How a job ended, in a few words."""
    if job.result is None:
        return ""
    if job.error:
        code = f" {job.error.exit_code}" if job.error.exit_code else ""
        return f"{job.error.reason}{code}"
    return "stopped at its limit" if job.result.stopped_at_limit else "exit 0"


def print_details(job: ComputeHordeJob) -> None:
    """Everything about a job but its output."""
    facts = {
        "uuid": job.uuid,
        "image": job.docker_image,
        "digest": job.image_digest or "",
        "args": shlex.join(job.args),
        "class": job.executor_class,
        "namespace": job.job_namespace,
        "attempts": str(job.attempts),
        "executor": job.executor_hotkey or "",
        "end": end(job),
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("status", _coloured(job.status))
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(plain(value)))
    if job.error:
        table.add_row("why", Text(plain(job.error.message)))
        table.add_row("fault", Text(job.error.fault or "nobody's"))
    for stage, seconds in job.stage_seconds.items():
        table.add_row(stage, f"{seconds:.2f} s")
    for path, count in job.artifact_sizes.items():
        table.add_row("artifact", Text(plain(f"{path} ({size(count)})")))
    for entry in job.status_history:
        attempt = f" (attempt {entry.attempt})" if entry.attempt else ""
        table.add_row(entry.created_at.astimezone().strftime("%H:%M:%S.%f")[:-3], f"{word(entry.status)}{attempt}")
    _console().print(table)


def _console() -> Console:
    """Standard output; what is no terminal has no width at which lines would have to end."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def _coloured(status: ComputeHordeJobStatus) -> Text:
    return Text(word(status), style=_COLOURS.get(status, "cyan"))
