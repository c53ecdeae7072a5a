"""What users can import, and that the blocking surface is the same one."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from compute_horde_sdk import v1
from compute_horde_sdk.v1 import blocking

ROOT = Path(__file__).parents[3]
NAMES = [
    "ComputeHordeClient",
    "ComputeHordeError",
    "ComputeHordeHordeFailure",
    "ComputeHordeJob",
    "ComputeHordeJobFailure",
    "ComputeHordeJobRejection",
    "ComputeHordeJobResult",
    "ComputeHordeJobSpec",
    "ComputeHordeJobStatus",
    "ComputeHordeJobStatusEntry",
    "ComputeHordeJobTimeoutError",
    "ComputeHordeNotFoundError",
    "Difference",
    "ExecutorClass",
    "HTTPInputVolume",
    "HTTPOutputVolume",
    "HTTPZipInputVolume",
    "HttpOutputVolumeResponse",
    "HuggingfaceInputVolume",
    "InlineInputVolume",
    "InputVolume",
    "LogLine",
    "LogPiece",
    "OutputVolume",
    "VerifiedRun",
]


@pytest.mark.parametrize("module", [v1, blocking])
def test_users_can_import_exactly_these_names(module):
    """A name that is added here is a promise."""
    assert sorted(module.__all__) == NAMES
    assert [name for name in NAMES if not hasattr(module, name)] == []
    visible = {name for name, value in vars(module).items() if not name.startswith("_")}
    assert {name for name in visible - set(NAMES) if not inspect.ismodule(getattr(module, name))} == set()


def test_blocking_shares_everything_but_client_and_job():
    """Values and errors are the same objects, so that code which handles them need not care."""
    others = set(NAMES) - {"ComputeHordeClient", "ComputeHordeJob"}
    assert [name for name in others if getattr(v1, name) is not getattr(blocking, name)] == []


@pytest.mark.parametrize("name", ["ComputeHordeClient", "ComputeHordeJob"])
def test_blocking_is_the_same_surface_without_await(name):
    """The same methods with the same parameters and defaults, the same properties."""
    theirs, ours = members(getattr(v1, name)), members(getattr(blocking, name))
    if name == "ComputeHordeClient":
        theirs["close"] = theirs.pop("aclose")
    assert set(theirs) == set(ours)
    for member, counterpart in theirs.items():
        assert shape(counterpart) == shape(ours[member]), member
        assert not inspect.iscoroutinefunction(ours[member]), member
        assert inspect.getdoc(ours[member]), member


def members(cls):
    return {name: value for name, value in vars(cls).items() if not name.startswith("_") or name == "__init__"}


def shape(member):
    """What a caller sees of a member: that it is a property, or its parameters with kinds and defaults."""
    if isinstance(member, property):
        return "property"
    function = member.__func__ if isinstance(member, classmethod) else member
    if function.__name__ == "__init__" and "api" in inspect.signature(function).parameters:
        return "made by the client"
    if "_thread" in str(inspect.signature(function)):
        return "made by the client"
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_fields_and_defaults_are_those_of_the_published_client():
    """In their order, so that positional arguments keep their meaning; what is ours comes after."""
    assert list(inspect.signature(v1.ComputeHordeClient).parameters) == [
        "hotkey", "compute_horde_validator_hotkey", "job_queue", "facilitator_url", "facilitator_ca"
    ]  # fmt: skip
    assert defaults(v1.ComputeHordeJobSpec) == {
        "executor_class": None,
        "job_namespace": None,
        "docker_image": None,
        "download_time_limit_sec": None,
        "execution_time_limit_sec": None,
        "upload_time_limit_sec": None,
        "args": [],
        "env": {},
        "artifacts_dir": None,
        "input_volumes": None,
        "output_volumes": None,
        "streaming": False,
        "streaming_start_time_limit_sec": 5,
        "priority": 0,
        "queue_time_limit_sec": None,
        "secret_env": {},
    }
    assert list(defaults(v1.ComputeHordeJobResult))[:4] == ["stdout", "stderr", "artifacts", "upload_results"]
    assert list(defaults(v1.ComputeHordeJobStatusEntry))[:3] == ["created_at", "status", "metadata"]
    assert list(defaults(v1.ComputeHordeJobRejection))[:3] == ["reason", "message", "context"]
    assert list(defaults(v1.ComputeHordeJobFailure))[:3] == ["reason", "message", "context"]
    assert list(defaults(v1.ComputeHordeHordeFailure))[:4] == ["reason", "message", "reported_by", "context"]
    assert list(v1.HTTPOutputVolume.model_fields)[:4] == ["http_method", "url", "form_fields", "signed_headers"]
    assert list(v1.HttpOutputVolumeResponse.model_fields)[:2] == ["headers", "body"]
    assert list(v1.HuggingfaceInputVolume.model_fields) == [
        "repo_id", "repo_type", "revision", "allow_patterns", "token",
    ]  # fmt: skip
    published = inspect.signature(v1.ComputeHordeClient.run_until_complete).parameters
    assert [(p.name, p.default) for p in published.values()][1:6] == [
        ("job_spec", inspect.Parameter.empty), ("on_trusted_miner", False), ("job_attempt_callback", None),
        ("timeout", None), ("max_attempts", 3),
    ]  # fmt: skip


def defaults(cls):
    fields = {}
    for field in dataclasses.fields(cls):
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        fields[field.name] = None if made is dataclasses.MISSING else made
    return fields


def test_the_types_are_part_of_the_surface():
    """A type checker sees what a user's program does with the SDK as it is meant, and objects to what is wrong."""
    pyright = Path(sys.executable).with_name("pyright")
    use = Path(__file__).with_name("typed_use.py")
    done = subprocess.run([pyright, "--outputjson", use], cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    assert [(d["range"]["start"]["line"] + 1, d["message"]) for d in report["generalDiagnostics"]] == []


def test_importing_the_sdk_is_quick_and_brings_no_server():
    """Neither servers nor databases nor, before a streaming job needs it, a library for certificates."""
    heavy = ["fastapi", "uvicorn", "sqlalchemy", "sqlite3", "aiodocker", "cryptography.x509", "numpy"]
    code = f"import sys, compute_horde_sdk.v1.blocking; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    )
