"""Executor classes at the command line: shown, defined, removed."""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from pydantic import ValidationError

from compute_horde_sdk.v1 import ComputeHordeClient
from horde_cli import view
from horde_cli.connection import translated
from horde_cli.errors import BadUsage
from horde_cli.operator import Operator
from horde_cli.payment import amount
from horde_cli.values import size
from horde_core.price import seconds
from horde_core.spec import field_errors
from horde_core.terms import ClassTerms, Profile
from horde_core.wire.classes import CLASSES_PATH, OPERATOR_CLASSES_PATH, ClassEntry, Classes

NONE = "none"


async def listing(client: ComputeHordeClient, *, as_json: bool) -> None:
    """Print all classes."""
    with translated():
        async with client:
            found = await client.classes()
    if as_json:
        print(json.dumps({"classes": [entry.model_dump(mode="json") for entry in found]}, indent=2))
    else:
        _print_table(found)


def changes(
    *,
    description: str | None,
    weight: str | None,
    max_seconds: str | None,
    profile: str | None,
    cpus: str | None,
    memory: str | None,
    shm: str | None,
    gpus: int | None,
    vram: str | None,
) -> dict[str, object]:
    """What a command line says of a class; ``none`` takes a promise back.

    Raises:
        BadUsage: a value cannot be read; the message names the option.
    """
    found: dict[str, object] = {}
    if description is not None:
        found["description"] = description
    if weight is not None:
        found["weight"] = amount(weight, "--weight", "weight")
    if max_seconds is not None:
        found["max_seconds"] = None if max_seconds == NONE else _whole(max_seconds, "--max-seconds")
    if profile is not None:
        found["profile"] = Profile(profile)
    if cpus is not None:
        found["cpus"] = None if cpus == NONE else amount(cpus, "--cpus", "number of cores") / 1000
    for name, text in (("memory", memory), ("shm", shm), ("vram", vram)):
        if text is not None:
            found[name] = None if text == NONE else size(text, f"--{name}")
    if gpus is not None:
        found["gpus"] = gpus
    return found


async def define(operator: Operator, name: str, said: Mapping[str, object], *, as_json: bool) -> None:
    """Change a class, or make it; what is not said stays as it is."""
    before = await _find(operator, name)
    terms = before.model_dump(include=set(ClassTerms.model_fields)) if before else {}
    try:
        wanted = ClassTerms.model_validate({**terms, **said})
    except ValidationError as error:
        found = field_errors(error).items()
        wrong = "; ".join(f"--{field.replace('_', '-')}: {' '.join(texts)}" for field, texts in found)
        raise BadUsage(f"the class cannot be so: {wrong}") from error
    await operator.put(_path(name), wanted)
    after = await _find(operator, name)
    if as_json and after:
        print(after.model_dump_json(indent=2))
    elif after:
        _print_table([after])


async def remove(operator: Operator, name: str, *, as_json: bool) -> None:
    """Remove a class."""
    await operator.delete(_path(name))
    print(json.dumps({"removed": name}) if as_json else f"{name} is removed")


async def _find(operator: Operator, name: str) -> ClassEntry | None:
    found = await operator.get(CLASSES_PATH, Classes)
    return next((entry for entry in found.classes if entry.name == name), None)


def _print_table(entries: Iterable[ClassEntry]) -> None:
    headings = ("CLASS", "WEIGHT", "MOST SECONDS", "PROFILE", "A JOB GETS", "EXECUTORS", "DESCRIPTION")
    view.print_rows(headings, [_row(entry) for entry in entries])


def _row(entry: ClassEntry) -> tuple[str, ...]:
    most = "" if entry.max_seconds is None else str(entry.max_seconds)
    return (
        entry.name,
        seconds(entry.weight),
        most,
        entry.profile.value,
        _hardware(entry),
        str(entry.executors),
        entry.description,
    )


def _hardware(entry: ClassEntry) -> str:
    """What a job gets, in words; what nobody verifies says so."""
    words = [] if entry.cpus is None else [f"{entry.cpus:g} cores"]
    words += [] if entry.memory is None else [view.size(entry.memory)]
    words += [] if entry.shm is None else [f"{view.size(entry.shm)} /dev/shm"]
    if entry.gpus:
        vram = "" if entry.vram is None else f" of {view.size(entry.vram)}"
        words.append(f"{entry.gpus} GPUs{vram} (not verified)")
    return ", ".join(words)


def _whole(text: str, option: str) -> int:
    if re.fullmatch(r"[0-9]{1,12}", text) is None:
        raise BadUsage(f"{option} {text!r} is no whole number", "write it like 3600, or none")
    return int(text)


def _path(name: str) -> str:
    return f"{OPERATOR_CLASSES_PATH}/{quote(name, safe='')}"
