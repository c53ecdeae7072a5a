"""A job and its copy: when they left the same, what differs, and when nothing can be told."""

import pytest

from horde_core.comparing import Difference, compare
from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.wire.client import HordeDetails, LogInfo
from horde_core.wire.executor import ArtifactEntry, LeftOut

DIGEST = "user/image@sha256:" + 64 * "a"
DONE = Succeeded(exit_code=0)


def left(artifacts: dict[str, str] | None = None, *, wrote: int = 5, dropped: int = 0, **fields) -> HordeDetails:
    """What is known of a job that left these artifacts, by path and hash."""
    return HordeDetails(
        **{
            "image_digest": DIGEST,
            "outcome": DONE,
            "logs": {"stdout": LogInfo(size=wrote, dropped=dropped)},
            "artifacts": [ArtifactEntry(path=p, size=1, sha256=h * 64) for p, h in (artifacts or {}).items()],
            **fields,
        }
    )


def test_artifacts_of_the_same_hashes_are_equal_whatever_was_written():
    """Programs write times to their standard output."""
    found = compare(left({"/out/x": "1"}, wrote=5), left({"/out/x": "1"}, wrote=6))
    assert (found.equal, found.differences) == (True, ())


def test_every_difference_is_told_by_its_path():
    """Another content, only here, only there."""
    found = compare(
        left({"/out/a": "1", "/out/b": "2", "/out/c": "3"}), left({"/out/b": "4", "/out/c": "3", "/out/d": "1"})
    )
    assert found.equal is False
    assert found.differences == (
        Difference("/out/a", "only_job"),
        Difference("/out/b", "content"),
        Difference("/out/d", "only_trusted_job"),
    )
    assert found.summary == "The two jobs left different results: /out/a, /out/b, /out/d."


@pytest.mark.parametrize(("hashes", "equal"), [(("1", "1"), True), (("1", "2"), False)])
def test_without_artifacts_the_output_decides(hashes, equal):
    """By its hash."""
    found = compare(left(), left(), hashes)
    assert found.equal is equal
    assert [it.path for it in found.differences] == ([] if equal else ["stdout"])


NOT_DONE = Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="no", exit_code=1)
STOPPED = Succeeded(exit_code=0, stopped_at_limit=True)
LOST = [LeftOut(path="/out/big", why="too large")]


@pytest.mark.parametrize(
    ("job", "trusted", "said"),
    [
        (left(outcome=NOT_DONE), left(), "the job did not complete"),
        (left(), left(outcome=NOT_DONE), "the trusted job did not complete"),
        (left({"/out/x": "1"}), left({"/out/x": "2"}, outcome=STOPPED), "stopped at its execution limit"),
        (left(), left(image_digest="sha256:b"), f"different images, {DIGEST} and sha256:b"),
        (left(image_digest=None), left(image_digest=None), "different images"),
        (left({"/out/x": "1"}), left({"/out/x": "1"}, left_out=LOST), "not everything that they left was kept"),
        (left(wrote=9, dropped=4), left(), "not everything that they left was kept"),
        (left(wrote=0), left(wrote=0), "wrote nothing"),
    ],
)
def test_what_cannot_be_compared_is_neither_equal_nor_different(job, trusted, said):
    """And the obstacle is named."""
    found = compare(job, trusted, ("1", "1"))
    assert (found.equal, found.differences) == (None, ())
    assert said in found.summary


def test_what_was_not_kept_of_one_hides_no_other_difference():
    """Of the file itself nothing is said."""
    found = compare(left({"/out/x": "1", "/out/big": "1"}), left({"/out/x": "2"}, left_out=LOST))
    assert found.differences == (Difference("/out/x", "content"),)
