"""The job spec: every field of the reference, each wrong value refused with an error that names the field."""

import base64
import io
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from horde_core.classes import DEFAULT_CLASS, ExecutorClass
from horde_core.spec import MAX_LIMIT, MAX_STRING_BYTES, JobSpec, field_errors
from horde_core.volumes import InlineVolume, checked_url, decode_contents

MINIMAL: dict[str, Any] = {"executor_class": "always_on.test", "docker_image": "user/image:tag"}
LONGEST = "x" * MAX_STRING_BYTES
SPECIFIC_LIMITS = (
    "download_time_limit", "execution_time_limit", "upload_time_limit", "streaming_start_time_limit",
)  # fmt: skip


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cfg.json", "{}")
    return buffer.getvalue()


def inline(path: str | None, content: bytes = b"plain") -> dict[str, Any]:
    return {"volume_type": "inline", "contents": b64(content), "relative_path": path}


def single(path: str | None, url: str = "https://example.com/x") -> dict[str, Any]:
    return {"volume_type": "single_file", "url": url, "relative_path": path}


def put(**changed: Any) -> dict[str, Any]:
    return {
        "output_upload_type": "single_file_put",
        "url": "https://up.example.com/a",
        "relative_path": "a",
    } | changed


WRONG: list[tuple[str, Any]] = [
    ("secret_env", ["NOT_IN_ENV"]),
    ("secret_env", "A"),
    ("secret_env", {"A": "1"}),
    ("executor_class", None),
    ("executor_class", ""),
    ("executor_class", "c" * 101),
    ("executor_class", 4),
    ("docker_image", None),
    ("docker_image", ""),
    ("docker_image", "User/Image"),
    ("docker_image", "x" * 256),
    ("docker_image", ["busybox"]),
    ("job_namespace", None),
    ("job_namespace", "n" * 101),
    ("args", None),
    ("args", "echo hi"),
    ("args", [1]),
    ("args", ["a\0b"]),
    ("args", [LONGEST + "x"]),
    ("args", [LONGEST] * 8 + [""]),
    ("env", None),
    ("env", ["A=1"]),
    ("env", {"A": 1}),
    ("env", {"": "x"}),
    ("env", {"A=B": "x"}),
    ("env", {"A\0": "x"}),
    ("env", {"A": "\0"}),
    ("env", {"A": LONGEST}),
    ("artifacts_dir", "results"),
    ("artifacts_dir", "/"),
    ("artifacts_dir", "/etc"),
    ("artifacts_dir", "/a/../b"),
    ("artifacts_dir", 7),
    *((name, value) for name in SPECIFIC_LIMITS for value in (-1, MAX_LIMIT + 1, 1.5, "10", True, None)),
    ("streaming_details", {}),
    ("streaming_details", {"public_key": 1}),
    ("streaming_details", {"public_key": "PEM", "port": 1}),
    ("volumes", None),
    ("volumes", {"/volume/a": inline("a")}),
    ("volumes", [{"volume_type": "floppy"}]),
    ("volumes", [{"volume_type": "multi_volume", "volumes": []}]),
    ("volumes", [inline("a") | {"contents": "not base64!"}]),
    ("volumes", [inline("a") | {"contents": "YWJj ZGVm"}]),
    ("volumes", [inline("a") | {"contents": "YQ"}]),
    ("volumes", [inline("a") | {"contents": None}]),
    ("volumes", [inline("a") | {"mode": 7}]),
    ("volumes", [inline(None)]),
    ("volumes", [inline("")]),
    ("volumes", [inline("../a")]),
    ("volumes", [inline("/a")]),
    ("volumes", [inline("a//b")]),
    ("volumes", [inline("a"), inline("a/b")]),
    ("volumes", [single("a/b/c"), single("a/b")]),
    ("volumes", [single(None)]),
    ("volumes", [single("")]),
    ("volumes", [single("dir/")]),
    *(("volumes", [single("a", url)]) for url in (
        "", "ftp://example.com/x", "file:///etc/passwd", "//example.com/x", "https://", "https://u:p@example.com/",
        "https://user@example.com/", "http://example.com:0/", "http://example.com:99999/", "http://[::1/x",
        "http://exa mple.com/", "http://example.com/\r\nHost: x", "http://example.com\\@evil/", "https:///x",
        "http://example.com/" + "x" * 8192,
    )),
    ("volumes", [{"volume_type": "zip_url", "contents": "nothing"}]),
    ("volumes", [{"volume_type": "huggingface_volume", "repo_id": ""}]),
    ("volumes", [{"volume_type": "huggingface_volume", "repo_id": "a/b", "repo_type": "attic"}]),
    ("uploads", None),
    ("uploads", [{}]),
    ("uploads", [put(output_upload_type="zip_and_http_put")]),
    ("uploads", [put(url="gopher://x/")]),
    ("uploads", [put(relative_path="")]),
    ("uploads", [put(relative_path="../a")]),
    ("uploads", [put(relative_path=None)]),
    ("uploads", [put(form_fields={"a": "b"})]),
    ("uploads", [put(signed_headers={"a": 1})]),
    ("uploads", [put(output_upload_type="single_file_post", form_fields=["a"])]),
    ("uploads", [put(when="never")]),
    ("uploads", [put()] * 257),
    *(("uploads", [put(signed_headers=headers)]) for headers in (
        {"": "x"}, {"a b": "x"}, {"a:": "x"}, {"a\r\nb": "x"}, {"ä": "x"}, {"x-a": "1\r\nx-b: 2"}, {"x-a": "1\n"},
        {"x-a": "1\0"}, {"x-a": "\u2028"}, {"x-a": "\ud800"}, {"x-a": "1", "X-A": "2"}, {"Host": "other"},
        {"Content-Length": "5"}, {"transfer-encoding": "chunked"}, {"Expect": ""}, {"Proxy-Authorization": "x"},
        {f"x-{n}": "1" for n in range(65)}, {"x-a": "1" * 8192},
    )),
    *(("uploads", [put(output_upload_type="single_file_post", **given)]) for given in (
        {"signed_headers": {"Content-Type": "a/b"}}, {"form_fields": {"": "x"}}, {"form_fields": {"file": "x"}},
        {"form_fields": {"a\r\nX: y": "x"}}, {"form_fields": {"a": "\ud800"}}, {"form_fields": {"a": "x" * 65536}},
        {"form_fields": {str(n): "" for n in range(101)}},
    )),
    ("on_trusted_miner", "yes"),
    ("use_gpu", 1),
    ("target_validator_hotkey", None),
    ("tag", "t" * 256),
    ("max_attempts", 0),
    ("max_attempts", 11),
    ("colour", "red"),
]  # fmt: skip

