"""Results in listings, artifacts as files."""

import pytest

from compute_horde_sdk.v1 import ComputeHordeError
from horde_core.outcomes import Succeeded


async def test_a_listing_holds_what_is_short_and_says_what_it_leaves_out(ours, executor, spec):
    """The whole can be had afterwards."""
    long_log = b"x" * 99 + b"\n"
    job = await ours.create_job(spec(artifacts_dir="/out"))
    attempt = await executor.take()
    await attempt.steps()
    await attempt.write("stdout", long_log * 2000)
    await attempt.write("stderr", b"short\n")
    await attempt.keep("/out/big", b"y" * 100_000)
    await attempt.keep("/out/small", b"z")
    await attempt.end(Succeeded(exit_code=0))

    listed = (await ours.get_jobs(page=1, page_size=1))[0]
    assert listed.uuid == job.uuid
    assert listed.artifact_sizes == {"/out/big": 100_000, "/out/small": 1}
    assert (listed.result.stderr, listed.result.artifacts) == ("short\n", {"/out/small": b"z"})
    assert {item.path for item in listed.result.truncated} == {"stdout", "/out/big"}
    await listed.wait(timeout=0)
    await listed.wait(timeout=10)
    assert listed.result.stdout.encode() == long_log * 2000
    assert listed.result.truncated == []
    assert len(listed.result.artifacts["/out/big"]) == 100_000


async def test_artifacts_beyond_the_limit_are_named_and_can_be_downloaded(
    ours, executor, spec, tmp_path, monkeypatch
):
    """Into a directory, as they lay below the directory in the container."""
    monkeypatch.setattr("compute_horde_sdk.v1._result.MAX_ARTIFACT_BYTES", 3)
    job = await ours.create_job(spec(artifacts_dir="/out"))
    attempt = await executor.take()
    await attempt.steps()
    for path, content in {"/out/a": b"12", "/out/b/c": b"345", "/out/d": b"6"}.items():
        await attempt.keep(path, content)
    with pytest.raises(ComputeHordeError, match="has not ended"):
        await job.download_artifacts(tmp_path)
    await attempt.end(Succeeded(exit_code=0))
    await job.wait(timeout=10)
    assert job.result.artifacts == {"/out/a": b"12", "/out/d": b"6"}
    assert [item.path for item in job.result.truncated] == ["/out/b/c"]

    (tmp_path / "a").write_text("is replaced")
    placed = await job.download_artifacts(tmp_path)
    assert placed == {"/out/a": tmp_path / "a", "/out/b/c": tmp_path / "b" / "c", "/out/d": tmp_path / "d"}
    assert {path: file.read_bytes() for path, file in placed.items()} == {
        "/out/a": b"12", "/out/b/c": b"345", "/out/d": b"6"
    }  # fmt: skip
    assert sum(1 for file in tmp_path.rglob("*") if file.is_file()) == 3
