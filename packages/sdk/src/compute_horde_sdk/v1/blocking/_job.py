"""A job in the horde, for programs that are not asynchronous."""

import os
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compute_horde_sdk.v1._failures import AnyFailure
from compute_horde_sdk.v1._job import ComputeHordeJob as AsyncJob
from compute_horde_sdk.v1._logs import LogLine, LogPiece
from compute_horde_sdk.v1._result import ComputeHordeJobResult
from compute_horde_sdk.v1._status import ComputeHordeJobStatus, ComputeHordeJobStatusEntry
from compute_horde_sdk.v1.blocking._thread import LoopThread, Say
from horde_core.wire.client import Progress
from horde_core.wire.explanation import Explanation

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

StatusCallback = Callable[["ComputeHordeJob", ComputeHordeJobStatusEntry], None]


class ComputeHordeJob:
    """A job in the horde. Made by `ComputeHordeClient`, not by hand.

    The same as its namesake in `compute_horde_sdk.v1`, where everything is described, without ``await``.
    """

    def __init__(self, thread: LoopThread, job: AsyncJob) -> None:
        self._thread = thread
        self._job = job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.status.value}>"

    @property
    def uuid(self) -> str:
        """The job's id, by which `ComputeHordeClient.get_job` finds it again."""
        return self._job.uuid

    @property
    def status(self) -> ComputeHordeJobStatus:
        """Where the job is."""
        return self._job.status

    @property
    def status_history(self) -> list[ComputeHordeJobStatusEntry]:
        """Where the job has been, oldest first."""
        return self._job.status_history

    @property
    def result(self) -> ComputeHordeJobResult | None:
        """What the job left behind: None until it has ended, and then always an object."""
        return self._job.result

    @property
    def error(self) -> AnyFailure | None:
        """Why the job failed or was rejected."""
        return self._job.error

    @property
    def progress(self) -> Progress | None:
        """How far the present stage is, if that is known."""
        return self._job.progress

    @property
    def attempts(self) -> int:
        """How many times an executor has taken the job."""
        return self._job.attempts

    @property
    def price(self) -> float | None:
        """What the job costs, in executor-seconds."""
        return self._job.price

    @property
    def payment(self) -> str | None:
        """What became of the price: reserved, settled or released."""
        return self._job.payment

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds that the stages of the last attempt took."""
        return self._job.stage_seconds

    @property
    def artifact_sizes(self) -> dict[str, int]:
        """Bytes of each artifact that the horde keeps, by its path in the container."""
        return self._job.artifact_sizes

    @property
    def executor_hotkey(self) -> str | None:
        """Who ran, or runs, the job."""
        return self._job.executor_hotkey

    @property
    def image_digest(self) -> str | None:
        """What `docker_image` meant."""
        return self._job.image_digest

    @property
    def created_at(self) -> datetime:
        """When the job was handed in."""
        return self._job.created_at

    @property
    def executor_class(self) -> str:
        """The class of machine that the job asked for."""
        return self._job.executor_class

    @property
    def job_namespace(self) -> str:
        """Where the job comes from."""
        return self._job.job_namespace

    @property
    def docker_image(self) -> str:
        """The image as it was asked for."""
        return self._job.docker_image

    @property
    def args(self) -> list[str]:
        """The arguments as they were asked for."""
        return self._job.args

    @property
    def streaming_public_cert(self) -> "x509.Certificate | None":
        """The certificate to connect to a streaming job with."""
        return self._job.streaming_public_cert

    @property
    def streaming_private_key(self) -> "rsa.RSAPrivateKey | None":
        """The key of `streaming_public_cert`."""
        return self._job.streaming_private_key

    @property
    def streaming_server_cert(self) -> str | None:
        """The PEM certificate of the job's server."""
        return self._job.streaming_server_cert

    @property
    def streaming_server_address(self) -> str | None:
        """The host of the job's server."""
        return self._job.streaming_server_address

    @property
    def streaming_server_port(self) -> int | None:
        """The port of the job's server."""
        return self._job.streaming_server_port

    def wait(self, timeout: float | None = None, status_callback: StatusCallback | None = None) -> None:
        """Wait until the job has ended; the callback is called in the waiting thread."""

        async def work(say: Say) -> None:
            def told(_: AsyncJob, entry: ComputeHordeJobStatusEntry) -> None:
                if status_callback:
                    callback = status_callback
                    say(lambda: callback(self, entry))

            await self._job.wait(timeout, told)

        self._thread.run_telling(work)

    def wait_for_streaming(self, timeout: float | None = None) -> None:
        """Wait until the job's server can be talked to."""
        self._thread.run(self._job.wait_for_streaming(timeout))

    def logs(self, follow: bool = True) -> Generator[LogLine]:
        """What the job writes, line by line."""
        return self._thread.iterate(self._job.logs(follow))

    def output(self, follow: bool = True) -> Generator[LogPiece]:
        """What the job writes, as bytes."""
        return self._thread.iterate(self._job.output(follow))

    def cancel(self) -> None:
        """Ask that the job be stopped."""
        self._thread.run(self._job.cancel())

    def explain(self) -> Explanation:
        """Why the job waits, where it runs, or how it ended."""
        return self._thread.run(self._job.explain())

    def refresh_from_facilitator(self) -> None:
        """Ask how the job is now."""
        self._thread.run(self._job.refresh_from_facilitator())

    def download_artifacts(self, directory: str | os.PathLike[str]) -> dict[str, Path]:
        """Fetch all artifacts into a directory."""
        return self._thread.run(self._job.download_artifacts(directory))
