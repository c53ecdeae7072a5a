"""A job in the horde, as its user sees it."""

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._artifacts import download, write
from compute_horde_sdk.v1._errors import ComputeHordeError, ComputeHordeJobTimeoutError
from compute_horde_sdk.v1._failures import AnyFailure, failure_of
from compute_horde_sdk.v1._logs import LogLine, LogPiece, lines_of, log_pieces, pieces_of_text
from compute_horde_sdk.v1._result import ComputeHordeJobResult, inlined, is_whole, job_with_result
from compute_horde_sdk.v1._status import (
    ComputeHordeJobStatus,
    ComputeHordeJobStatusEntry,
    entries_of,
    has_ended,
    history_of,
)
from compute_horde_sdk.v1._watch import News, Watcher
from horde_core.price import UNIT
from horde_core.wire.client import JobEvents, JobReply, Progress
from horde_core.wire.explanation import Explanation

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    from compute_horde_sdk.v1._streaming import ClientCertificate

StatusCallback = Callable[["ComputeHordeJob", ComputeHordeJobStatusEntry], Awaitable[None] | None]


class ComputeHordeJob:
    """A job in the horde. Made by `ComputeHordeClient`, not by hand.

    What its attributes say is what the facilitator said last: when the job was created or found, while it was
    waited for, or at `refresh_from_facilitator`.
    """

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        reply: JobReply,
        result: ComputeHordeJobResult | None = None,
        certificate: "ClientCertificate | None" = None,
    ) -> None:
        self._api = api
        self._watcher = watcher
        self._certificate = certificate
        self._fetching = asyncio.Lock()
        self._reply = reply
        self._history = history_of(reply)
        self._progress = reply.horde.progress if reply.horde else None
        # A reply holds the whole result, or (a listing of ours) the beginning of it.
        self._result = inlined(reply) if result is None and has_ended(reply) else result
        self._is_settled = result is not None or (has_ended(reply) and is_whole(reply))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.status.value}>"

    @property
    def uuid(self) -> str:
        """The job's id, by which `ComputeHordeClient.get_job` finds it again."""
        return self._reply.uuid

    @property
    def status(self) -> ComputeHordeJobStatus:
        """Where the job is."""
        return self._history[-1].status

    @property
    def status_history(self) -> list[ComputeHordeJobStatusEntry]:
        """Where the job has been, oldest first. A lost attempt puts it back to RECEIVED."""
        return [*self._history]

    @property
    def result(self) -> ComputeHordeJobResult | None:
        """What the job left behind: None until it has ended, and then always an object."""
        return self._result

    @property
    def error(self) -> AnyFailure | None:
        """Why the job failed or was rejected: `reason`, `message`, `stage`, `fault`, `exit_code`, `context`.

        None while it runs and after a good end.
        """
        return failure_of(self._reply) if self._result else None

    @property
    def progress(self) -> Progress | None:
        """How far the present stage is, if that is known: `stage`, `message`, `done` of `total` `unit`.

        `speed` is how many of them come in a second now, where something is transferred.
        """
        return self._progress if self._result is None else None

    @property
    def attempts(self) -> int:
        """How many times an executor has taken the job; 0 while it waits for the first."""
        known = self._reply.horde.attempt if self._reply.horde else int(self._has_begun())
        return max(known, *(entry.attempt for entry in self._history))

    @property
    def price(self) -> float | None:
        """What the job costs, in executor-seconds; None if this facilitator does not say."""
        price = self._reply.horde.price if self._reply.horde else None
        return None if price is None else price / UNIT

    @property
    def payment(self) -> str | None:
        """What became of the price: ``"reserved"`` until the end, then ``"settled"`` or ``"released"``.

        None if nothing was ever reserved, as for a job that was rejected for want of an allowance.
        """
        return self._reply.horde.payment if self._reply.horde else None

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds that the stages of the last attempt took, by name of the stage."""
        return dict(self._reply.horde.stage_seconds) if self._reply.horde else {}

    @property
    def artifact_sizes(self) -> dict[str, int]:
        """Bytes of each artifact by its path in the container, known without fetching any."""
        if self._reply.horde:
            return {entry.path: entry.size for entry in self._reply.horde.artifacts}
        return {path: len(content) for path, content in (self._result.artifacts if self._result else {}).items()}

    @property
    def executor_hotkey(self) -> str | None:
        """Who ran, or runs, the job."""
        return self._reply.horde.executor_hotkey if self._reply.horde else None

    @property
    def image_digest(self) -> str | None:
        """What `docker_image` meant: the digest, or the id of an image that has none."""
        return self._reply.horde.image_digest if self._reply.horde else None

    @property
    def created_at(self) -> datetime:
        """When the job was handed in."""
        return self._reply.created_at

    @property
    def executor_class(self) -> str:
        """The class of machine that the job asked for."""
        return self._reply.executor_class

    @property
    def job_namespace(self) -> str:
        """Where the job comes from."""
        return self._reply.job_namespace

    @property
    def docker_image(self) -> str:
        """The image as it was asked for."""
        return self._reply.docker_image

    @property
    def args(self) -> list[str]:
        """The arguments as they were asked for."""
        return [*self._reply.args]

    @property
    def streaming_public_cert(self) -> "x509.Certificate | None":
        """The certificate to connect to a streaming job with; only on the object that `create_job` returned."""
        return self._certificate.certificate if self._certificate else None

    @property
    def streaming_private_key(self) -> "rsa.RSAPrivateKey | None":
        """The key of `streaming_public_cert`."""
        return self._certificate.key if self._certificate else None

    @property
    def streaming_server_cert(self) -> str | None:
        """The PEM certificate of the job's server, once it is ready for streaming."""
        return self._reply.streaming_server_cert or None

    @property
    def streaming_server_address(self) -> str | None:
        """The host of the job's server, once it is ready for streaming."""
        return self._reply.streaming_server_address or None

    @property
    def streaming_server_port(self) -> int | None:
        """The port of the job's server, once it is ready for streaming."""
        return self._reply.streaming_server_port or None

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - a name of the reference
        status_callback: StatusCallback | None = None,
    ) -> None:
        """Wait until the job has ended and its result is here.

        Args:
            timeout: seconds to wait at most; 0 only looks at what is known. None waits as long as it takes.
            status_callback: called with the job and each entry of its history, those that are known already first.

        Raises:
            ComputeHordeJobTimeoutError: the job has not ended in time. It goes on.
            ComputeHordeError: the facilitator cannot be reached for minutes, or has lost the job.
        """
        async with self._within(timeout):
            await self._until(lambda: self._result is not None, status_callback)
            if timeout != 0:
                await self.refresh_from_facilitator()

    async def wait_for_streaming(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Wait until the job's server can be talked to; the `streaming_…` attributes then say where and how.

        Raises:
            ComputeHordeJobTimeoutError: the server is not up in time. The job goes on.
            ComputeHordeError: the job ended instead (at once when that is known), or as in `wait`.
        """
        async with self._within(timeout):
            await self._until(lambda: self._result is not None or self.status.is_streaming_ready())
            if self._result is None and not self.streaming_server_port:
                await self.refresh_from_facilitator()
        if self._result is not None:
            why = f": {self.error.message}" if self.error else ""
            raise ComputeHordeError(f"job {self.uuid} ended ({self.status.value}) and cannot be talked to{why}")

    async def logs(self, follow: bool = True) -> AsyncGenerator[LogLine]:
        """What the job writes, line by line, from the first line of its latest attempt.

        Args:
            follow: go on until the job has ended, rather than stop at what is there.

        Raises:
            ComputeHordeError: the facilitator refuses, or cannot be reached for minutes.
        """
        async with aclosing(self.output(follow)) as pieces, aclosing(lines_of(pieces)) as lines:
            async for line in lines:
                yield line

    async def output(self, follow: bool = True) -> AsyncGenerator[LogPiece]:
        """What the job writes, as bytes and as soon as they are known, also in the middle of a line.

        Args:
            follow: as in `logs`.

        Raises:
            ComputeHordeError: as in `logs`.
        """
        if self._reply.horde:
            async with aclosing(log_pieces(self._api, self.uuid, follow=follow)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        # The original facilitator shows logs only when all is over.
        await (self.wait() if follow else self.refresh_from_facilitator())
        if self._result:
            for piece in pieces_of_text(self._result.stdout, self._result.stderr, self.attempts):
                yield piece

    async def cancel(self) -> None:
        """Ask that the job be stopped. A job that runs ends a little later: see `wait`.

        What it has written by then is kept. Cancelling a job that has ended changes nothing.

        Raises:
            ComputeHordeError: this facilitator cannot cancel jobs.
        """
        if not self._reply.horde:
            raise ComputeHordeError("this facilitator cannot cancel jobs")
        await self._api.cancel(self.uuid)
        await self.refresh_from_facilitator()

    async def explain(self) -> Explanation:
        """Why the job waits, where it runs, or how it ended: `summary` in words, and the rest as data.

        Of a waiting job it has the `position` in the queue and what each of the `executors` of its class does.

        Raises:
            ComputeHordeError: this facilitator cannot explain jobs, or does not answer.
        """
        if not self._reply.horde:
            raise ComputeHordeError("this facilitator cannot explain jobs")
        return await self._api.explain(self.uuid)

    async def refresh_from_facilitator(self) -> None:
        """Ask how the job is now and, if it has ended, fetch its whole result.

        Of a job whose end and result are here nothing is asked: they never change.

        Raises:
            ComputeHordeError: the facilitator refuses, or does not answer.
        """
        async with self._fetching:
            if not self._is_settled:
                inline = self._reply.artifacts_dir is None
                self._absorb(*await job_with_result(self._api, self.uuid, inline=inline))

    async def download_artifacts(self, directory: str | os.PathLike[str]) -> dict[str, Path]:
        """Fetch all artifacts into a directory, also those that are too large for `result`.

        They lie there as they lay below the job's `artifacts_dir`. Returns where each one is, by its path in the
        container. A transfer that breaks off goes on where it broke; a file appears when it is whole and its hash
        is right, and replaces one of the same name. What the horde could not keep is in `result.truncated`.

        Raises:
            ComputeHordeError: the job has not ended, or an artifact cannot be fetched.
            OSError: a file cannot be written, or there is too little room for all of them.
        """
        # Of an ended job of ours the list of artifacts is known; fetching its result would move them twice.
        if self._result is None or not self._reply.horde:
            await self.refresh_from_facilitator()
        if self._result is None:
            raise ComputeHordeError(f"job {self.uuid} has not ended, so its artifacts are not there yet")
        base = self._reply.artifacts_dir or "/"
        if self._reply.horde:
            return await download(self._api, self.uuid, base, self._reply.horde.artifacts, Path(directory))
        return await write(base, self._result.artifacts, Path(directory))

    async def _until(self, is_done: Callable[[], bool], callback: StatusCallback | None = None) -> None:
        """Take in what is new until a condition holds, and tell the callback of every entry of the history."""
        told = 0
        with self._watcher.watch(self.uuid, len(self._history)) as watch:
            while True:
                while callback and told < len(self._history):
                    told += 1
                    answer = callback(self, self._history[told - 1])
                    if inspect.isawaitable(answer):
                        await answer
                if is_done():
                    return
                await self._take(await watch.next())

    async def _take(self, news: News) -> None:
        if self._is_settled:
            return
        if isinstance(news, JobReply):
            if has_ended(news):
                await self._settle()
            else:
                self._absorb(news, None)
            return
        fresh = self._fresh(news)
        if fresh or news.progress:
            self._progress = news.progress
        # The end shows together with the result, so that a job which has ended always has one.
        self._history.extend(entry for entry in fresh if entry.status.is_in_progress())
        if fresh and not fresh[-1].status.is_in_progress():
            if news.ended and is_whole(news.ended):
                self._absorb(news.ended, inlined(news.ended))
            else:
                await self._settle()

    async def _settle(self) -> None:
        """Fetch the end of a job that is said to have ended, unless somebody else did meanwhile."""
        await self.refresh_from_facilitator()
        if self._result is None:
            raise ComputeHordeError(f"the facilitator said that job {self.uuid} had ended, and then took it back")

    def _fresh(self, events: JobEvents) -> list[ComputeHordeJobStatusEntry]:
        """The entries of an event that this object does not have."""
        return entries_of(events.entries)[max(0, len(self._history) - events.cursor) :]

    def _absorb(self, reply: JobReply, result: ComputeHordeJobResult | None) -> None:
        history = history_of(reply)
        if reply.status_history:
            self._history = history
        elif history[-1].status is not self.status:
            self._history.extend(history)
        self._reply, self._result, self._is_settled = reply, result, result is not None
        self._progress = reply.horde.progress if reply.horde else None

    def _has_begun(self) -> bool:
        queued = (
            ComputeHordeJobStatus.SENT,
            ComputeHordeJobStatus.RECEIVED,
            ComputeHordeJobStatus.REJECTED,
        )
        return any(entry.status not in queued for entry in self._history)

    @asynccontextmanager
    async def _within(self, seconds: float | None) -> AsyncGenerator[None]:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise ComputeHordeJobTimeoutError(
                f"job {self.uuid} was {self.status.value} after {seconds} s of waiting; it goes on"
            ) from error