RIGHT: list[dict[str, Any]] = [
    {},
    {"executor_class": "operators.own.class"},
    {"docker_image": "host:5000/name"},
    {"job_namespace": "SN123.0"},
    {"args": ["", " ", "--x", "ż\n\t", LONGEST]},
    {"env": {"A": "", "b.c": " = ", "Ż": "x" * 1000}},
    {"artifacts_dir": "/artifacts"},
    {"artifacts_dir": "/output/results"},
    {"artifacts_dir": None},
    dict.fromkeys(SPECIFIC_LIMITS, 0),
    dict.fromkeys(SPECIFIC_LIMITS, MAX_LIMIT),
    {"streaming_details": {"public_key": "PEM"}},
    {"volumes": [], "uploads": []},
    {"volumes": [inline("a/plain.txt"), inline(None, zipped()), inline("dir", zipped()), inline("dir/b", b"")]},
    {"volumes": [inline("a"), inline("a"), single("a")]},
    {"volumes": [single("a/b", "http://127.0.0.1:8080/x?y=%20z#f"), single("c", "https://[::1]:1/ż")]},
    {"volumes": [{"volume_type": "zip_url", "contents": "https://example.com/x.zip", "relative_path": None}]},
    {"volumes": [{"volume_type": "huggingface_volume", "repo_id": "a/b", "allow_patterns": ["*.json"]}]},
    {
        "uploads": [
            put(),
            put(signed_headers={"x-a": "b"}),
            put(output_upload_type="single_file_post", form_fields={}),
        ]
    },
    {"uploads": [put(), put(url="https://other.example.com/a")]},
    {"uploads": [put(when="always", signed_headers={"X-A": "", "content-type": 'a/b; c="d"', "x-b": "ż\u00a0"})]},
    {
        "uploads": [
            put(
                output_upload_type="single_file_post",
                form_fields={"key": "a/${filename}", "x-note": "two\r\nlines", "Content-Type": "text/plain"},
            )
        ]
    },
    {"max_attempts": 1},
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda x: repr(x)[:50])
def test_a_wrong_value_is_refused_and_its_field_is_named(field: str, value: object) -> None:
    """The error has the wire's shape, names that field alone, and says something."""
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(MINIMAL | {field: value})
    errors = field_errors(refused.value)
    assert set(errors) == {field}
    assert all(message.strip() for message in errors[field])


