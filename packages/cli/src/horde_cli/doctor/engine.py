"""Checks of the container engine."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from horde_cli.doctor.machine import disk
from horde_cli.doctor.report import Finding, fail, ok, skip, warn

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
ANSWER_S = 10.0
OLDEST_API = (1, 40)
DEPENDENTS = ("storage", "limits")


def engine(address: str | None = None) -> list[Finding]:
    """Whether the engine answers, and whether it has what executors need."""
    address = address or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE
    try:
        version, info = _ask(address, "/version"), _ask(address, "/info")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [_unreachable(address, error), *(skip(check, "the engine does not answer") for check in DEPENDENTS)]
    return [_version(address, version), _storage(info), _limits(info), *_root(address, info)]


def _version(address: str, version: dict[str, Any]) -> Finding:
    detail = f"version {version.get('Version', '?')} at {address}"
    api = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split("."))
    if api < OLDEST_API:
        return fail("docker", detail, "install Docker 19.03 or newer")
    return ok("docker", detail)


def _storage(info: dict[str, Any]) -> Finding:
    driver = str(info.get("Driver", "?"))
    if driver in ("overlay2", "overlayfs", "btrfs", "zfs"):
        return ok("storage", driver)
    return warn("storage", driver, "containers start slowly with this storage driver; overlay2 is better")


def _limits(info: dict[str, Any]) -> Finding:
    names = {"MemoryLimit": "memory", "CpuCfsQuota": "processor", "PidsLimit": "process"}
    missing = [name for key, name in names.items() if not info.get(key)]
    detail = f"cgroup version {info.get('CgroupVersion', '1')}"
    if missing:
        remedy = "enable the cgroup controllers of the kernel; for a rootless engine, delegate them to the user"
        return fail("limits", f"{detail}: the engine keeps no {' and '.join(missing)} limits", remedy)
    return ok("limits", f"{detail}: memory, processor and process limits are kept")


def _root(address: str, info: dict[str, Any]) -> list[Finding]:
    root = Path(str(info.get("DockerRootDir", "")))
    return [disk(root)] if address.startswith("unix://") and root.is_absolute() else []


def _unreachable(address: str, error: Exception) -> Finding:
    detail = f"no engine at {address} ({error})"
    if isinstance(error, PermissionError):
        return fail("docker", detail, "join its group: sudo usermod -aG docker $USER, then log in anew")
    return fail("docker", detail, "install Docker and start it (systemctl start docker), or set DOCKER_HOST")


def _ask(address: str, path: str) -> dict[str, Any]:
    connection = _connect(address)
    try:
        connection.request("GET", path, headers={"Host": "docker"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise ValueError(f"it answered {answer.status} to {path}")
        return json.loads(body)
    finally:
        connection.close()


def _connect(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        connection = http.client.HTTPConnection("localhost", timeout=ANSWER_S)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(ANSWER_S)
        try:
            connection.sock.connect(parts.path)
        except OSError:
            connection.close()
            raise
        return connection
    if parts.scheme in ("tcp", "http"):
        return http.client.HTTPConnection(parts.hostname or "", parts.port or 2375, timeout=ANSWER_S)
    raise ValueError("only unix:// and tcp:// addresses can be checked")
