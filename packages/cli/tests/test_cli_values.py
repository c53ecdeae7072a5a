"""What options mean, without anything running."""

import base64
import io
import zipfile
from datetime import UTC, datetime

import pytest

from compute_horde_sdk.v1 import HTTPOutputVolume
from horde_cli.display import speed
from horde_cli.errors import BadUsage, NoSuchJob
from horde_cli.exitcodes import End, exit_code
from horde_cli.prefixes import choose
from horde_cli.submit import Run, spec_of
from horde_cli.up.supervisor import pause_before_restart
from horde_cli.values import (
    InputOption,
    StageLimits,
    admitted,
    egress,
    environment,
    hub,
    inputs,
    limits,
    outputs,
    since,
)
from horde_cli.volumes import volumes
from horde_core.wire.client import Progress

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


def test_limits_name_any_stages_in_any_unit_and_keep_the_other_defaults():
    assert limits([]) == StageLimits()
    assert limits(["download=90", "execution=10m,upload=2h"]) == StageLimits(90, 600, 7200)
    assert limits(["execution = 5s"]) == StageLimits(execution=5)


@pytest.mark.parametrize(
    "text", ["", "execution", "execution=", "run=5", "execution=-1", "execution=1.5", "upload=1d"]
)
def test_a_limit_that_cannot_be_read_is_refused_with_an_example(text):
    with pytest.raises(BadUsage, match="write it like download=30"):
        limits([text])


def test_inputs_have_a_place_below_volume_and_a_source():
    found = inputs(["/volume/a=x=y", "/volume/b/=https://host/z?q=1", "/volume=dir"])
    assert found == [
        InputOption("/volume/a", "x=y"),
        InputOption("/volume/b", "https://host/z?q=1"),
        InputOption("/volume", "dir"),
    ]
    assert [option.is_url for option in found] == [False, True, False]


@pytest.mark.parametrize(
    "texts", [["/data=x"], ["/volumes/x=y"], ["/volume/x="], ["x"], ["/volume/a=1", "/volume/a/=2"]]
)
def test_an_input_that_has_no_place_or_shares_one_is_refused(texts):
    with pytest.raises(BadUsage, match="--input"):
        inputs(texts)


def test_outputs_are_files_below_output_with_a_url_that_is_not_repeated_in_errors():
    assert outputs(["/output/a/b=https://h/x?sig=1=2"]) == {"/output/a/b": "https://h/x?sig=1=2"}
    for texts in (
        ["/output/a=x?S3CRET"],
        ["/out/a=http://h"],
        ["/output/=http://h"],
        ["/output/a"],
        ["/output/a=http://h"] * 2,
    ):
        with pytest.raises(BadUsage, match="--output") as refused:
            outputs(texts)
        assert "S3CRET" not in str(refused.value)


def test_an_output_of_the_command_line_is_a_put():
    run = Run(
        image="busybox:1",
        args=["true"],
        executor_class="always_on.test",
        namespace="",
        priority=0,
        inputs=[],
        outputs=["/output/a=https://h/x"],
        env=[],
        secret_env=[],
        limits=[],
        artifacts=None,
        artifacts_dir="/artifacts",
        detach=False,
        quiet=True,
        as_json=False,
    )
    assert spec_of(run).output_volumes == {"/output/a": HTTPOutputVolume(http_method="PUT", url="https://h/x")}


def test_env_takes_a_value_or_that_of_the_own_environment():
    assert environment(["A=1=2", "B", "C="], {"B": "b"}) == {"A": "1=2", "B": "b", "C": ""}
    with pytest.raises(BadUsage, match="MISSING"):
        environment(["MISSING"], {})
    with pytest.raises(BadUsage, match="--secret-env has a value without a name"):
        environment(["=hidden"], {}, "--secret-env")


def test_hosts_and_hotkeys_are_checked_before_anything_starts():
    assert egress(["10.0.0.1:80", "[fe80::1]:443", "host:1"]) == ["10.0.0.1:80", "[fe80::1]:443", "host:1"]
    for text in ("host", "host:", ":80", "host:0", "host:65536", "fe80::1:80"):
        with pytest.raises(BadUsage, match="--allow-egress"):
            egress([text])
    nobody = dict.fromkeys(("user", "executor", "trusted", "operator"), frozenset())
    assert admitted([f"executor={ALICE}"]) == {**nobody, "executor": frozenset({ALICE})}
    for text in (ALICE, f"admin={ALICE}", "user=5Nobody"):
        with pytest.raises(BadUsage, match="--admit"):
            admitted([text])


