"""The stages of an attempt. Each states when it runs; none runs twice in one attempt.

| stage    | runs                                         | its clock                                 |
|----------|----------------------------------------------|-------------------------------------------|
| prepare  | first                                        | the operator's: `prepare_s`, and a pull   |
|          |                                              | may stand still for `prepare_stall_s`     |
| download | beside prepare                               | the job's download limit                  |
| execute  | when both are through and the lease is sure  | the job's, from the start of its process  |
| collect  | when the container is gone, however it ended | the operator's: `collect_s`               |
| upload   | after collect; it stands in `upload`         | the job's upload limit                    |
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import JsonValue

from horde_core.lifecycle import Status
from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.wire.executor import ArtifactEntry, LeftOut, StatusEvent, Stream
from horde_executor import collect, threads, workspace
from horde_executor.attempt import Run
from horde_executor.clock import limit
from horde_executor.container import HOSTS, LABEL_JOB, command_of, container_config, labels
from horde_executor.delivery import deliver
from horde_executor.endings import (
    QUOTED_BYTES,
    Execution,
    Stop,
    needs_engine,
    not_executable,
    outcome_of,
    start_failure,
)
from horde_executor.engine import Ended, Engine, Image
from horde_executor.errors import EngineError, JobFailure, LimitReached
from horde_executor.images import Wanted
from horde_executor.line import PIECE, UNKNOWN, Exit, Line
from horde_executor.tasks import cancel, pause_before, to_its_end, together, unless
from horde_executor.volumes import Supply, comes_from_cache, place
from horde_executor.workspace import Workspace

CREATE_S = 90.0
KILL_S = 60.0
OUTPUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A container that may be started: its inputs are in place and it has a line to call in on."""

    workspace: Workspace
    container: str
    command: tuple[str, ...]
    line: Line