@pytest.mark.parametrize("field", ["executor_class", "docker_image"])
def test_a_missing_value_is_named(field: str) -> None:
    """Class and image have no default on the wire."""
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate({name: value for name, value in MINIMAL.items() if name != field})
    assert list(field_errors(refused.value)) == [field]


def test_arguments_and_environment_share_one_limit() -> None:
    """Each may be fine alone; together they must fit what Linux takes."""
    half = {str(n): "x" * (MAX_STRING_BYTES - 2) for n in range(4)}
    JobSpec.model_validate(MINIMAL | {"args": [LONGEST] * 4, "env": half})
    with pytest.raises(ValidationError, match="together"):
        JobSpec.model_validate(MINIMAL | {"args": [*[LONGEST] * 4, ""], "env": half})


def test_several_mistakes_are_reported_at_once_each_at_its_place() -> None:
    """A user mends them in one go."""
    wrong = {"args": ["ok", 1], "env": {"A": None}, "volumes": [inline("a"), inline("b") | {"contents": "?"}]}
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(MINIMAL | wrong)
    errors = field_errors(refused.value)
    assert set(errors) == {"args", "env", "volumes"}
    assert errors["args"][0].startswith("1: ")
    assert errors["env"][0].startswith("A: ")
    assert errors["volumes"][0].startswith("1.inline.contents: ")
    assert "base64" in errors["volumes"][0]


@pytest.mark.parametrize("fields", RIGHT, ids=lambda x: repr(x)[:50])
def test_a_right_value_is_kept_as_it_came(fields: dict[str, Any]) -> None:
    """Nothing is trimmed, sorted or coerced; reading the printed form gives the same again."""
    spec = JobSpec.model_validate(MINIMAL | fields)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    for name, value in fields.items():
        if name not in ("volumes", "uploads", "streaming_details"):
            assert getattr(spec, name) == value


def test_the_defaults_are_those_of_the_wire() -> None:
    """What a client leaves out means what it meant when it signed."""
    spec = JobSpec.model_validate(MINIMAL)
    assert (spec.args, spec.env, spec.volumes, spec.uploads) == ([], {}, [], [])
    assert (spec.download_time_limit, spec.execution_time_limit, spec.upload_time_limit) == (0, 0, 0)
    assert spec.streaming_start_time_limit == 5
    assert spec.artifacts_dir is None
    assert not spec.is_streaming


def test_an_empty_artifacts_directory_means_none() -> None:
    """The wire knows both spellings of nothing."""
    assert JobSpec.model_validate(MINIMAL | {"artifacts_dir": ""}).artifacts_dir is None


def test_the_value_of_a_refused_header_is_not_repeated() -> None:
    """The error names header and fault, and goes to logs that the signature must not reach."""
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(MINIMAL | {"uploads": [put(signed_headers={"x-token": "secret\n"})]})
    (message,) = field_errors(refused.value)["uploads"]
    assert message.startswith("0.single_file_put.signed_headers: the value of 'x-token' holds a line break")
    assert "secret" not in message


