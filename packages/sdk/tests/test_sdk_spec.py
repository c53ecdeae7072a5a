"""What a specification becomes on the wire, and how its mistakes are named before anything is sent."""

import base64
import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from compute_horde_sdk.v1 import (
    ComputeHordeError,
    ExecutorClass,
    HTTPInputVolume,
    HTTPOutputVolume,
    HTTPZipInputVolume,
    HuggingfaceInputVolume,
    InlineInputVolume,
)
from compute_horde_sdk.v1._spec import body_of
from horde_core.signing import Scope, signed_text

RECORDED = Path(__file__).parents[2] / "core" / "tests" / "recorded_requests.json"
VALIDATOR = "5CDYBwxDZwXnYSp7E39Vy92MVbCMtcK2i953oRxDm9Veko7M"
INPUTS = {
    "/volume/models/m1": HuggingfaceInputVolume(repo_id="acme/tiny-model"),
    "/volume/data/ds": HuggingfaceInputVolume(
        repo_id="acme/ds", repo_type="dataset", revision="3f2a9c1", allow_patterns=["*.parquet", "meta/*.json"]
    ),
    "/volume/data/one": HuggingfaceInputVolume(repo_id="acme/ds2", allow_patterns="*.txt"),
    "/volume/cfg": "inline",
    "/volume/": InlineInputVolume(contents="UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="),
    "/volume/raw/version.txt": InlineInputVolume(contents="dmVyc2lvbj0y"),
    "/volume/data/set.json": HTTPInputVolume(url="https://files.example.com/set.json?sig=a%2Fb&x=1+2"),
}
OUTPUTS = {
    "/output/put.bin": HTTPOutputVolume(
        http_method="PUT",
        url="https://up.example.com/b/put.bin?X-Amz-Signature=abc",
        signed_headers={"x-amz-meta-job": "42", "content-type": "application/octet-stream"},
    ),
    "/output/dir/post.txt": HTTPOutputVolume(
        http_method="POST",
        url="https://up.example.com/b",
        form_fields={"key": "post.txt", "policy": "eyJh", "x-amz-algorithm": "AWS4-HMAC-SHA256"},
    ),
    "/output/post2.txt": HTTPOutputVolume(
        http_method="POST", url="https://up.example.com/c", form_fields={}, signed_headers={"x-a": "b"}
    ),
}


def recorded(name: str):
    entries = {entry["id"]: entry for entry in json.loads(RECORDED.read_text())}
    return json.loads(entries[name]["body"])


def test_secret_variables_are_signed_with_the_others_and_marked_beside_them(spec):
    """Their values stand in the signed `env`; the key that marks them is only there where it says something."""
    body = body_of(spec(env={"A": "1"}, secret_env={"TOKEN": "t"}), VALIDATOR)
    assert (body["env"], body["secret_env"]) == ({"A": "1", "TOKEN": "t"}, ["TOKEN"])
    assert '"env":{"A":"1","TOKEN":"t"}' in signed_text(body, Scope.SIGNED_FIELDS)
    assert "secret_env" not in body_of(spec(env={"A": "1"}), VALIDATOR)
    for wrong, words in (
        ({"env": {"A": "1"}, "secret_env": {"A": "2"}}, "secret_env: 'A' is in env, too"),
        ({"secret_env": ["A"]}, "secret_env: must be a mapping"),
    ):
        with pytest.raises(ComputeHordeError, match=words):
            body_of(spec(**wrong), VALIDATOR)


def test_secrets_are_not_printed_with_a_specification(spec):
    """Neither secret variables, nor what signs a request, nor the query of a URL; the rest of a URL is."""
    volumes = {"/volume/x": HTTPInputVolume(url="https://host/in?HIDDEN")}
    upload = HTTPOutputVolume(
        http_method="POST",
        url="https://host/out#HIDDEN",
        form_fields={"a": "HIDDEN"},
        signed_headers={"b": "HIDDEN"},
    )
    printed = repr(spec(secret_env={"A": "HIDDEN"}, input_volumes=volumes, output_volumes={"/output/x": upload}))
    assert "HIDDEN" not in printed
    assert "https://host/in" in printed
    assert "https://host/out" in printed


def test_a_full_specification_becomes_what_the_published_client_sends(spec):
    """The same keys with the same values in the same order, all the way down."""
    theirs = recorded("sdk0.0.18/create_job_everything")
    assert theirs["volumes"].pop()["volume_type"] == "zip_url", "was added by hand: no published class makes it"
    contents = next(volume["contents"] for volume in theirs["volumes"] if volume["relative_path"] == "cfg")
    inputs = {**INPUTS, "/volume/cfg": InlineInputVolume(contents=contents)}
    everything = spec(
        executor_class=ExecutorClass.always_on__llm__a6000,
        docker_image="registry.example.com/team/image:1.2",
        args=("a b", "--x=ż"),
        env={"Z": "1", "Ä": "2"},
        artifacts_dir="/artifacts",
        download_time_limit_sec=30,
        execution_time_limit_sec=120,
        upload_time_limit_sec=45,
        input_volumes=inputs,
        output_volumes=OUTPUTS,
        streaming=True,
    )
    ours = body_of(everything, VALIDATOR, True, theirs["streaming_details"]["public_key"])
    assert json.dumps(ours) == json.dumps(theirs)