@dataclass(frozen=True, slots=True)
class Delivered:
    """The artifacts that arrived at the facilitator, and what was left out."""

    artifacts: tuple[ArtifactEntry, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


NOTHING = Delivered()


async def get_ready(run: Run) -> Ready:
    """Prepare and download side by side, unless the job is cancelled.

    Raises:
        JobFailure: whichever failed first, or that the job was cancelled.
    """
    made = workspace.opened(
        run.host.data,
        run.attempt.job,
        run.attempt.number,
        hosts=HOSTS,
        artifacts_dir=run.claim.spec.artifacts_dir,
        layered=run.host.layers and comes_from_cache(run.claim.spec.volumes),
    )
    run.cleanup.callback(run.host.cache.tidy)
    space = await run.cleanup.enter_async_context(made)
    both = await unless(run.lease.cancelled, together(_prepare(run, space), _download(run, space)))
    if both is None:
        raise JobFailure(run.watch.stage, Reason.CANCELLED, "the job was cancelled before it started")
    say(run, Status.VOLUMES_READY)
    return both[0]


def say(
    run: Run,
    status: Literal[Status.EXECUTOR_READY, Status.VOLUMES_READY, Status.EXECUTION_DONE],
    metadata: dict[str, JsonValue] | None = None,
    *,
    image_digest: str | None = None,
    hold: bool = False,
) -> None:
    """Report that the attempt reached a status. With `hold`, at the latest along with the outcome."""
    event = StatusEvent(status=status, at_ns=time.time_ns(), image_digest=image_digest, metadata=metadata or {})
    run.reporter.event(event, hold=hold)


async def _prepare(run: Run, space: Workspace) -> Ready:
    limits = run.claim.limits
    with run.watch.measure("prepare"):
        try:
            async with limit(limits.prepare_s):
                resolved = await run.host.images.resolve(
                    Wanted(
                        run.claim.spec.docker_image,
                        run.claim.image_digest,
                        run.claim.owner,
                        run.claim.image_login,
                    ),
                    stall_s=limits.prepare_stall_s,
                    report=run.reporter.event,
                )
                run.cleanup.push_async_callback(run.host.images.let_go, resolved)
                ready = await to_its_end(_create(run, space, resolved.image), CREATE_S)
        except LimitReached as error:
            what = f"the image and the container were not ready within {limits.prepare_s:g} s"
            raise JobFailure(Stage.PREPARE, Reason.IMAGE_UNREACHABLE, what) from error
    run.watch.stage = Stage.DOWNLOAD
    say(run, Status.EXECUTOR_READY, image_digest=resolved.digest)
    return ready


async def _create(run: Run, space: Workspace, image: Image) -> Ready:
    """Create the container and see to its removal. Not to be interrupted, or it might appear after that."""
    spec, host = run.claim.spec, run.host
    command = command_of(spec, image)
    if not command:
        what = f"the image {spec.docker_image} names no command to run; give one in the job's args"
        raise JobFailure(Stage.PREPARE, Reason.COMMAND_NOT_FOUND, what)
    label = labels(host.executor, run.attempt, run.deadline)
    run.cleanup.push_async_callback(_remove, host.engine, label)
    line = await run.cleanup.enter_async_context(Line.opened(space.root))
    mounts = (*space.mounts(spec.artifacts_dir), *line.mounts)
    profile = run.claim.allotment.profile
    config = container_config(spec, image, command, mounts=mounts, share=run.share, profile=profile, label=label)
    try:
        return Ready(space, await host.engine.create(config), command, line)
    except EngineError as error:
        raise start_failure(Stage.PREPARE, error) from error


async def _remove(engine: Engine, label: dict[str, str]) -> None:
    """Remove an attempt's container, also when the engine is away for a while; ends by success or cancellation.

    By its labels, because a request to create it that timed out may have been carried out all the same.
    """
    failures = 0
    while True:
        try:
            for container in await engine.labelled(label):
                await engine.remove(container)
        except EngineError as error:
            if failures == 0:
                log.warning("the container of job %s cannot be removed yet: %s", label[LABEL_JOB], error)
        else:
            return
        await asyncio.sleep(pause_before(failures))
        failures += 1


async def _download(run: Run, space: Workspace) -> None:
    spec = run.claim.spec
    if not spec.volumes:
        return

    blobs = partial(run.host.facilitator.read_blob, run.attempt)
    supply = Supply(run.host.cache, run.host.hub, blobs, run.claim.owner)
    with run.watch.measure("download"):
        try:
            async with limit(spec.download_time_limit):
                await place(
                    spec.volumes,
                    space.inputs,
                    supply=supply,
                    linked=space.layered,
                    progress=run.reporter.transfers(Stage.DOWNLOAD, "downloading volumes"),
                )
        except LimitReached as error:
            what = (
                f"the volumes were not in place within the download limit of {spec.download_time_limit} s;"
                " raise download_time_limit_sec, or use less data or a faster server"
            )
            raise JobFailure(Stage.DOWNLOAD, Reason.TIMEOUT, what) from error


async def execute(run: Run, ready: Ready) -> Succeeded | Failed:
    """Start the container, then wait for its end or bring it about.

    Raises:
        JobFailure: it could not be started.
        EngineError: the engine failed; the container was killed if that was possible.
    """
    run.watch.stage = Stage.EXECUTION
    engine = run.host.engine
    await run.lease.confirmed.wait()
    run.lease.check()
    try:
        execution = await _run_container(run, ready)
    except BaseException:
        await to_its_end(_kill(engine, ready.container), KILL_S)
        raise
    serves = not needs_engine(execution.ended, execution.stop) or await _serves(engine)
    return outcome_of(execution, memory=run.share.memory, engine_serves=serves)


async def _run_container(run: Run, ready: Ready) -> Execution:
    engine, container = run.host.engine, ready.container
    with run.watch.measure("start"):
        try:
            await engine.start(container)
        except EngineError as error:
            raise start_failure(Stage.EXECUTION, error) from error
        output = await ready.line.release(run.claim.spec.secrets)
    copying = asyncio.ensure_future(_copy_output(run, output))
    ending = asyncio.ensure_future(_end_of(run, ready))
    try:
        await asyncio.wait((copying, ending), return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()  # a failure ends the container; a job may well close its output before it ends
        stop, exited = await ending
        if stop is Stop.NOT and exited.code == 0:
            ended = Ended(0, out_of_memory=False, error="")
        else:
            await engine.wait(container)
            ended = await engine.ended(container)
        async with limit(OUTPUT_S):
            await copying
    except LimitReached as error:
        raise EngineError("the container ended, but its output did not") from error
    finally:
        await cancel(copying, ending)
    stderr = run.reporter.last_output("stderr", QUOTED_BYTES)
    refusal = not_executable(ready.command[0], exited.errno) if exited.errno is not None else None
    return Execution(ended, stop, stderr, refusal)


async def _copy_output(run: Run, output: Mapping[Stream, asyncio.StreamReader]) -> None:
    async def copy(stream: Stream, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(PIECE):
            run.reporter.log(stream, data)

    await asyncio.gather(*(copy(stream, reader) for stream, reader in output.items()))
    run.reporter.end_logs()


async def _end_of(run: Run, ready: Ready) -> tuple[Stop, Exit]:
    try:
        with run.watch.measure("execution"):
            async with limit(run.claim.spec.execution_time_limit):
                exited = await unless(run.lease.cancelled, ready.line.ended())
        if exited is not None:
            return Stop.NOT, exited
        stop = Stop.CANCEL
    except LimitReached:
        stop = Stop.LIMIT
    with run.watch.measure("stop"):
        await run.host.engine.stop(ready.container, run.claim.limits.grace_s)
    return stop, UNKNOWN


async def _kill(engine: Engine, container: str) -> None:
    try:
        await engine.kill(container)
    except EngineError as error:
        log.warning("container %.12s could not be killed: %s", container, error)


async def _serves(engine: Engine) -> bool:
    try:
        await engine.check()
    except EngineError:
        return False
    return True


async def collect_artifacts(run: Run, ready: Ready) -> Delivered:
    """Deliver what the job left in its artifacts directory, as soon as its container is gone.

    Raises:
        EngineError: the engine does not tell that the container is gone.
        WorkspaceError, OSError: it cannot be read.
        FacilitatorError, Fenced: it cannot be delivered.
    """
    directory, limits = run.claim.spec.artifacts_dir, run.claim.limits
    if directory is None:
        return NOTHING
    run.watch.stage = Stage.COLLECT
    await run.host.engine.wait(ready.container)  # its command has ended; what else ran in it may not have
    caps = collect.Caps(count=limits.artifact_count, size=limits.artifact_bytes)
    source = ready.workspace.place_of(directory)
    with run.watch.measure("collect"):
        found = await threads.run(lambda _: collect.collect(source, directory, caps), name="collect artifacts")
        if found.artifacts:
            run.reporter.release()
        return Delivered(await deliver(run.host.facilitator, run.attempt, found.artifacts), found.left_out)
