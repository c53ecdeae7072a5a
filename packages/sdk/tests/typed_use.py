# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""How programs use the SDK, for a type checker. It is not run; `test_sdk_surface` has it checked."""

from pathlib import Path
from typing import Literal, assert_type

from bittensor_wallet import Keypair

from compute_horde_sdk.v1 import (
    ComputeHordeClient,
    ComputeHordeHordeFailure,
    ComputeHordeJob,
    ComputeHordeJobFailure,
    ComputeHordeJobRejection,
    ComputeHordeJobResult,
    ComputeHordeJobSpec,
    ComputeHordeJobStatus,
    ComputeHordeJobStatusEntry,
    Difference,
    ExecutorClass,
    HTTPInputVolume,
    HTTPOutputVolume,
    HttpOutputVolumeResponse,
    InlineInputVolume,
    InputVolume,
    LogLine,
    LogPiece,
    OutputVolume,
    VerifiedRun,
    blocking,
)

volume: InputVolume = InlineInputVolume.from_file_contents("name", b"contents")
output: OutputVolume = HTTPOutputVolume(http_method="PUT", url="https://host/path")
spec = ComputeHordeJobSpec(
    executor_class=ExecutorClass.always_on__test,
    job_namespace="SN123.0",
    docker_image="user/image:tag",
    download_time_limit_sec=1,
    execution_time_limit_sec=1,
    upload_time_limit_sec=1,
    args=["a"],
    env={"A": "b"},
    # Mappings and sequences are read only, so narrower ones fit.
    input_volumes={"/volume/x": HTTPInputVolume(url="https://host/path")},
    output_volumes={"/output/x": output},
)
ComputeHordeJobSpec("a-class-of-the-operator", "SN123.0", "user/image:tag", 1, 1, 1)
ComputeHordeJobSpec(ExecutorClass.always_on__test, "SN123.0", "user/image:tag", 1, 1, 1, ["a"], {"A": "b"}, "/out")
ComputeHordeJobSpec(executor_class=1)  # pyright: ignore[reportCallIssue]


def on_status(job: ComputeHordeJob, entry: ComputeHordeJobStatusEntry) -> None:
    assert_type(entry.status, ComputeHordeJobStatus)


async def on_attempt(job: ComputeHordeJob) -> None:
    await job.cancel()


async def asynchronous(hotkey: Keypair) -> None:
    async with ComputeHordeClient(hotkey, "5F…", facilitator_url="https://host/") as client:
        job = await client.create_job(spec)
        assert_type(job, ComputeHordeJob)
        await job.wait(timeout=1.5, status_callback=on_status)
        await job.wait(status_callback=1)  # pyright: ignore[reportArgumentType]
        if job.result:
            assert_type(job.result, ComputeHordeJobResult)
            assert_type(job.result.artifacts, dict[str, bytes])
            assert_type(job.result.upload_results, dict[str, HttpOutputVolumeResponse])
            assert_type(job.result.exit_code, int | None)
            assert_type([item.path for item in job.result.truncated], list[str])
        if job.error:
            assert_type(job.error, ComputeHordeJobRejection | ComputeHordeJobFailure | ComputeHordeHordeFailure)
            assert_type(job.error.fault, Literal["job", "horde"] | None)
        assert_type([line async for line in job.logs(follow=False)], list[LogLine])
        assert_type([piece async for piece in job.output()], list[LogPiece])
        assert_type(await job.download_artifacts("directory"), dict[str, Path])
        last = await client.run_until_complete(spec, job_attempt_callback=on_attempt, retry_on="horde")
        assert_type(last, ComputeHordeJob)
        await client.run_until_complete(spec, retry_on="never")  # pyright: ignore[reportArgumentType]
        verified = await client.run_verified(spec, timeout=1.5)
        assert_type(verified, VerifiedRun[ComputeHordeJob])
        assert_type(verified.differences, tuple[Difference, ...])
        assert_type(verified.equal, bool | None)
        if verified.trusted_job:
            await client.report_cheated_job(job.uuid, verified.trusted_job.uuid, details={"any": [1]})
        await client.report_cheated_job(job.uuid)
        assert_type((await client.cheat_report(job.uuid)).state, str)
        assert_type(await client.get_jobs(page=1, page_size=10), list[ComputeHordeJob])
        assert_type([job async for job in client.iter_jobs()], list[ComputeHordeJob])
        await client.set_registry("registry.example.com:5000", "name", "password")
        assert_type([entry.registry for entry in await client.registries()], list[str])
        await client.remove_registry("registry.example.com:5000")
        assert_type([spec.price(entry.weight / 1000) for entry in await client.classes()], list[float])


def without_await(hotkey: Keypair) -> None:
    with blocking.ComputeHordeClient.from_config("client.toml") as client:
        job = client.create_job(spec)
        assert_type(job, blocking.ComputeHordeJob)
        job.wait(timeout=1.5, status_callback=lambda job, entry: job.cancel())
        assert_type(job.result, ComputeHordeJobResult | None)
        assert_type(list(job.logs()), list[LogLine])
        attempts: list[blocking.ComputeHordeJob] = []
        client.run_until_complete(spec, job_attempt_callback=attempts.append)
        assert_type(client.run_verified(spec).trusted_job, blocking.ComputeHordeJob | None)
