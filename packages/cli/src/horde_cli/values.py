"""Reading of the values that options take; nothing here touches a disk or a network.

Every function raises `BadUsage` with the option's name, what is wrong, and what a right value looks like.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

from bittensor_wallet import Keypair

from horde_cli.errors import BadUsage
from horde_core.trust import read_fingerprint
from horde_core.volumes import checked_url
from horde_core.wire.operator import Role

_DURATION = re.compile(r"(\d+)([smh]?)")
_PERIOD = re.compile(r"(\d{1,9})([smhd]?)")
_BASES = (("iB", 1024), ("B", 1000))
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([KMGT]i?B)")
_BYTES = {f"{prefix}{kind}": base**power for power, prefix in enumerate("KMGT", 1) for kind, base in _BASES}
_URL = re.compile(r"https?://", re.IGNORECASE)
_MOUNT = re.compile(r"/volume(/.*)?")
_OUTPUT = re.compile(r"/output/.*[^/]")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")
ROLES = tuple(role.value for role in Role)
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class StageLimits:
    """How long each stage of a job may take, in whole seconds."""

    download: int = 600
    execution: int = 3600
    upload: int = 600


@dataclass(frozen=True, slots=True)
class InputOption:
    """One `--input`: what is to appear at `target` in the container. `source` is a URL or a local path."""

    target: str
    source: str

    @property
    def is_url(self) -> bool:
        """Whether the executor fetches it."""
        return bool(_URL.match(self.source))


def limits(texts: Iterable[str]) -> StageLimits:
    """`download=30,execution=10m,upload=1h`, in any part and order; what is not named keeps its default."""
    found = StageLimits()
    for item in (item for text in texts for item in text.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        match = _DURATION.fullmatch(value)
        if name not in StageLimits.__slots__ or not equals or match is None:
            raise BadUsage(
                f"--limit {item!r} cannot be read",
                "write it like download=30,execution=10m,upload=1h",
            )
        found = replace(found, **{name: int(match[1]) * _UNITS[match[2]]})
    return found


def inputs(texts: Iterable[str]) -> list[InputOption]:
    """`/volume/PATH=SOURCE`, each target once."""
    found: dict[str, InputOption] = {}
    for text in texts:
        target, equals, source = text.partition("=")
        if not equals or not source or not _MOUNT.fullmatch(target):
            raise BadUsage(f"--input {text!r} cannot be read", "write it like /volume/data=FILE, DIRECTORY or URL")
        key = target.rstrip("/")
        if key in found:
            raise BadUsage(f"--input names {key} twice", "give each input a path of its own")
        found[key] = InputOption(key, source)
    return list(found.values())


def outputs(texts: Iterable[str]) -> dict[str, str]:
    """`/output/PATH=URL`, each file once."""
    found: dict[str, str] = {}
    for text in texts:
        path, _, url = text.partition("=")
        if not _OUTPUT.fullmatch(path) or not _URL.match(url):
            raise BadUsage(f"--output {path!r} cannot be read", "write it like /output/result.bin=https://…")
        if path in found:
            raise BadUsage(f"--output names {path} twice", "give each output a file of its own")
        found[path] = url
    return found


def environment(texts: Iterable[str], own: Mapping[str, str], option: str = "--env") -> dict[str, str]:
    """`NAME=VALUE`, or `NAME` alone for the value that it has in the environment here (`own`)."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise BadUsage(f"{option} has a value without a name", "write it like NAME=VALUE")
        if not equals and name not in own:
            raise BadUsage(f"{option} {name} has no value, and none is set here", f"write it like {name}=VALUE")
        found[name] = value if equals else own[name]
    return found


def egress(texts: Iterable[str]) -> list[str]:
    """`HOST:PORT`, as it is."""
    found = list(texts)
    for text in found:
        match = _HOST_PORT.fullmatch(text)
        if match is None or not 0 < int(match[2]) <= MAX_PORT:
            raise BadUsage(f"--allow-egress {text!r} cannot be read", "write it like HOST:PORT, or [IPV6]:PORT")
    return found


def hub(text: str) -> str:
    """The URL of a hub, without a slash at its end."""
    url = text.rstrip("/")
    try:
        parts = urlsplit(checked_url(url))
    except ValueError as error:
        raise BadUsage(f"--hf-endpoint {text!r}: {error}", "write it like https://huggingface.co") from None
    if parts.query or parts.fragment:
        raise BadUsage(f"--hf-endpoint {text!r} has a query", "write it like https://huggingface.co")
    return url


def admitted(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """`ROLE=SS58`, grouped by role."""
    found: dict[str, set[str]] = {role: set() for role in ROLES}
    for text in texts:
        role, _, hotkey = text.partition("=")
        if role not in ROLES or not _is_address(hotkey):
            raise BadUsage(
                f"--admit {text!r} cannot be read", f"write it like user=SS58; roles are {', '.join(ROLES)}"
            )
        found[role].add(hotkey)
    return {role: frozenset(hotkeys) for role, hotkeys in found.items()}


def role(text: str) -> Role:
    """A role, by its name."""
    if text not in ROLES:
        raise BadUsage(f"--role {text!r} is unknown", f"use one of {', '.join(ROLES)}")
    return Role(text)


def period(text: str, option: str = "--expires") -> int:
    """`90`, `30m`, `12h` or `7d`, in seconds."""
    match = _PERIOD.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise BadUsage(f"{option} {text!r} cannot be read", "write it like 30m, 12h or 7d")
    return int(match[1]) * (_UNITS | {"d": 86_400})[match[2]]


def fingerprint(text: str | None) -> str | None:
    """`sha256:` and 64 hexadecimal digits, in whatever way people write them."""
    try:
        return None if text is None else read_fingerprint(text)
    except ValueError as error:
        raise BadUsage(f"--ca-fingerprint cannot be read: {error}", "copy it from the operator's line") from error


def executor_classes(texts: Iterable[str]) -> list[str]:
    """The classes to serve, each once; none means whatever the facilitator's operator defines."""
    return list(dict.fromkeys(texts))


def size(text: str, option: str) -> int:
    """`16GiB`, `512MiB` or `1.5GB`, in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadUsage(f"{option} {text!r} cannot be read", "write it like 16GiB, 512MiB or 1.5GB")
    return int(Decimal(match[1]) * _BYTES[match[2]])


def since(text: str, now: datetime | None = None) -> datetime:
    """`90m`, `2h` or `3d` ago; or a moment such as `2026-01-31` or `2026-01-31T12:00`, in local time."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match:
        ago = timedelta(seconds=int(match[1]) * (_UNITS | {"d": 86_400})[match[2]])
        try:
            return (now or datetime.now(UTC)) - ago
        except OverflowError:
            return datetime(1970, 1, 1, tzinfo=UTC)
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise BadUsage(f"--since {text!r} cannot be read", "write it like 90m, 2h, 3d or 2026-01-31") from error


def _is_address(text: str) -> bool:
    try:
        Keypair(ss58_address=text)
    except (ValueError, TypeError):
        return False
    return True
