"""Giving data to a job and taking results from it."""

import asyncio
import base64
import hashlib
import io
import threading
import zipfile

import pytest

from compute_horde_sdk.v1 import (
    HTTPInputVolume,
    HTTPOutputVolume,
    HTTPZipInputVolume,
    HuggingfaceInputVolume,
    InlineInputVolume,
)

pytestmark = pytest.mark.usefixtures("clean_machine")


async def test_inline_and_http_volumes_meet_in_one_tree(client, job_spec, files):
    """Inputs appear below /volume before the job starts, and the job may change its copy."""
    directory, address = files
    (directory / "numbers.txt").write_text("1\n2\n3\n")
    spec = job_spec(
        "cd /volume/a; cat greeting.txt b/numbers.txt; echo 4 >> b/numbers.txt; id -u; ls /output",
        input_volumes={
            "/volume/a": InlineInputVolume.from_file_contents("greeting.txt", b"hello\n"),
            "/volume/a/b/numbers.txt": HTTPInputVolume(url=f"http://{address}/numbers.txt"),
        },
    )
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert job.result.stdout == "hello\n1\n2\n3\n0\n", job.error


async def test_plain_inline_content_is_a_file(client, job_spec):
    """Content that is no zip archive is the file itself."""
    contents = base64.b64encode(b"version=2").decode()
    spec = job_spec("cat /volume/config", input_volumes={"/volume/config": InlineInputVolume(contents=contents)})
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert job.result.stdout == "version=2"


async def test_an_archive_is_unpacked_or_stays_a_file_as_you_say(client, job_spec, files):
    """`from_bytes` is one file, whatever it holds; `HTTPZipInputVolume` unpacks what it fetches."""
    directory, address = files
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/a.txt", "a\n")
    (directory / "all.zip").write_bytes(packed.getvalue())
    spec = job_spec(
        "cd /volume; cat unpacked/inner/a.txt; sha256sum < own.npz",
        input_volumes={
            "/volume/unpacked": HTTPZipInputVolume(url=f"http://{address}/all.zip"),
            "/volume/own.npz": InlineInputVolume.from_bytes(packed.getvalue()),
        },
    )
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert job.result.stdout.split() == ["a", hashlib.sha256(packed.getvalue()).hexdigest(), "-"], job.error


async def test_a_model_from_hugging_face_is_fetched_once(client, job_spec, hub):
    """Its files lie below the volume's path as in the repository; the next job finds them on the machine."""
    hub.add("org/model", {"config.json": b"{}", "model.safetensors": b"w" * 5000, "notes.md": b"long"})
    model = HuggingfaceInputVolume(repo_id="org/model", allow_patterns=["*.json", "*.safetensors"])
    spec = job_spec("cd /volume/model; ls; echo more >> model.safetensors", input_volumes={"/volume/model": model})
    for _ in range(2):
        job = await client.create_job(spec)
        await job.wait(timeout=30)
        assert job.result.stdout.split() == ["config.json", "model.safetensors"], job.error
    assert hub.downloads() == 1


async def test_a_private_model_needs_a_token(client, job_spec, hub):
    """The error says so; the token travels with the job and is shown nowhere."""
    hub.add("org/private", {"weights": b"w" * 5000}, tokens={"hf_mine"})
    spec = job_spec("ls /volume/m", input_volumes={"/volume/m": HuggingfaceInputVolume(repo_id="org/private")})
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert (job.error.reason, job.error.stage, job.error.fault) == ("download_failed", "download", "job")
    assert "give the volume a token" in job.error.message
    spec.input_volumes = {"/volume/m": HuggingfaceInputVolume(repo_id="org/private", token="hf_mine")}
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert job.result.stdout == "weights\n", job.error


