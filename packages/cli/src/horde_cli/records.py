"""What becomes of jobs that were handed in before: listed, shown, read, fetched, cancelled."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeJob, ComputeHordeJobStatus
from horde_cli import prefixes, view
from horde_cli.connection import translated
from horde_cli.errors import BadUsage, CommandError


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs to list, `last` of them at most. What is None or empty does not narrow it."""

    statuses: Sequence[ComputeHordeJobStatus]
    namespace: str | None
    image: str | None
    since: datetime | None
    last: int


async def jobs(client: ComputeHordeClient, wanted: Wanted, *, as_json: bool) -> None:
    """List the newest jobs that match."""
    found: list[ComputeHordeJob] = []
    matching = client.iter_jobs(
        status=wanted.statuses or None,
        namespace=wanted.namespace,
        image=wanted.image,
        created_after=wanted.since,
    )
    with translated():
        async with client, aclosing(matching) as all_jobs:
            async for job in all_jobs:
                found.append(job)
                if len(found) == wanted.last:
                    break
    if as_json:
        print(json.dumps([view.record(job) for job in found], indent=2))
    elif found:
        view.print_table(found)
    else:
        print("horde: there are no such jobs; horde run makes one", file=sys.stderr)


async def show(client: ComputeHordeClient, text: str, *, as_json: bool) -> None:
    """Show one job without its output."""
    with translated():
        async with client:
            job = await _find(client, text)
    if as_json:
        print(json.dumps(view.record(job), indent=2))
    else:
        view.print_details(job)


async def explain(client: ComputeHordeClient, text: str, *, as_json: bool) -> None:
    """Tell why one job is where it is."""
    with translated():
        async with client:
            explanation = await (await _find(client, text)).explain()
    print(explanation.model_dump_json(indent=2) if as_json else view.plain(explanation.summary))
    if not as_json:
        for executor in explanation.executors:
            print(view.plain(f"{executor.hotkey} {executor.why}"))


async def logs(client: ComputeHordeClient, text: str, *, follow: bool, as_json: bool) -> None:
    """Print what a job wrote: its bytes as they are, or one JSON object a line."""
    with translated():
        async with client:
            job = await _find(client, text)
            if as_json:
                async with aclosing(job.logs(follow)) as lines:
                    async for line in lines:
                        print(
                            json.dumps({"stream": line.stream, "text": line.text, "attempt": line.attempt}),
                            flush=True,
                        )
                return
            async with aclosing(job.output(follow)) as pieces:
                async for piece in pieces:
                    pass_on(piece.stream, piece.data)


async def get(client: ComputeHordeClient, text: str, directory: Path, *, as_json: bool) -> None:
    """Save the artifacts of a job that has ended.

    Raises:
        CommandError: a file cannot be written.
    """
    with translated():
        async with client:
            job = await _find(client, text)
            saved = await save(job, directory)
    if as_json:
        sizes = job.artifact_sizes
        print(
            json.dumps(
                [{"path": path, "file": str(file), "size": sizes[path]} for path, file in saved.items()], indent=2
            )
        )
    else:
        for file in saved.values():
            print(view.plain(str(file)))


async def cancel(client: ComputeHordeClient, text: str, *, as_json: bool) -> None:
    """Ask that a job be stopped."""
    with translated():
        async with client:
            job = await _find(client, text)
            await job.cancel()
    if as_json:
        print(json.dumps(view.record(job), indent=2))
    elif job.status.is_in_progress():
        print(f"{job.uuid} is being stopped")
    else:
        print(f"{job.uuid} has ended: {view.word(job.status)}")


async def save(job: ComputeHordeJob, directory: Path) -> dict[str, Path]:
    """Fetch a job's artifacts into a directory, and name on stderr what the horde could not keep.

    Raises:
        CommandError: a file cannot be written.
        ComputeHordeError: an artifact cannot be fetched, or the job has not ended.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - this program does nothing else meanwhile
        saved = await job.download_artifacts(directory)
    except OSError as error:
        raise CommandError(f"cannot write to {error.filename or directory} ({error.strerror})") from error
    for item in job.result.truncated if job.result else ():
        if item.path.startswith("/") and item.path not in saved:
            size = f" ({view.size(item.size)})" if item.size is not None else ""
            print(f"horde: {view.plain(item.path)}{size} is not there: {item.why}", file=sys.stderr)
    return saved


def pass_on(stream: str, data: bytes) -> None:
    """Write a job's output to the same stream of this process, untouched and at once."""
    target = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    target.write(data)
    target.flush()


async def _find(client: ComputeHordeClient, text: str) -> ComputeHordeJob:
    uuid = prefixes.full(text)
    if uuid is None:
        prefixes.checked(text)
        async with aclosing(client.iter_jobs()) as all_jobs:
            uuid = prefixes.choose(text, [job.uuid async for job in all_jobs])
    return await client.get_job(uuid, whole=False)


def statuses(words: Iterable[str]) -> list[ComputeHordeJobStatus]:
    """Statuses in either spelling.

    Raises:
        BadUsage: one is unknown.
    """
    found: list[ComputeHordeJobStatus] = []
    for text in words:
        try:
            found.append(ComputeHordeJobStatus(text))
        except ValueError as error:
            known = ", ".join(view.word(status) for status in ComputeHordeJobStatus)
            raise BadUsage(f"--status {text!r} is unknown", f"use one of {known}") from error
    return found
