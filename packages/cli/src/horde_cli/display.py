"""What is seen of a running job on standard error, beside its output.

On a terminal one line at the bottom shows the stage with its progress, and makes way for the job's own output.
Elsewhere each step is a line.
"""

import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress_bar import ProgressBar
from rich.text import Text

from compute_horde_sdk.v1 import ComputeHordeJob, ComputeHordeJobStatus, ComputeHordeJobStatusEntry
from horde_cli.view import plain, size
from horde_core.wire.client import Progress as Reported

QUIET_S = 5.0
UPLOADING = "uploading inputs"
STEPS = {
    ComputeHordeJobStatus.SENT: "sent",
    ComputeHordeJobStatus.RECEIVED: "queued",
    ComputeHordeJobStatus.ACCEPTED: "preparing the image",
    ComputeHordeJobStatus.EXECUTOR_READY: "fetching inputs",
    ComputeHordeJobStatus.VOLUMES_READY: "running",
    ComputeHordeJobStatus.STREAMING_READY: "running, ready for streaming",
    ComputeHordeJobStatus.EXECUTION_DONE: "storing results",
}


def display(*, quiet: bool) -> "Display":
    """The display that fits standard error."""
    if quiet:
        return Display()
    return Terminal(Console(stderr=True)) if sys.stderr.isatty() else Lines()


def tell(text: str) -> None:
    """A line on standard error, in the command's voice."""
    with suppress(BrokenPipeError):
        print(f"horde: {plain(text)}", file=sys.stderr, flush=True)


def speed(progress: Reported) -> str:
    """How fast it comes, if that is known and bytes are what comes."""
    return f"{size(round(progress.speed))}/s" if progress.speed and progress.unit == "bytes" else ""


class Display:
    """Shows nothing. What goes wrong is told by others, not by a display."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def upload(self, done: int, total: int) -> None:
        """So much of the inputs is at the facilitator."""

    def step(self, entry: ComputeHordeJobStatusEntry) -> None:
        """The job reached a status."""

    def look(self, job: ComputeHordeJob) -> None:
        """See how far the job is now."""

    def make_way(self, output: bytes = b"") -> None:
        """The job's output comes next, or something else that stays."""


class Lines(Display):
    """Each step as a line, for logs and pipes; of a long one also how far it is, from time to time."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def say(self, text: str) -> None:
        """A line."""
        tell(text)
        self._told_at = time.monotonic()

    def upload(self, done: int, total: int) -> None:
        """A line now and then."""
        if time.monotonic() - self._told_at >= QUIET_S:
            self.say(f"{UPLOADING}: {100 * done // total} %")

    def step(self, entry: ComputeHordeJobStatusEntry) -> None:
        """A line for each status on the way."""
        if entry.status in STEPS:
            again = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
            self.say(STEPS[entry.status] + again)

    def look(self, job: ComputeHordeJob) -> None:
        """A line with the stage's own words and numbers, if there was none for some seconds."""
        progress = job.progress
        if progress and progress.total and time.monotonic() - self._told_at >= QUIET_S:
            done = f"{100 * (progress.done or 0) // progress.total} %"
            self.say(f"{progress.message or progress.stage}: {done} {speed(progress)}".rstrip())


class Terminal(Display):
    """One line that changes, with a bar when it is known how much there is to do."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="⠿"),
            TextColumn("{task.description}", markup=False),
            _Bar(),
            _Amount(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, speed="")
        self._is_shown = False
        self._has_output = False
        self._in_line = False

    def say(self, text: str) -> None:
        """A line above the changing one."""
        self.make_way()
        tell(text)

    def upload(self, done: int, total: int) -> None:
        """The first bar of all."""
        self._progress.update(self._task, description=UPLOADING, completed=done, total=total)
        self._show()

    def step(self, entry: ComputeHordeJobStatusEntry) -> None:
        """A new stage starts with an empty bar. Between the first output and the end the line stays away."""
        is_over = entry.status is ComputeHordeJobStatus.EXECUTION_DONE
        if entry.status in STEPS and (is_over or not self._has_output):
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(STEPS[entry.status], total=None, speed="")
            self._show()

    def look(self, job: ComputeHordeJob) -> None:
        """The stage's own words and numbers, as far as it gives any."""
        progress = job.progress
        if progress and self._is_shown:
            words = plain(progress.message) or progress.stage
            self._progress.update(
                self._task,
                description=words,
                completed=progress.done or 0,
                total=progress.total,
                speed=speed(progress),
            )

    def make_way(self, output: bytes = b"") -> None:
        """Take the line away. It must not come back in the middle of a line of output, which it would wipe out."""
        if self._is_shown:
            self._progress.stop()
            self._is_shown = False
        if output:
            self._has_output = True
            self._in_line = not output.endswith(b"\n")

    def _show(self) -> None:
        if not self._is_shown and not self._in_line:
            self._progress.start()
            self._is_shown = True


class _Bar(BarColumn):
    """Nothing while it is unknown how much there is to do."""

    def render(self, task: Task) -> ProgressBar:
        return super().render(task) if task.total else ProgressBar(total=0, width=0)


class _Amount(DownloadColumn):
    """Nothing while it is unknown how much there is to do."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total else Text()
