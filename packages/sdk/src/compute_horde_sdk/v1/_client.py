"""The client: jobs go in, jobs are found."""

import asyncio
import inspect
import math
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Literal, Self

from pydantic import JsonValue

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._config import read_config
from compute_horde_sdk.v1._flight import Flight
from compute_horde_sdk.v1._job import ComputeHordeJob
from compute_horde_sdk.v1._registries import login_of, named
from compute_horde_sdk.v1._result import job_with_result
from compute_horde_sdk.v1._search import Statuses, check, search_of
from compute_horde_sdk.v1._spec import ComputeHordeJobSpec, body_of
from compute_horde_sdk.v1._transport import Transport, pause
from compute_horde_sdk.v1._verifying import VerifiedRun, check_comparable, compared, copy_of
from compute_horde_sdk.v1._watch import Watcher
from horde_core.signing import Signer
from horde_core.wire.cheating import CheatReport
from horde_core.wire.classes import ClassEntry
from horde_core.wire.payment import Usage
from horde_core.wire.registries import RegistryEntry

DEFAULT_FACILITATOR_URL = "https://facilitator.computehorde.io/"
ITER_PAGE_SIZE = 50

AttemptCallback = Callable[[ComputeHordeJob], Awaitable[None] | None]


class ComputeHordeClient:
    """Runs container jobs on a ComputeHorde.

    Nothing is connected until the first call. Use it with ``async with``, or call `aclose` at the end. One client
    serves any number of jobs at once, in one event loop.
    """

    def __init__(
        self,
        hotkey: Signer,
        compute_horde_validator_hotkey: str,
        job_queue: str | None = None,
        facilitator_url: str = DEFAULT_FACILITATOR_URL,
    ) -> None:
        """Describe who asks whom.

        Args:
            hotkey: the Bittensor hotkey that owns the jobs (a `bittensor_wallet.Keypair`).
            compute_horde_validator_hotkey: the ss58 address of the validator that is to run them.
            job_queue: kept for programs that name one; it has no effect.
            facilitator_url: where the facilitator is.

        Raises:
            ComputeHordeError: `facilitator_url` is no http(s) URL.
        """
        self.hotkey = hotkey
        self.compute_horde_validator_hotkey = compute_horde_validator_hotkey
        self.job_queue = job_queue
        self.facilitator_url = facilitator_url
        self._transport = Transport(facilitator_url, hotkey)
        self._api = Api(self._transport, hotkey)
        self._watcher = Watcher(self._api)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """The client that a configuration file describes, such as the one that `horde up` writes.

        Args:
            path: the file. None takes the one that the variable COMPUTE_HORDE_CONFIG names, or else
                ``compute-horde/client.toml`` where the user's configuration is (``~/.config``), or else the
                one that `horde up` writes (below ``~/.local/share``).

        Raises:
            ComputeHordeError: the file is not there, or lacks something; the message names the file and the key.
        """
        config = read_config(path)
        return cls(config.hotkey, config.validator_hotkey, facilitator_url=config.facilitator_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. The jobs go on."""
        await self._watcher.aclose()
        await self._transport.aclose()

    async def authenticate(self, invitation: str | None = None) -> None:
        """Log in now. Otherwise the first call does it.

        Args:
            invitation: a token from an operator (`horde invite`), which lets in a hotkey that is not known yet.

        Raises:
            ComputeHordeError: the facilitator does not let this hotkey in, or does not answer.
        """
        await self._transport.log_in(invitation)

    async def create_job(
        self,
        job_spec: ComputeHordeJobSpec,
        on_trusted_miner: bool = False,
        *,
        idempotency_key: str | None = None,
    ) -> ComputeHordeJob:
        """Hand a job in; it is safely stored when this returns.

        Args:
            job_spec: what to run.
            on_trusted_miner: run it on an executor that the operator trusts, for comparison with others.
            idempotency_key: any text of 1 to 255 visible ASCII characters. The same job with the same key is made
                once, however often it is handed in; another job with that key is refused.

        Raises:
            ValueError: a value of the specification is wrong (this ValueError is a ComputeHordeError, too).
            ComputeHordeError: the facilitator refuses, or does not answer.
        """
        certificate = None
        if job_spec.streaming:
            # Its import costs a quarter of a second, which other jobs need not pay.
            from compute_horde_sdk.v1._streaming import make_certificate  # noqa: PLC0415

            certificate = await asyncio.to_thread(make_certificate)
        body = body_of(
            job_spec,
            self.compute_horde_validator_hotkey,
            on_trusted_miner,
            certificate.pem if certificate else None,
        )
        reply = await self._api.create(body, idempotency_key)
        return ComputeHordeJob(self._api, self._watcher, reply, certificate=certificate)

    async def run_until_complete(
        self,
        job_spec: ComputeHordeJobSpec,
        on_trusted_miner: bool = False,
        job_attempt_callback: AttemptCallback | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a name of the reference
        max_attempts: int = 3,
        *,
        retry_on: Literal["any", "horde"] = "any",
    ) -> ComputeHordeJob:
        """Create a job and wait for it; when it fails, create it anew.

        These attempts are jobs of their own; the horde's attempts at one job (see `ComputeHordeJob.attempts`) are
        made within each. A job that was cancelled is not tried again.

        Args:
            job_spec: what to run.
            on_trusted_miner: as in `create_job`.
            job_attempt_callback: called with each job that is created.
            timeout: seconds for all of it.
            max_attempts: how many jobs to create at most; 0 or less sets no limit.
            retry_on: ``"any"`` tries again after every failure; ``"horde"`` only if the job was not at fault.

        Returns:
            The last job, successful or not.

        Raises:
            ComputeHordeJobTimeoutError: time is up. The last job goes on.
            ValueError: as in `create_job`.
            ComputeHordeError: as in `create_job` and `ComputeHordeJob.wait`.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        attempt = 0
        while True:
            attempt += 1
            job = await self.create_job(job_spec, on_trusted_miner)
            if job_attempt_callback:
                answer = job_attempt_callback(job)
                if inspect.isawaitable(answer):
                    await answer
            await job.wait(None if timeout is None else max(0, end - time.monotonic()))
            rest = pause(attempt - 1, None)
            is_last = attempt == max_attempts or time.monotonic() + rest >= end
            if is_last or not _is_worth_another(job, retry_on):
                return job
            await asyncio.sleep(rest)

    async def map(
        self,
        job_specs: Iterable[ComputeHordeJobSpec],
        on_trusted_miner: bool = False,
        *,
        max_in_flight: int = 10,
        ordered: bool = True,
    ) -> AsyncGenerator[ComputeHordeJob]:
        """Run many jobs, and yield each when it has ended, well or not.

        Specifications are taken as there is room, so there may be any number of them. When the iteration is left
        early, or a job cannot be handed in, the jobs that have not ended are cancelled; leave it with
        `contextlib.aclosing`, so that this happens at once.

        Args:
            job_specs: what to run.
            on_trusted_miner: as in `create_job`.
            max_in_flight: how many jobs may be handed in and not yet yielded.
            ordered: yield in the order of the specifications; otherwise as the jobs end.

        Raises:
            ValueError: a specification is wrong, as in `create_job`, or `max_in_flight` is less than 1.
            ComputeHordeError: as in `create_job` and `ComputeHordeJob.wait`.
        """
        async with Flight(max_in_flight, ordered=ordered) as flight:
            for spec in job_specs:
                await flight.add(partial(self.create_job, spec, on_trusted_miner))
                if flight.is_full:
                    yield await flight.take()
            while flight:
                yield await flight.take()

    async def get_job(self, job_uuid: str, *, whole: bool = True) -> ComputeHordeJob:
        """Find a job and, if it has ended, its whole result.

        Args:
            job_uuid: which one.
            whole: False fetches no output; what the result then lacks is in its `truncated`, and
                `ComputeHordeJob.refresh_from_facilitator` fetches it.

        Raises:
            ComputeHordeNotFoundError: there is no such job, or it is not ours.
            ComputeHordeError: the facilitator refuses, or does not answer.
        """
        if not whole:
            return ComputeHordeJob(self._api, self._watcher, await self._api.job(job_uuid, inline=False))
        reply, result = await job_with_result(self._api, job_uuid, inline=False)
        return ComputeHordeJob(self._api, self._watcher, reply, result)

    async def get_jobs(
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
        """One page of our jobs, newest first; those that match everything that is asked for.

        Results hold only what is short; `ComputeHordeJob.refresh_from_facilitator` fetches the whole.

        Args:
            page: counted from 1.
            page_size: how many; 256 at most.
            status: a status, or several of which one must match.
            namespace: the whole of it.
            image: as it was asked for; without tag and digest it means all of them.
            created_after: from this moment on; without a zone it is local time.
            created_before: before this moment.

        Raises:
            ComputeHordeNotFoundError: there is no such page.
            ComputeHordeError: the facilitator refuses, cannot search, or does not answer.
        """
        search = search_of(
            status=status,
            namespace=namespace,
            image=image,
            created_after=created_after,
            created_before=created_before,
        )
        found = check(await self._api.page(page, page_size, search), search)
        return [ComputeHordeJob(self._api, self._watcher, reply) for reply in found.results]

    async def iter_jobs(
        self,
        *,
        status: Statuses | None = None,
        namespace: str | None = None,
        image: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncGenerator[ComputeHordeJob]:
        """All our jobs that match, newest first, each once; like `get_jobs` page by page.

        Raises:
            ComputeHordeError: the facilitator refuses, cannot search, or does not answer.
        """
        search = search_of(
            status=status,
            namespace=namespace,
            image=image,
            created_after=created_after,
            created_before=created_before,
        )
        seen: set[str] = set()
        page, is_more = 1, True
        while is_more:
            found = check(await self._api.page(page, ITER_PAGE_SIZE, search), search)
            for reply in found.results:
                # Jobs that are created meanwhile move older ones to the next page.
                if reply.uuid not in seen:
                    seen.add(reply.uuid)
                    yield ComputeHordeJob(self._api, self._watcher, reply)
            page, is_more = page + 1, bool(found.next)

    async def classes(self) -> list[ClassEntry]:
        """The executor classes that jobs may ask for, by `name`, on the terms that hold now.

        `weight` is in thousandths (``spec.price(entry.weight / 1000)`` is what a job will cost), `max_seconds` the
        highest sum of a job's limits (None: any), sizes are bytes, and `executors` tells how many serve it now.

        Raises:
            ComputeHordeError: the facilitator refuses, does not answer, or does not tell its classes.
        """
        return (await self._api.classes()).classes

    async def usage(self, since: datetime | None = None) -> Usage:
        """What our jobs cost, and what is left of our allowances: one item of `classes` for each executor class.

        Amounts and weights are whole thousandths (of an executor-second). An `allowance` of None sets no limit.

        Args:
            since: count only what was paid from then on; what is reserved and left is as it is now.

        Raises:
            ComputeHordeError: the facilitator refuses, does not answer, or does not know what jobs cost.
        """
        return await self._api.usage(since.astimezone(UTC).isoformat() if since else None)

    async def run_verified(
        self,
        job_spec: ComputeHordeJobSpec,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `run_until_complete`
    ) -> VerifiedRun[ComputeHordeJob]:
        """Run a job and, when it has completed, a copy of it on a trusted executor, and compare what they left.

        Artifacts are compared by hash and, if there are none, the standard output. Only deterministic work can be
        compared: the same arguments and data must always lead to the same bytes. The copy runs the very image that
        the job ran and costs as much again. Nothing is reported; see `report_cheated_job`.

        Args:
            job_spec: what to run; without streaming and output volumes.
            timeout: seconds for all of it.

        Raises:
            ComputeHordeJobTimeoutError: time is up. The last job goes on.
            ValueError: as in `create_job`, or what the job leaves cannot be compared.
            ComputeHordeError: as in `create_job` and `ComputeHordeJob.wait`, or the facilitator does not say which
                image the job ran.
        """
        check_comparable(job_spec)
        end = math.inf if timeout is None else time.monotonic() + timeout
        job = await self.create_job(job_spec)
        await job.wait(timeout)
        if not job.status.is_successful():
            summary = "The job did not complete, so there is nothing to verify."
            return VerifiedRun(job, None, None, (), job.image_digest, summary)
        trusted = await self.create_job(copy_of(job_spec, job.image_digest), on_trusted_miner=True)
        await trusted.wait(None if timeout is None else max(0, end - time.monotonic()))
        found, digest = await compared(self._api, job.uuid, trusted.uuid)
        return VerifiedRun(job, trusted, found.equal, found.differences, digest, found.summary)

    async def set_registry(self, registry: str, username: str, password: str) -> None:
        """Let the images of our jobs be pulled from a private registry with these credentials, from now on.

        They are stored sealed and shown to nobody; an executor gets them with a job whose image is in that
        registry.

        Args:
            registry: its host, with ``:port`` if the names of its images have one; Docker Hub is ``docker.io``.
            username: the user, or what the registry takes in its place.
            password: the password; better a token that may only read.

        Raises:
            ValueError: a value is wrong (this ValueError is a ComputeHordeError, too).
            ComputeHordeError: the facilitator refuses, or does not answer.
        """
        await self._api.set_registry(named(registry), login_of(username, password))

    async def registries(self) -> list[RegistryEntry]:
        """The registries for which we gave credentials, with the user names.

        Raises:
            ComputeHordeError: the facilitator does not answer, or keeps no credentials.
        """
        return (await self._api.registries()).registries

    async def remove_registry(self, registry: str) -> None:
        """Take the credentials for a registry back. Executors that have an image of it may use it for an hour.

        Raises:
            ValueError: `registry` is no host (this ValueError is a ComputeHordeError, too).
            ComputeHordeNotFoundError: there are none.
            ComputeHordeError: the facilitator does not answer.
        """
        await self._api.remove_registry(named(registry))

    async def report_cheated_job(
        self, job_uuid: str, trusted_job_uuid: str | None = None, *, details: JsonValue = None
    ) -> str:
        """Report that an executor forged a job's result, as a job on a trusted executor shows.

        Reporting a job again changes nothing and is answered like the first time.

        Args:
            job_uuid: the job with the forged result.
            trusted_job_uuid: the same work, done on a trusted executor. Without it, an operator has to decide.
            details: whatever else is known, as JSON.

        Returns:
            What the facilitator says; `cheat_report` has it as a value.

        Raises:
            ComputeHordeNotFoundError: one of the jobs is not there, or not ours.
            ComputeHordeError: the facilitator refuses, or does not answer.
        """
        body: dict[str, JsonValue] = {"job_uuid": job_uuid}
        if trusted_job_uuid is not None:
            body |= {"trusted_job_uuid": trusted_job_uuid, "details": details}
        elif details is not None:
            body["details"] = details
        return await self._api.report_cheated(body)

    async def cheat_report(self, job_uuid: str) -> CheatReport:
        """What became of our report about a job: its `state` is open, confirmed, unfounded or dismissed.

        Raises:
            ComputeHordeNotFoundError: we reported no such job.
            ComputeHordeError: the facilitator does not answer, or shows no reports.
        """
        return await self._api.cheat_report(job_uuid)


def _is_worth_another(job: ComputeHordeJob, retry_on: Literal["any", "horde"]) -> bool:
    if job.error is None or job.error.reason == "cancelled":
        return False
    return retry_on == "any" or job.error.fault != "job"