def test_a_hub_is_a_url():
    assert hub("http://10.0.0.1:8080/hf/") == "http://10.0.0.1:8080/hf"
    for text in ("hub.example.org", "ftp://hub", "https://user:pw@hub", "https://hub/?x=1"):
        with pytest.raises(BadUsage, match="--hf-endpoint"):
            hub(text)


def test_the_speed_of_a_transfer_is_shown_as_people_write_it():
    assert speed(Progress(stage="download", speed=12.3 * 1024**2)) == "12.3 MiB/s"
    assert speed(Progress(stage="download")) == speed(Progress(stage="prepare", speed=3, unit="layers")) == ""


def test_a_file_becomes_a_file_even_if_it_is_a_zip_and_a_directory_becomes_its_content(tmp_path):
    (tmp_path / "plain").write_bytes(b"version=2")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("inner", "x")
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "leaf").write_bytes(b"leaf")
    found = volumes(
        inputs(
            [
                f"/volume/p={tmp_path}/plain",
                f"/volume/z/packed.zip={tmp_path}/packed.zip",
                f"/volume/t={tmp_path}/tree",
                "/volume/u=http://host/file",
            ]
        )
    )
    assert base64.b64decode(found["/volume/p"].contents) == b"version=2"
    packed = found["/volume/z/packed.zip"].content()
    assert (packed.unpack, packed.read(0, packed.size)) == (False, (tmp_path / "packed.zip").read_bytes())
    assert content(found["/volume/t"])["below/leaf"] == b"leaf"
    assert found["/volume/u"].url == "http://host/file"


def content(volume) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(volume.contents)))
    return {name: archive.read(name) for name in archive.namelist()}


def test_inputs_that_cannot_travel_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(BadUsage, match="does not exist"):
        volumes(inputs([f"/volume/x={tmp_path}/missing"]))
    (tmp_path / "file").touch()
    with pytest.raises(BadUsage, match="/volume/file="):
        volumes(inputs([f"/volume={tmp_path}/file"]))
    with pytest.raises(BadUsage, match="neither"):
        volumes(inputs(["/volume/x=/dev/null"]))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End("completed"), 0),
        (End("completed", stopped_at_limit=True, container_code=143), 124),
        (End("failed", "nonzero_return_code", "job", 3), 3),
        (End("failed", "out_of_memory", "job", 137), 137),
        (End("failed", "disk_full", "job", 0), 1),
        (End("failed", "image_not_found", "job"), 1),
        (End("failed", "timeout", "job"), 1),
        (End("failed", "command_not_found", "job", 127), 127),
        (End("failed", "cancelled", "job", 143), 130),
        (End("failed", "executor_lost", "horde"), 125),
        (End("failed", "executor_error", "horde", 143), 125),
        (End("rejected", "no_executor"), 126),
    ],
)
def test_the_exit_code_tells_how_a_job_ended(end, code):
    assert exit_code(end) == code


def test_a_prefix_names_one_job_or_none():
    jobs = ["7d1f2f58-93a5-4e0e-a3ab-1f3c0b8d4e11", "7d1f2f58-0000-4e0e-a3ab-1f3c0b8d4e11"]
    assert choose("7D1F2F58-9", jobs) == jobs[0]
    with pytest.raises(NoSuchJob, match=rf"{jobs[0]}.*{jobs[1]}"):
        choose("7d1f", jobs)
    with pytest.raises(NoSuchJob, match="horde jobs"):
        choose("8888", jobs)
    for text in ("7d1", "7d1g", "", "../x"):
        with pytest.raises(BadUsage, match="4"):
            choose(text, jobs)


def test_a_child_that_crashes_again_and_again_is_started_ever_more_slowly():
    pauses = [pause_before_restart(0, 1)]
    while len(pauses) < 8:
        pauses.append(pause_before_restart(pauses[-1], 1))
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause_before_restart(30, 3600) == 0.5


def test_since_is_a_time_ago_or_a_moment():
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert since("90m", now) == datetime(2026, 1, 31, 10, 30, tzinfo=UTC)
    assert since("2d", now) == datetime(2026, 1, 29, 12, tzinfo=UTC)
    assert since("2026-01-31T12:00:00Z") == now
    assert since("2026-01-31").utcoffset() is not None
    assert since("999999999d", now).year == 1970
    for text in ("", "90", "yesterday", "-1h"):
        with pytest.raises(BadUsage, match="--since"):
            since(text)