def test_secrets_stay_out_of_the_printed_form() -> None:
    """Contents, tokens, variables, queries and what signs an upload do not reach a log through `repr`."""
    fields = {
        "env": {"A": "HIDDEN"},
        "secret_env": ["A"],
        "volumes": [
            inline("a", b"HIDDEN"),
            single("b", "https://example.com/x?HIDDEN"),
            {"volume_type": "zip_url", "contents": "https://example.com/x.zip?HIDDEN"},
            {"volume_type": "huggingface_volume", "repo_id": "a/b", "token": "HIDDEN", "relative_path": "c"},
        ],
        "uploads": [
            put(url="https://example.com/x?HIDDEN", signed_headers={"x": "HIDDEN"}),
            put(output_upload_type="single_file_post", relative_path="b", form_fields={"x": "HIDDEN"}),
        ],
    }
    text = repr(JobSpec.model_validate(MINIMAL | fields))
    assert "HIDDEN" not in text
    assert b64(b"HIDDEN") not in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"env": {"A": 1, "B": "HIDDEN"}},
        {"env": ["HIDDEN"]},
        {"env": {"A": "HIDDEN\0"}},
        {"env": {"A": "HIDDEN"}, "secret_env": ["B"]},
        {"args": "HIDDEN"},
        {"volumes": [single("b", "ftp://example.com/x?HIDDEN")]},
        {"volumes": [single("b", "http://HIDDEN\u2100@example.com/")]},
        {"volumes": [single(None, "https://example.com/x?HIDDEN")]},
        {"uploads": [put(signed_headers={"x": 1, "y": "HIDDEN"})]},
        {"uploads": [put(form_fields={"x": "HIDDEN"})]},
    ],
)
def test_a_refusal_does_not_quote_what_may_be_secret(wrong: dict[str, Any]) -> None:
    """Neither the error that programs may log, nor the answer that is made of it."""
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(MINIMAL | wrong)
    assert "HIDDEN" not in str(refused.value)
    assert "HIDDEN" not in str(field_errors(refused.value))


def test_secret_variables_are_a_part_of_the_environment() -> None:
    """They are told apart by their names, which must be there."""
    spec = JobSpec.model_validate(MINIMAL | {"env": {"A": "1", "B": "2"}, "secret_env": ["B"]})
    assert (spec.plain_env, spec.secrets) == ({"A": "1"}, {"B": "2"})


@given(st.binary(max_size=200))
def test_inline_contents_come_back_as_the_bytes_that_went_in(content: bytes) -> None:
    """Standard base64 of any bytes decodes to them, and only a zip is taken for one."""
    volume = InlineVolume(volume_type="inline", contents=b64(content), relative_path="a")
    assert decode_contents(volume.contents) == content
    assert volume.is_zip == (content[:4] in (b"PK\x03\x04", b"PK\x05\x06"))
    assert not volume.model_copy(update={"plain": True}).is_zip


def test_a_zip_is_recognised_also_an_empty_one() -> None:
    """Published clients send a zip, be it one without members."""
    for archive in (zipped(), b"PK\x05\x06" + b"\0" * 18):
        assert InlineVolume(volume_type="inline", contents=b64(archive)).is_zip


@given(st.sampled_from(["", "http://", "https://example.com/"]), st.text(max_size=60))
def test_whatever_a_user_writes_as_url_is_kept_or_refused(beginning: str, rest: str) -> None:
    """The answer is the URL itself or a ValueError; nothing else is raised and nothing is repaired."""
    try:
        assert checked_url(beginning + rest) == beginning + rest
    except ValueError:
        return


def test_the_five_classes_of_the_published_clients_are_built_in() -> None:
    """Their names are the wire's; the default is the reference's."""
    names = "spin_up-4min.gpu-24gb always_on.gpu-24gb always_on.llm.a6000 always_on.test always_on.cpu.8c.16gb"
    assert set(ExecutorClass) == set(names.split())
    assert DEFAULT_CLASS == "spin_up-4min.gpu-24gb"
