"""Whether a job and its copy on a trusted executor left the same. Client and facilitator judge alike.

Artifacts decide. Only where there are none does the standard output: programs like to write times there. Nothing
is proven by a job that did not complete, or was stopped by the clock, or ran another image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from horde_core.outcomes import Succeeded
from horde_core.wire.client import HordeDetails, LogInfo

STDOUT = "stdout"
SHOWN = 3

How = Literal["content", "only_job", "only_trusted_job"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the two jobs did not leave alike.

    Attributes:
        path: the artifact's path in the container, or ``"stdout"``.
        how: ``"content"`` if both left it, with different hashes; ``"only_job"`` or ``"only_trusted_job"`` if one
            of them did.
    """

    path: str
    how: How


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison came to. `obstacle`: why it proves nothing; empty if it does."""

    differences: tuple[Difference, ...] = ()
    obstacle: str = ""

    @property
    def equal(self) -> bool | None:
        """Whether the two left the same; None if that cannot be told."""
        return None if self.obstacle else not self.differences

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.obstacle:
            return f"The two jobs cannot be compared: {self.obstacle}."
        if not self.differences:
            return "The two jobs left the same."
        shown = ", ".join(difference.path for difference in self.differences[:SHOWN])
        more = f" and {len(self.differences) - SHOWN} more" if len(self.differences) > SHOWN else ""
        return f"The two jobs left different results: {shown}{more}."


def needs_stdout(job: HordeDetails, trusted: HordeDetails) -> bool:
    """Whether only the standard output can tell."""
    return not job.artifacts and not trusted.artifacts


def compare(job: HordeDetails, trusted: HordeDetails, stdout: tuple[str, str] | None = None) -> Comparison:
    """Compare two jobs that have ended and were asked to do the same.

    Args:
        job: what is known of the one.
        trusted: the same of its copy on a trusted executor.
        stdout: hashes of what they wrote to their standard output, if `needs_stdout`.
    """
    for details, name in ((job, "the job"), (trusted, "the trusted job")):
        if obstacle := _unfit(details, name):
            return Comparison(obstacle=obstacle)
    if job.image_digest is None or job.image_digest != trusted.image_digest:
        return Comparison(obstacle=f"they ran different images, {job.image_digest} and {trusted.image_digest}")
    if needs_stdout(job, trusted):
        return _compare_stdout(job, trusted, stdout)
    differences = tuple(_differing(job, trusted))
    left_out = sorted({item.path for item in (*job.left_out, *trusted.left_out)})
    if left_out and not differences:
        return Comparison(obstacle=f"not everything that they left was kept, such as {left_out[0]}")
    return Comparison(differences)


def _unfit(details: HordeDetails, name: str) -> str:
    outcome = details.outcome
    if not isinstance(outcome, Succeeded):
        return f"{name} did not complete"
    if outcome.stopped_at_limit:
        return f"{name} was stopped at its execution limit, so that what it left depends on the time it had"
    return ""


def _compare_stdout(job: HordeDetails, trusted: HordeDetails, stdout: tuple[str, str] | None) -> Comparison:
    logs = [details.logs.get(STDOUT, LogInfo()) for details in (job, trusted)]
    if job.left_out or trusted.left_out or any(log.dropped for log in logs):
        return Comparison(obstacle="not everything that they left was kept")
    if not any(log.size for log in logs):
        return Comparison(obstacle="they left no artifacts and wrote nothing to their standard output")
    if stdout is None:
        raise ValueError("the hashes of the standard outputs are needed")
    return Comparison(() if stdout[0] == stdout[1] else (Difference(STDOUT, "content"),))


def _differing(job: HordeDetails, trusted: HordeDetails) -> Iterator[Difference]:
    mine = {entry.path: entry.sha256 for entry in job.artifacts}
    theirs = {entry.path: entry.sha256 for entry in trusted.artifacts}
    unknown = {item.path for item in (*job.left_out, *trusted.left_out)}
    for path in sorted((mine.keys() | theirs.keys()) - unknown):
        if path not in theirs:
            yield Difference(path, "only_job")
        elif path not in mine:
            yield Difference(path, "only_trusted_job")
        elif mine[path] != theirs[path]:
            yield Difference(path, "content")