def test_outputs_that_go_up_always_say_so_within_what_is_signed(spec):
    """Only those: what published clients send stays byte for byte what they send."""
    url = "https://up.example.com/b"
    volumes = {
        "/output/a": HTTPOutputVolume(http_method="PUT", url=url, when="always"),
        "/output/b": HTTPOutputVolume(http_method="POST", url=url, when="always"),
        "/output/c": HTTPOutputVolume(http_method="PUT", url=url),
    }
    body = body_of(spec(output_volumes=volumes), VALIDATOR)
    assert [upload.get("when") for upload in body["uploads"]] == ["always", "always", None]
    assert '"when":"always"' in signed_text(body, Scope.SIGNED_FIELDS).replace("\\", "")
    with pytest.raises(ValueError, match="when"):
        HTTPOutputVolume(http_method="PUT", url=url, when="never")


def test_what_signs_an_upload_does_not_reach_a_log(spec):
    volume = HTTPOutputVolume(
        http_method="POST",
        url="https://h/x?sig=S3CRET",
        form_fields={"p": "S3CRET"},
        signed_headers={"t": "S3CRET"},
    )
    assert "S3CRET" not in repr(spec(output_volumes={"/output/x": volume}))


def test_what_is_not_given_is_sent_as_the_published_client_sends_it(spec):
    """No mapping, no key; an empty mapping, an empty list; no directory, null. Only the namespace is newer."""
    fields = {
        "executor_class": ExecutorClass.always_on__llm__a6000,
        "docker_image": "registry.example.com/team/image:1.2",
        "download_time_limit_sec": 30,
        "execution_time_limit_sec": 120,
        "upload_time_limit_sec": 45,
    }
    for name, given in (
        ("sdk0.0.14/create_job_minimal#3", {}),
        ("sdk0.0.14/create_job_explicit_empty_volume_maps", {"input_volumes": {}, "output_volumes": {}}),
    ):
        ours = body_of(spec(**fields, **given), VALIDATOR)
        assert list(ours)[:4] == ["target_validator_hotkey", "executor_class", "docker_image", "job_namespace"]
        assert ours.pop("job_namespace") == "SN123.0"
        assert json.dumps(ours) == json.dumps(recorded(name))
        assert signed_text(ours, Scope.SIGNED_FIELDS) == signed_text(recorded(name), Scope.SIGNED_FIELDS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("executor_class", "", "executor_class: .*at least 1 character"),
        ("executor_class", None, "executor_class: .*valid string"),
        ("docker_image", "Bad Image", "docker_image: 'Bad Image' is no image name"),
        ("job_namespace", "n" * 101, "job_namespace: .*100 characters"),
        ("download_time_limit_sec", -1, "download_time_limit_sec: .*greater than or equal to 0"),
        ("execution_time_limit_sec", 1.5, "execution_time_limit_sec: .*valid integer"),
        ("upload_time_limit_sec", True, "upload_time_limit_sec: .*valid integer"),
        ("streaming_start_time_limit_sec", "5", "streaming_start_time_limit_sec: .*valid integer"),
        ("args", "echo hi", "args: .*valid list"),
        ("args", ["a", 1], "args: 1: .*valid string"),
        ("env", {"A": 1}, "env: A: .*valid string"),
        ("env", {"": "x"}, "env: .*no name of a variable"),
        ("artifacts_dir", "out", "artifacts_dir: 'out' must be an absolute path"),
        ("input_volumes", {"/data/x": INPUTS["/volume/"]}, "input_volumes: '/data/x' must start with '/volume/'"),
        ("input_volumes", {"/volume": INPUTS["/volume/"]}, "input_volumes: '/volume' must start with"),
        (
            "input_volumes",
            {"/volume/ok": INPUTS["/volume/cfg"], "/volume/x": InlineInputVolume(contents="not base64!")},
            r"input_volumes\['/volume/x'\]\.contents: not valid base64",
        ),
        (
            "input_volumes",
            {"/volume/x": HTTPInputVolume(url="ftp://h/x")},
            r"input_volumes\['/volume/x'\]\.url: .*only http and https",
        ),
        ("input_volumes", {"/volume/../x": INPUTS["/volume/"]}, r"/x'\]\.relative_path: .*must not"),
        (
            "input_volumes",
            {"/volume/raw/version.txt": INPUTS["/volume/raw/version.txt"],
             "/volume/raw/version.txt/x": HTTPInputVolume(url="http://h/x")},
            "input_volumes: /volume/raw/version.txt/x lies inside",
        ),
        ("output_volumes", {"/out/x": OUTPUTS["/output/put.bin"]}, "output_volumes: '/out/x' must start with"),
        (
            "output_volumes",
            {"/output/x": HTTPOutputVolume(http_method="PUT", url="http://h/x", form_fields={"a": "b"})},
            r"output_volumes\['/output/x'\]: a PUT has no form_fields",
        ),
        (
            "output_volumes",
            {"/output/x": HTTPOutputVolume(http_method="PUT", url="http://h/x", signed_headers={"a": "b\nc: d"})},
            r"output_volumes\['/output/x'\]\.signed_headers: the value of 'a' holds a line break",
        ),
        (
            "output_volumes",
            {"/output/x": HTTPOutputVolume(http_method="POST", url="http://h/x", form_fields={"file": "x"})},
            r"output_volumes\['/output/x'\]\.form_fields: 'file' is the field of the file itself",
        ),
        (
            "output_volumes",
            {"/output/x": HTTPOutputVolume(http_method="PUT", url="http://u:p@h/x")},
            r"output_volumes\['/output/x'\]\.url: .*use a presigned URL instead",
        ),
        (
            "output_volumes",
            {"/output/": HTTPOutputVolume(http_method="PUT", url="http://h/x")},
            r"output_volumes\['/output/'\]\.relative_path: .*must end with a file name",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_value_is_named_before_anything_is_sent(client, original, spec, field, value, message):  # noqa: PLR0917
    """By the field's own name, in an error that is a ValueError and a ComputeHordeError."""
    if isinstance(value, dict):
        value = {k: INPUTS["/volume/"] if v == "inline" else v for k, v in value.items()}
    with pytest.raises(ComputeHordeError, match=message) as raised:
        await client.create_job(spec(**{field: value}))
    assert isinstance(raised.value, ValueError)
    assert not original.requests


def test_what_published_clients_do_not_know_is_signed_along(spec):
    """The mark of plain content, the URL of an archive and a token are in the text that is signed."""
    inputs = {
        "/volume/a.npz": InlineInputVolume.from_bytes(b"PK\x03\x04"),
        "/volume/z": HTTPZipInputVolume(url="https://files.example.com/a.zip"),
        "/volume/m": HuggingfaceInputVolume(repo_id="a/b", token="hf_secret"),
    }
    body = body_of(spec(input_volumes=inputs), VALIDATOR)
    assert [list(volume.items())[-1] for volume in body["volumes"]] == [
        ("plain", True), ("relative_path", "z"), ("token", "hf_secret"),
    ]  # fmt: skip
    assert json.loads(signed_text(body, Scope.SIGNED_FIELDS))["volumes"] == body["volumes"]
    assert "hf_secret" not in repr(inputs)


def archive(volume: InlineInputVolume) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(volume.contents)))


