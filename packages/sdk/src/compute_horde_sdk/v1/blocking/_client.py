"""The client for programs that are not asynchronous."""

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Literal, Self

from pydantic import JsonValue

from compute_horde_sdk.v1._client import DEFAULT_FACILITATOR_URL
from compute_horde_sdk.v1._client import ComputeHordeClient as AsyncClient
from compute_horde_sdk.v1._config import read_config
from compute_horde_sdk.v1._errors import ComputeHordeError
from compute_horde_sdk.v1._flight import Flight
from compute_horde_sdk.v1._job import ComputeHordeJob as AsyncJob
from compute_horde_sdk.v1._search import Statuses
from compute_horde_sdk.v1._spec import ComputeHordeJobSpec
from compute_horde_sdk.v1._verifying import VerifiedRun
from compute_horde_sdk.v1.blocking._job import ComputeHordeJob
from compute_horde_sdk.v1.blocking._thread import LoopThread, Say
from horde_core.signing import Signer
from horde_core.wire.cheating import CheatReport
from horde_core.wire.classes import ClassEntry
from horde_core.wire.payment import Usage
from horde_core.wire.registries import RegistryEntry

AttemptCallback = Callable[[ComputeHordeJob], None]


class ComputeHordeClient:
    """Runs container jobs on a ComputeHorde. Use it with ``with``, or call `close` at the end.

    The same as its namesake in `compute_horde_sdk.v1`, where everything is described, without ``await``. One
    background thread does the waiting. A client may be used by several threads at once.
    """

    def __init__(
        self,
        hotkey: Signer,
        compute_horde_validator_hotkey: str,
        job_queue: str | None = None,
        facilitator_url: str = DEFAULT_FACILITATOR_URL,
    ) -> None:
        self.hotkey = hotkey
        self.compute_horde_validator_hotkey = compute_horde_validator_hotkey
        self.job_queue = job_queue
        self.facilitator_url = facilitator_url
        self._client = AsyncClient(hotkey, compute_horde_validator_hotkey, job_queue, facilitator_url)
        self._thread = LoopThread(self._client.aclose)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """The client that a configuration file describes, such as the one that `horde up` writes."""
        config = read_config(path)
        return cls(config.hotkey, config.validator_hotkey, facilitator_url=config.facilitator_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the background thread. The jobs go on."""
        self._thread.close()

    def authenticate(self, invitation: str | None = None) -> None:
        """Log in now. Otherwise the first call does it."""
        self._thread.run(self._client.authenticate(invitation))

    def create_job(
        self,
        job_spec: ComputeHordeJobSpec,
        on_trusted_miner: bool = False,
        *,
        idempotency_key: str | None = None,
    ) -> ComputeHordeJob:
        """Hand a job in; it is safely stored when this returns."""
        creating = self._client.create_job(job_spec, on_trusted_miner, idempotency_key=idempotency_key)
        return self._wrapped(self._thread.run(creating))

    def run_until_complete(
        self,
        job_spec: ComputeHordeJobSpec,
        on_trusted_miner: bool = False,
        job_attempt_callback: AttemptCallback | None = None,
        timeout: float | None = None,
        max_attempts: int = 3,
        *,
        retry_on: Literal["any", "horde"] = "any",
    ) -> ComputeHordeJob:
        """Create a job and wait for it; when it fails, create it anew. Callbacks are called in this thread."""

        async def work(say: Say) -> AsyncJob:
            def told(job: AsyncJob) -> None:
                if job_attempt_callback:
                    callback = job_attempt_callback
                    say(lambda: callback(self._wrapped(job)))

            return await self._client.run_until_complete(
                job_spec, on_trusted_miner, told, timeout, max_attempts, retry_on=retry_on
            )

        return self._wrapped(self._thread.run_telling(work))

    def map(
        self,
        job_specs: Iterable[ComputeHordeJobSpec],
        on_trusted_miner: bool = False,
        *,
        max_in_flight: int = 10,
        ordered: bool = True,
    ) -> Generator[ComputeHordeJob]:
        """Run many jobs, and yield each when it has ended; specifications are taken in this thread."""
        flight = Flight(max_in_flight, ordered=ordered)
        try:
            for spec in job_specs:
                create = partial(self._client.create_job, spec, on_trusted_miner)
                self._thread.run(flight.add(create))
                if flight.is_full:
                    yield self._wrapped(self._thread.run(flight.take()))
            while flight:
                yield self._wrapped(self._thread.run(flight.take()))
        finally:
            self._thread.run(flight.aclose())

    def get_job(self, job_uuid: str, *, whole: bool = True) -> ComputeHordeJob:
        """Find a job and, if it has ended, its whole result, or (not `whole`) only what is short."""
        return self._wrapped(self._thread.run(self._client.get_job(job_uuid, whole=whole)))

    def get_jobs(
        self,
        page: int = 1,
        page_size: int = 10,
        *,
        status: Statuses | None = None,
        namespace: str | None = None,
        image: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> list[ComputeHordeJob]:
        """One page of our jobs, newest first; those that match everything that is asked for."""
        getting = self._client.get_jobs(
            page,
            page_size,
            status=status,
            namespace=namespace,
            image=image,
            created_after=created_after,
            created_before=created_before,
        )
        return [self._wrapped(job) for job in self._thread.run(getting)]

    def iter_jobs(
        self,
        *,
        status: Statuses | None = None,
        namespace: str | None = None,
        image: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Generator[ComputeHordeJob]:
        """All our jobs that match, newest first, each once."""
        jobs = self._client.iter_jobs(
            status=status,
            namespace=namespace,
            image=image,
            created_after=created_after,
            created_before=created_before,
        )

        async def following() -> AsyncJob | None:
            return await anext(jobs, None)

        try:
            while job := self._thread.run(following()):
                yield self._wrapped(job)
        finally:
            with suppress(ComputeHordeError):  # the client may be closed by now
                self._thread.run(jobs.aclose())

    def classes(self) -> list[ClassEntry]:
        """The executor classes that jobs may ask for, on the terms that hold now."""
        return self._thread.run(self._client.classes())

    def usage(self, since: datetime | None = None) -> Usage:
        """What our jobs cost, and what is left of our allowances."""
        return self._thread.run(self._client.usage(since))

    def run_verified(
        self, job_spec: ComputeHordeJobSpec, timeout: float | None = None
    ) -> VerifiedRun[ComputeHordeJob]:
        """Run a job and a copy of it on a trusted executor, and compare what they left."""
        run = self._thread.run(self._client.run_verified(job_spec, timeout))
        copy = self._wrapped(run.trusted_job) if run.trusted_job else None
        job = self._wrapped(run.job)
        return VerifiedRun(job, copy, run.equal, run.differences, run.image_digest, run.summary)

    def set_registry(self, registry: str, username: str, password: str) -> None:
        """Let the images of our jobs be pulled from a private registry with these credentials, from now on."""
        self._thread.run(self._client.set_registry(registry, username, password))

    def registries(self) -> list[RegistryEntry]:
        """The registries for which we gave credentials, with the user names."""
        return self._thread.run(self._client.registries())

    def remove_registry(self, registry: str) -> None:
        """Take the credentials for a registry back."""
        self._thread.run(self._client.remove_registry(registry))

    def report_cheated_job(
        self, job_uuid: str, trusted_job_uuid: str | None = None, *, details: JsonValue = None
    ) -> str:
        """Report that an executor forged a job's result, as a job on a trusted executor shows."""
        return self._thread.run(self._client.report_cheated_job(job_uuid, trusted_job_uuid, details=details))

    def cheat_report(self, job_uuid: str) -> CheatReport:
        """What became of our report about a job."""
        return self._thread.run(self._client.cheat_report(job_uuid))

    def _wrapped(self, job: AsyncJob) -> ComputeHordeJob:
        return ComputeHordeJob(self._thread, job)
