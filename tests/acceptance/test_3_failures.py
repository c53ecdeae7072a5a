"""When something goes wrong: at which stage, for what reason, and whose fault."""

import time

import pytest

from compute_horde_sdk.v1 import (
    ComputeHordeError,
    HTTPInputVolume,
    HTTPOutputVolume,
    InlineInputVolume,
)

pytestmark = pytest.mark.usefixtures("clean_machine")


async def failure(client, spec):
    job = await client.create_job(spec)
    await job.wait(timeout=60)
    assert job.status.is_failed()
    return job


async def test_a_nonzero_exit_fails_and_keeps_everything(client, job_spec):
    """Logs, artifacts and exit code of a failed job are there."""
    job = await failure(client, job_spec("echo partial > /out/p; echo why >&2; exit 3", artifacts_dir="/out"))
    assert (job.error.stage, job.error.reason, job.error.fault) == ("execution", "nonzero_return_code", "job")
    assert (job.result.exit_code, job.result.stderr) == (3, "why\n")
    assert job.result.artifacts == {"/out/p": b"partial\n"}


async def test_a_command_that_is_not_in_the_image(client, job_spec):
    """The message names the command."""
    job = await failure(client, job_spec(args=["no-such-command", "x"]))
    assert (job.error.stage, job.error.reason, job.error.fault) == ("execution", "command_not_found", "job")
    assert "no-such-command" in job.error.message


async def test_an_input_that_is_not_there(client, job_spec, files):
    """A 404 is the job's fault, at the download stage, and names the volume."""
    volume = HTTPInputVolume(url=f"http://{files[1]}/missing")
    job = await failure(client, job_spec(input_volumes={"/volume/data": volume}))
    assert (job.error.stage, job.error.reason, job.error.fault) == ("download", "download_failed", "job")
    assert "404" in job.error.message
    assert "/volume/data" in job.error.message
    assert job.result.stdout == ""


async def test_an_input_from_a_forbidden_address(client, job_spec):
    """Addresses inside the operator's network are closed unless the operator opened them."""
    volume = HTTPInputVolume(url="http://127.0.0.1:1/secret")
    job = await failure(client, job_spec(input_volumes={"/volume/data": volume}))
    assert (job.error.stage, job.error.reason) == ("download", "download_failed")
    assert "--allow-egress" in job.error.message


async def test_the_download_limit_fails_the_job_before_it_starts(client, job_spec, slow_url):
    """Reached in mid-transfer: FAILED, nothing ran."""
    spec = job_spec(
        "echo started", input_volumes={"/volume/slow": HTTPInputVolume(url=slow_url)}, download_time_limit_sec=1
    )
    job = await failure(client, spec)
    assert (job.error.stage, job.error.reason, job.error.fault) == ("download", "timeout", "job")
    assert job.result.stdout == ""
    assert "Volumes Ready" not in [str(entry.status) for entry in job.status_history]


async def test_the_execution_limit_stops_the_job_without_failing_it(client, job_spec):
    """The reference promises it: stopped, not failed, and on to the results; here SIGTERM is ignored."""
    script = "trap '' TERM; echo here > /out/made; echo started; while true; do sleep 1; done"
    before = time.monotonic()
    job = await client.create_job(job_spec(script, artifacts_dir="/out", execution_time_limit_sec=1))
    await job.wait(timeout=60)
    assert job.status.is_successful()
    assert job.result.stopped_at_limit
    assert job.result.stdout == "started\n"
    assert job.result.artifacts == {"/out/made": b"here\n"}
    assert 11 <= time.monotonic() - before <= 15, "limit 1 s + grace 10 s"


async def test_what_is_not_built_yet_is_refused_by_name(client, job_spec):
    """Never ignored: a job that asks for it is not created."""
    spec = job_spec(streaming=True)
    with pytest.raises(ComputeHordeError, match="streaming"):
        await client.create_job(spec)


async def test_bad_base64_is_refused_before_a_job_exists(client, job_spec):
    """The error names the field and says what to do."""
    spec = job_spec(input_volumes={"/volume/x": InlineInputVolume(contents="not base64!")})
    with pytest.raises((ComputeHordeError, ValueError), match="base64"):
        await client.create_job(spec)


async def test_an_output_that_is_missing_refused_or_led_inside(client, job_spec, web):
    """Each says what is wrong with it, at the upload stage, and it is the job's fault."""
    for path, url, says in (
        ("/output/none", web.url("/x"), "/output/none is not there: the job did not write it"),
        ("/output/d", web.url("/x"), "/output/d is a directory"),
        ("/output/f", web.url("/refused/x?X-Amz-Signature=S3CRET"), "403 Forbidden"),
        ("/output/f", "http://127.0.0.1:1/x?sig=S3CRET", "--allow-egress 127.0.0.1:1"),
    ):
        volumes = {path: HTTPOutputVolume(http_method="PUT", url=url)}
        spec = job_spec("mkdir /output/d; echo x > /output/f", output_volumes=volumes)
        job = await failure(client, spec)
        assert (job.error.stage, job.error.reason, job.error.fault) == ("upload", "upload_failed", "job")
        assert says in job.error.message
        assert "S3CRET" not in repr((job.error, job.result, job.status_history))
        assert job.payment == "settled"


async def test_the_upload_limit_fails_the_job_in_mid_transfer(client, job_spec, slow_url):
    """Reached: FAILED at the upload, although the container had ended well; its price is the sum of its limits."""
    spec = job_spec(
        "head -c 20000000 /dev/zero > /output/big",
        output_volumes={"/output/big": HTTPOutputVolume(http_method="PUT", url=slow_url)},
        upload_time_limit_sec=1,
    )
    job = await failure(client, spec)
    assert (job.error.stage, job.error.reason, job.error.fault) == ("upload", "timeout", "job")
    assert job.result.exit_code == 0
    assert (job.price, job.payment) == (spec.price(), "settled")
    assert job.stage_seconds["upload"] < 3
