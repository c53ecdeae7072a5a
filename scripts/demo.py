"""What scripts/demo shows once the environment and an engine are there; the job is that of examples/weather.py."""

import asyncio
import contextlib
import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJob, ComputeHordeJobStatusEntry

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(str(distribution("vega-datasets").locate_file("vega_datasets/_data")))
DAILY, HOURLY = "seattle-weather.csv", "seattle-temps.csv"
IMAGE = "horde-demo/busybox:1"
START_S, JOB_S, STOP_S = 60, 120, 30

sys.path.insert(0, str(ROOT / "examples"))
os.environ["EXAMPLE_IMAGE"] = IMAGE
from weather import weather_job  # noqa: E402 - it stands among the examples, and reads the image's name

console = Console(highlight=False)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def main() -> int:
    """Run the demo; the exit code tells whether the job succeeded and nothing was left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as started:
            started.callback(console.print)
            place = started.enter_context(temporary_directory())
            try:
                started.enter_context(image())
                web = started.enter_context(web_server(place / "web"))
                config = started.enter_context(horde(place, web))
                job = asyncio.run(run(config, f"http://{web}/{HOURLY}"))
            finally:
                stop_listening()
    except (DemoError, TimeoutError) as error:
        console.print(f"[red]demo: {error}")
        return 1
    except KeyboardInterrupt:
        console.print("demo: interrupted; what it had started is stopped")
        return 130
    took = f"{time.monotonic() - began:.1f} s, and nothing is left but .venv"
    console.print(f"demo: {'done' if job.status.is_successful() else '[red]the job failed[/]'} in {took}")
    return 0 if job.status.is_successful() else 1


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A place for everything; what a container wrote as root there can be removed by root only."""
    place = Path(tempfile.mkdtemp(prefix="horde-demo-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        raise DemoError(
            f"files that the container made stay in {place}; remove them as root, and run the demo as root"
        )


def stop_listening() -> None:
    """From here on everything is being stopped, which must not be left half done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def image() -> Iterator[None]:
    """The small image that the job runs; removed again unless it was there."""
    was_there = not subprocess.run(
        ["docker", "image", "inspect", IMAGE], capture_output=True, check=False
    ).returncode
    if subprocess.run([sys.executable, ROOT / "scripts" / "busybox-image", IMAGE], check=False).returncode:
        raise DemoError(f"the image {IMAGE} could not be built")
    try:
        yield
    finally:
        if not was_there:
            subprocess.run(["docker", "image", "rm", "--force", IMAGE], capture_output=True, check=False)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def web_server(directory: Path) -> Iterator[str]:
    """A web server on loopback that has the hourly table; yields its HOST:PORT."""
    directory.mkdir()
    shutil.copy(DATA / HOURLY, directory)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def horde(place: Path, allowed: str) -> Iterator[Path]:
    """A whole horde on this machine, on a free port; yields the file that tells clients how to reach it."""
    data, log = place / "horde", place / "horde.log"
    command = [
        Path(sys.executable).with_name("horde"),
        "up",
        "--port",
        "0",
        "--data",
        data,
        "--allow-egress",
        allowed,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        began = time.monotonic()
        url = wait_until_ready(process, log)
        console.print(f"horde: serving at {url:44} {time.monotonic() - began:6.1f} s")
        yield data / "client.toml"
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            console.print(f"[red]horde did not stop and was killed; it said:\n{log.read_text(errors='replace')}")


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL that `horde up` prints when it serves."""
    deadline = time.monotonic() + START_S
    while True:
        said = log.read_text(errors="replace")
        for line in said.splitlines():
            if line.startswith("ready "):
                return line.removeprefix("ready ").strip()
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"horde up does not serve; it said:\n{said}")
        time.sleep(0.05)


async def run(config: Path, hourly_url: str) -> ComputeHordeJob:
    """Run the job, showing what happens when it happens, and then its result."""
    console.rule("the job", align="left")
    console.print(f"examples/weather.sh in {IMAGE}, on public data from vega-datasets:")
    for name, how in ((DAILY, "inside the request"), (HOURLY, f"by HTTP from {hourly_url.split('/')[2]}")):
        console.print(f"  {name:19} {(DATA / name).stat().st_size:8,} bytes  {how}")
    console.print()
    async with ComputeHordeClient.from_config(config) as client:
        job = await client.create_job(weather_job(DATA / DAILY, hourly_url))
        async with asyncio.timeout(JOB_S), asyncio.TaskGroup() as group:
            group.create_task(job.wait(status_callback=show_status))
            group.create_task(show_log(job))
    show_result(job)
    return job


def show_status(job: ComputeHordeJob, entry: ComputeHordeJobStatusEntry) -> None:
    """One line for each status that the job reaches, with the time since its creation."""
    passed = (entry.created_at - job.created_at).total_seconds()
    colour = "red" if entry.status.is_failed() else "cyan"
    console.print(f"{max(passed, 0):7.2f} s  [{colour}]{entry.status.value}[/]")


async def show_log(job: ComputeHordeJob) -> None:
    """The lines that the container writes, while it runs."""
    async for line in job.logs():
        console.print(f"           [dim]{line.stream}[/] {escape(line.text)}")


def show_result(job: ComputeHordeJob) -> None:
    """Tables, files and figures of the ended job; its error if it has one."""
    if job.error:
        console.print(
            f"\n[red]{job.error.reason} at {job.error.stage}, fault: {job.error.fault}[/]\n{job.error.message}"
        )
    if job.result is None:
        return
    files = job.result.artifacts
    if months := files.get("/artifacts/tables/months.csv"):
        console.print(months_table(months.decode()))
    if report := files.get("/artifacts/report.txt"):
        console.print(report.decode().split("\n\n")[1])
    listing = Table("artifact", "bytes", box=SIMPLE)
    listing.columns[1].justify = "right"
    for path, content in sorted(files.items()):
        listing.add_row(path, f"{len(content):,}")
    console.print(listing)
    stages = "   ".join(f"{name} {seconds:.2f} s" for name, seconds in job.stage_seconds.items())
    console.print(f"exit code {job.result.exit_code}, attempt {job.attempts}\n{stages}")


def months_table(text: str) -> Table:
    """The monthly means as a table with bars: from the mean low to the mean high, and the rain."""
    table = Table(title="\nThe year in Seattle, 2012 to 2015", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("", "low °C", "high °C", "from low to high", "rain mm", "in a year"):
        table.add_column(name, justify="right" if name.endswith(("°C", "mm")) else "left", no_wrap=True)
    for row in csv.DictReader(io.StringIO(text)):
        low, high, rain = (float(row[name]) for name in ("mean_low_c", "mean_high_c", "rain_mm_per_year"))
        span = " " * round(low) + f"[red]{'█' * max(1, round(high) - round(low))}[/]"
        wet = f"[blue]{'█' * round(rain / 10)}[/]"
        table.add_row(row["month"], f"{low:.1f}", f"{high:.1f}", span, f"{rain:.0f}", wet)
    return table


if __name__ == "__main__":
    sys.exit(main())
