"""`horde run`: from a command line to a job, watched to its end."""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeError,
    ComputeHordeJob,
    ComputeHordeJobSpec,
    ComputeHordeJobStatus,
    HTTPOutputVolume,
)
from horde_cli import values, view
from horde_cli.connection import translated
from horde_cli.display import Display, display, tell
from horde_cli.exitcodes import CANCELLED, End, exit_code
from horde_cli.records import pass_on, save
from horde_cli.volumes import volumes

LOOK_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDS: dict[ComputeHordeJobStatus, Literal["completed", "failed", "rejected"]] = {
    ComputeHordeJobStatus.COMPLETED: "completed",
    ComputeHordeJobStatus.FAILED: "failed",
    ComputeHordeJobStatus.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What the command line asks for. `artifacts` is a local directory, `artifacts_dir` one in the container."""

    image: str
    args: Sequence[str]
    executor_class: str
    namespace: str
    priority: int
    inputs: Sequence[str]
    outputs: Sequence[str]
    env: Sequence[str]
    secret_env: Sequence[str]
    limits: Sequence[str]
    artifacts: Path | None
    artifacts_dir: str
    detach: bool
    quiet: bool
    as_json: bool


def spec_of(run: Run) -> ComputeHordeJobSpec:
    """The job that is asked for, with the local inputs read.

    Raises:
        BadUsage: a value cannot be read or used.
    """
    limits = values.limits(run.limits)
    return ComputeHordeJobSpec(
        executor_class=run.executor_class,
        job_namespace=run.namespace,
        priority=run.priority,
        docker_image=run.image,
        args=list(run.args),
        env=values.environment(run.env, os.environ),
        secret_env=values.environment(run.secret_env, os.environ, "--secret-env"),
        artifacts_dir=run.artifacts_dir or None,
        input_volumes=volumes(values.inputs(run.inputs)) or None,
        output_volumes={
            path: HTTPOutputVolume(http_method="PUT", url=url) for path, url in values.outputs(run.outputs).items()
        }
        or None,
        download_time_limit_sec=limits.download,
        execution_time_limit_sec=limits.execution,
        upload_time_limit_sec=limits.upload,
    )


async def submit(client: ComputeHordeClient, run: Run) -> int:
    """Run a job and return what the shell is to be told.

    Raises:
        BadUsage: the job is asked for wrongly.
        ServiceError: the facilitator refuses, or does not answer.
    """
    spec = spec_of(run)
    with translated():
        async with client:
            shown = display(quiet=run.quiet)
            try:
                job = await client.create_job(spec, upload_callback=shown.upload)
            finally:
                shown.make_way()
            if run.detach:
                print(json.dumps({"uuid": job.uuid}) if run.as_json else job.uuid)
                return 0
            shown.say(f"job {job.uuid}")
            if not await _followed(job, shown, mute=run.as_json):
                return CANCELLED
            saved = await save(job, run.artifacts) if run.artifacts else {}
    if run.artifacts:
        shown.say(f"{len(saved)} artifacts are in {run.artifacts}")
    if run.as_json:
        output = {"stdout": job.result.stdout, "stderr": job.result.stderr} if job.result else {}
        print(json.dumps({**view.record(job), **output}, indent=2))
    _tell_end(job, quiet=run.quiet)
    return exit_code(_end_of(job))


async def _followed(job: ComputeHordeJob, shown: Display, *, mute: bool) -> bool:
    """Show the job until it has ended and its output has been passed on; False if the user left before that."""
    with _Interrupts(job, shown) as interrupts:
        following = asyncio.create_task(_follow(job, shown, mute=mute))
        leaving = asyncio.create_task(interrupts.left.wait())
        try:
            await asyncio.wait((following, leaving), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
                return True
            return False
        finally:
            for task in (following, leaving):
                task.cancel()
            await asyncio.gather(following, leaving, return_exceptions=True)
            shown.make_way()


async def _follow(job: ComputeHordeJob, shown: Display, *, mute: bool) -> None:
    looking = asyncio.create_task(_look(job, shown))
    passing = asyncio.create_task(asyncio.sleep(0) if mute else _pass_output(job, shown))
    try:
        await job.wait(status_callback=lambda _, entry: shown.step(entry))
        await passing
    finally:
        looking.cancel()
        passing.cancel()
        await asyncio.gather(looking, passing, return_exceptions=True)


async def _look(job: ComputeHordeJob, shown: Display) -> None:
    while True:
        shown.look(job)
        await asyncio.sleep(LOOK_S)


async def _pass_output(job: ComputeHordeJob, shown: Display) -> None:
    attempt = 0
    async with aclosing(job.output()) as pieces:
        async for piece in pieces:
            if 0 < attempt < piece.attempt:
                shown.say("the attempt was lost; the output begins anew")
            attempt = piece.attempt
            shown.make_way(piece.data)
            try:
                pass_on(piece.stream, piece.data)
            except BrokenPipeError:
                # A program that ran here would be stopped by this, too.
                tell("nobody reads the output any more; stopping the job")
                await job.cancel()
                return


class _Interrupts:
    """Ctrl-C (or SIGTERM): the first asks the job to stop, the second leaves it alone."""

    def __init__(self, job: ComputeHordeJob, shown: Display) -> None:
        self.left = asyncio.Event()
        self._job = job
        self._shown = shown
        self._cancelling: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._cancelling:
            self._cancelling.cancel()

    def _interrupt(self) -> None:
        self._shown.make_way()
        if self._cancelling:
            tell(f"left; job {self._job.uuid} was asked to stop")
            self.left.set()
        else:
            tell("stopping the job; Ctrl-C again leaves it")
            self._cancelling = asyncio.create_task(self._cancel())

    async def _cancel(self) -> None:
        try:
            await self._job.cancel()
        except ComputeHordeError as error:
            tell(f"{error}; left, and the job goes on")
            self.left.set()


def _tell_end(job: ComputeHordeJob, *, quiet: bool) -> None:
    if job.error and job.error.reason == "nonzero_return_code":
        # Its message quotes the last lines on stderr, which were just seen.
        if not quiet:
            tell(f"failed: the container exited with {job.error.exit_code}")
    elif job.error:
        tell(f"{view.word(job.status)}: {' '.join(job.error.message.split())}")
    elif job.result and job.result.stopped_at_limit:
        tell("the job was stopped at its execution limit; --limit execution=… sets another")


def _end_of(job: ComputeHordeJob) -> End:
    result, error = job.result, job.error
    return End(
        status=_ENDS[job.status],
        reason=error.reason if error else None,
        fault=error.fault if error else None,
        container_code=result.exit_code if result else None,
        stopped_at_limit=result.stopped_at_limit if result else False,
    )