@pytest.mark.parametrize("compress", [False, True])
def test_contents_become_a_zip_with_one_member(compress):
    """Nested names are fine, and equal content is equal text."""
    volume = InlineInputVolume.from_file_contents("a/b.txt", b"hi" * 500, compress=compress)
    assert archive(volume).namelist() == ["a/b.txt"]
    assert archive(volume).read("a/b.txt") == b"hi" * 500
    assert (len(volume.contents) < 500) is compress
    assert volume == InlineInputVolume.from_file_contents("a/b.txt", b"hi" * 500, compress)
    for bad in ("", "/a", "../a", "a/", "a//b"):
        with pytest.raises(ValueError, match=r"must not|no name of a file"):
            InlineInputVolume.from_file_contents(bad, b"")


def test_local_files_and_directories_become_volumes(tmp_path):
    """With empty directories and permissions; links to files are read, anything odd is refused by name."""
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    script = tmp_path / "tree" / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o755)
    (tmp_path / "tree" / "link").symlink_to("run.sh")

    alone = archive(InlineInputVolume.from_file(script))
    assert (alone.namelist(), alone.infolist()[0].external_attr >> 16) == (["run.sh"], 0o100755)
    whole = archive(InlineInputVolume.from_directory(tmp_path / "tree", compress=True))
    assert whole.namelist() == ["empty/", "link", "run.sh"]
    assert whole.read("link") == b"#!/bin/sh\n"

    (tmp_path / "tree" / "loop").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="loop is a link to a directory"):
        InlineInputVolume.from_directory(tmp_path / "tree")
    (tmp_path / "tree" / "loop").unlink()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(ValueError, match="pipe is neither a file nor a directory"):
        InlineInputVolume.from_directory(tmp_path / "tree")
    with pytest.raises(NotADirectoryError):
        InlineInputVolume.from_directory(script)


def test_volumes_are_values_that_know_their_fields():
    """A misspelt field is an error, not ignored."""
    with pytest.raises(ValueError, match="ulr"):
        HTTPInputVolume(url="http://h/x", ulr="http://h/y")
    assert len({HTTPInputVolume(url="http://h/x"), HTTPInputVolume(url="http://h/x")}) == 1
