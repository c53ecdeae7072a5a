"""A job and its copy on a trusted executor, held against each other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

from compute_horde_sdk.v1._api import Api
from compute_horde_sdk.v1._errors import ComputeHordeError, ComputeHordeSpecError
from compute_horde_sdk.v1._spec import ComputeHordeJobSpec
from horde_core.comparing import STDOUT, Comparison, Difference, compare, needs_stdout
from horde_core.wire.client import HordeDetails


class _Run(Protocol):
    @property
    def executor_hotkey(self) -> str | None: ...


J = TypeVar("J", bound=_Run)


@dataclass(frozen=True)
class VerifiedRun(Generic[J]):
    """What came of a job that was verified. A difference shows that somebody cheated if the work is deterministic.

    Attributes:
        job: the job.
        trusted_job: its copy on a trusted executor; None if the job did not complete, so that none was made.
        equal: whether the two left the same; None if that cannot be told.
        differences: what they did not leave alike: artifacts by `path`, each with `how`: ``"content"``,
            ``"only_job"`` or ``"only_trusted_job"``. Without any artifacts it may be ``"stdout"``.
        image_digest: the image that both ran; None if they did not run the same one, as far as is known.
        summary: the result in a sentence, with the reason why they cannot be compared.
    """

    job: J
    trusted_job: J | None
    equal: bool | None
    differences: tuple[Difference, ...]
    image_digest: str | None
    summary: str

    @property
    def is_independent(self) -> bool:
        """Whether two executors ran the two jobs. One executor that agrees with itself proves little."""
        return self.trusted_job is not None and self.job.executor_hotkey != self.trusted_job.executor_hotkey


def check_comparable(spec: ComputeHordeJobSpec) -> None:
    """Check that what the job leaves can be compared.

    Raises:
        ComputeHordeSpecError: it cannot.
    """
    if spec.streaming:
        raise ComputeHordeSpecError("streaming: what a user and a job say to each other cannot be compared")
    if spec.output_volumes:
        raise ComputeHordeSpecError("output_volumes: what is sent away cannot be compared; use artifacts_dir")


def copy_of(spec: ComputeHordeJobSpec, image_digest: str | None) -> ComputeHordeJobSpec:
    """The same work with the very image that was run; one that no registry gave out is asked for by its name.

    Raises:
        ComputeHordeError: this facilitator does not tell which image was run.
    """
    if image_digest is None:
        raise ComputeHordeError("this facilitator does not tell which image a job ran, so jobs cannot be compared")
    return replace(spec, docker_image=image_digest) if "@" in image_digest else spec


async def compared(api: Api, job_uuid: str, trusted_job_uuid: str) -> tuple[Comparison, str | None]:
    """What two jobs left, compared, and the image that both ran."""
    uuids = (job_uuid, trusted_job_uuid)
    job, trusted = await asyncio.gather(*(_details(api, uuid) for uuid in uuids))
    stdout = await _hashes(api, uuids) if needs_stdout(job, trusted) else None
    digest = job.image_digest if job.image_digest == trusted.image_digest else None
    return compare(job, trusted, stdout), digest


async def _details(api: Api, uuid: str) -> HordeDetails:
    return (await api.job(uuid, inline=False)).horde or HordeDetails()


async def _hashes(api: Api, uuids: Sequence[str]) -> tuple[str, str]:
    job, trusted = await asyncio.gather(*(api.log(uuid, STDOUT) for uuid in uuids))
    return sha256(job).hexdigest(), sha256(trusted).hexdigest()
