"""Wire messages: one golden file each, read and written without a difference.

A golden file spells out every field. A field that is added, renamed or removed therefore fails here, and the file
shows in review what changed on the wire.
"""

import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from horde_core import outcomes, spec, terms
from horde_core.wire import cheating, classes, client, executor, operator, payment, registries

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))
MODULES: dict[str, ModuleType] = {
    "cheating": cheating,
    "classes": classes,
    "client": client,
    "executor": executor,
    "operator": operator,
    "outcomes": outcomes,
    "payment": payment,
    "registries": registries,
    "spec": spec,
    "terms": terms,
}
# What travels only as a part of another message; the golden files of those hold them.
PARTS = {
    "cheating": {"CheatEntry"},
    "classes": {"ClassEntry"},
    "client": {"StatusEntry", "Progress", "LogInfo", "HordeDetails"},
    "executor": {
        "Allotment",
        "ImageLogin",
        "Limits",
        "SlotShare",
        "StatusEvent",
        "ProgressEvent",
        "LogTotal",
        "ArtifactEntry",
        "LeftOut",
    },
    "operator": {"AdmittedHotkey", "PendingHotkey", "ExecutorEntry"},
    "outcomes": set[str](),
    "payment": {"ClassUsage", "UsageLine"},
    "registries": {"RegistryEntry"},
    "spec": {"StreamingDetails"},
    "terms": set[str](),
}


def model_of(path: Path) -> type[BaseModel]:
    module, name = path.stem.split(".")
    return getattr(MODULES[module], name)


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", GOLDEN, ids=named)
def test_a_message_is_read_and_written_without_a_difference(path: Path) -> None:
    """Parsing the file and printing it again gives the file, key by key."""
    text = path.read_text()
    message = model_of(path).model_validate_json(text)
    assert json.loads(message.model_dump_json()) == json.loads(text)


@pytest.mark.parametrize("path", [p for p in GOLDEN if not p.stem.startswith(("spec.", "terms."))], ids=named)
def test_a_newer_sides_additions_are_ignored(path: Path) -> None:
    """Reading is tolerant at every level, so the two sides may be of different age."""
    document = json.loads(path.read_text())
    plain = model_of(path).model_validate(document)
    assert model_of(path).model_validate(grown(document)) == plain


def grown(value: Any, key: str = "") -> Any:
    """The value with an unknown key in each of its objects that is a message (and not a map or a job's spec)."""
    if key in {
        "spec",
        "env",
        "logs",
        "jobs",
        "artifacts",
        "upload_results",
        "metadata",
        "context",
        "stage_seconds",
        "refused",
    }:
        return [grown(item) for item in value] if isinstance(value, list) else value
    if isinstance(value, dict):
        return {name: grown(item, name) for name, item in value.items()} | {"from_the_future": 1}
    return [grown(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("module", MODULES)
def test_every_message_has_its_golden_file(module: str) -> None:
    """A new message cannot be added without one."""
    models = {
        name
        for name, found in inspect.getmembers(MODULES[module], inspect.isclass)
        if issubclass(found, BaseModel)
        and found.__module__ == MODULES[module].__name__
        and not name.startswith("_")
    }
    files = {path.stem.split(".")[1] for path in GOLDEN if path.stem.startswith(f"{module}.")}
    assert files == models - PARTS[module]


@pytest.mark.parametrize("path", GOLDEN, ids=named)
def test_a_message_cannot_be_changed_after_it_was_read(path: Path) -> None:
    """Messages are values."""
    message = model_of(path).model_validate_json(path.read_text())
    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, next(iter(type(message).model_fields)), None)


def test_an_executor_can_report_no_status_that_is_not_its_own_to_report() -> None:
    """Claims, ends and the queue are the facilitator's; an event that names them is malformed."""
    for status in ("sent", "received", "accepted", "completed", "failed", "rejected"):
        with pytest.raises(ValidationError):
            executor.StatusEvent.model_validate({"status": status, "at_ns": 1})