async def test_a_download_is_seen_while_it_goes(client, job_spec, hub):
    """Bytes done, bytes in all, and how fast they come."""
    hub.add("org/large", {"weights": bytes(4_000_000)})
    hub.hold = threading.Event()
    spec = job_spec("ls /volume/m", input_volumes={"/volume/m": HuggingfaceInputVolume(repo_id="org/large")})
    job = await client.create_job(spec)
    async with asyncio.timeout(20):
        while not (job.progress and job.progress.done == 2_000_000):
            await job.refresh_from_facilitator()
    assert (job.progress.stage, job.progress.total, job.progress.unit) == ("download", 4_000_000, "bytes")
    assert job.progress.speed > 0
    hub.hold.set()
    await job.wait(timeout=30)
    assert job.result.stdout == "weights\n", job.error


async def test_artifacts_come_back_as_a_tree(client, job_spec):
    """Every file below `artifacts_dir` is in the result, keyed by its full path, byte for byte."""
    script = (
        "cd /out; mkdir -p a/b; echo top > top; head -c 3000000 /dev/zero > a/b/zeros; printf '\\377\\0' > a/raw"
    )
    job = await client.create_job(job_spec(script, artifacts_dir="/out"))
    await job.wait(timeout=30)
    assert job.result.artifacts == {
        "/out/top": b"top\n",
        "/out/a/b/zeros": bytes(3_000_000),
        "/out/a/raw": b"\xff\0",
    }


async def test_what_cannot_be_an_artifact_is_named(client, job_spec):
    """A link is not followed out of the sandbox, and is listed as left out."""
    job = await client.create_job(job_spec("echo x > /out/x; ln -s /etc/passwd /out/link", artifacts_dir="/out"))
    await job.wait(timeout=30)
    assert job.result.artifacts == {"/out/x": b"x\n"}
    assert [item.path for item in job.result.truncated] == ["/out/link"]


async def test_a_job_has_no_network(client, job_spec):
    """Only the loopback interface exists, with no address from outside."""
    job = await client.create_job(
        job_spec("ls /sys/class/net; wget -T 2 -q -O- http://127.0.0.1:8700/ || echo closed")
    )
    await job.wait(timeout=30)
    assert job.result.stdout.split() == ["lo", "closed"]


async def test_outputs_go_to_urls_and_the_answers_come_back(client, job_spec, web):
    """Files that are too large for artifacts, and the whole log, are sent where the user wants them."""
    urls = {"/output/result.bin": web.url("/mine/r?sig=S3CRET"), "/output/stdout.txt": web.url("/mine/log")}
    spec = job_spec(
        "head -c 5000000 /dev/zero > /output/result.bin; echo done",
        output_volumes={path: HTTPOutputVolume(http_method="PUT", url=url) for path, url in urls.items()},
    )
    job = await client.create_job(spec)
    await job.wait(timeout=30)
    assert job.status.is_successful(), job.error
    assert {path: answer.status for path, answer in job.result.upload_results.items()} == dict.fromkeys(urls, 201)
    assert job.result.upload_results["/output/result.bin"].headers["server"].startswith("nginx")
    assert (web.root / "mine" / "r").read_bytes() == bytes(5_000_000)
    assert (web.root / "mine" / "log").read_text() == "done\n"
    assert "upload" in job.stage_seconds


async def test_a_failed_job_sends_what_is_always_sent(client, job_spec, web):
    """A checkpoint is worth having in any case; a half-written result would only replace a good one."""
    volumes = {
        "/output/result": HTTPOutputVolume(http_method="PUT", url=web.url("/half/result")),
        "/output/checkpoint": HTTPOutputVolume(http_method="PUT", url=web.url("/half/checkpoint"), when="always"),
    }
    script = "echo half > /output/result; echo state > /output/checkpoint; exit 3"
    job = await client.create_job(job_spec(script, output_volumes=volumes))
    await job.wait(timeout=30)
    assert (job.error.stage, job.error.reason, job.error.exit_code) == ("execution", "nonzero_return_code", 3)
    assert list(job.result.upload_results) == ["/output/checkpoint"]
    assert (web.root / "half" / "checkpoint").read_text() == "state\n"
    assert not (web.root / "half" / "result").exists()
