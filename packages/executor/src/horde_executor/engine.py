"""The container engine: the Docker Engine API through aiodocker, in the few words that this package needs.

Each call has a time-out of its own (aiodocker has none) and every foreign error becomes an `EngineError` that
carries the engine's own words and status. What they mean for a job is decided by `images` and `endings`.
"""

import base64
import json
import math
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from yarl import URL

from horde_core.images import parse_image
from horde_core.wire.executor import ImageLogin
from horde_executor.clock import limit
from horde_executor.errors import EngineError, LimitReached

CALL_S = 60.0
START_S = 120.0
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the engine's host has to share: bytes and cores; and the directory where it keeps its images."""

    memory: int
    cpus: int
    directory: Path


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is present. `digests` are ``repository@sha256:…``, `tags` its other names, `size` bytes.

    The others are the image's own settings; a listing leaves them out.
    """

    id: str
    digests: tuple[str, ...]
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    exit_code: int
    out_of_memory: bool
    error: str


class Engine:
    """One engine. All methods raise `EngineError`."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self._docker = docker
        self._containers: Any = docker.containers  # aiodocker leaves half of its types open

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str | None = None) -> AsyncGenerator["Engine"]:
        """Connect to the engine at `url` (``unix://…``, ``tcp://…``), else at DOCKER_HOST or the usual socket."""
        address = url or os.environ.get("DOCKER_HOST") or _local_socket()
        # Each wait holds a connection; a bounded pool would run dry under many slots.
        if address.startswith("unix://"):
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(address.removeprefix("unix://"), limit=0)
            host = "unix://localhost"
        else:
            connector, host = aiohttp.TCPConnector(limit=0), address
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session:
            docker = aiodocker.Docker(host, connector=connector, session=session)
            try:
                yield cls(docker)
            finally:
                await docker.close()

    async def machine(self) -> Machine:
        """What there is to share."""
        async with _call("tell about itself"):
            system: Any = self._docker.system
            info = await system.info()
        return Machine(memory=int(info["MemTotal"]), cpus=int(info["NCPU"]), directory=Path(info["DockerRootDir"]))

    async def image(self, name: str) -> Image | None:
        """The image of this name, digest or id if the machine has it."""
        try:
            async with _call(f"look for image {name}"):
                found = await self._docker.images.inspect(name)
        except EngineError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return _image(found)

    async def images(self) -> list[Image]:
        """All images that are present."""
        async with _call("list images"):
            found: list[dict[str, Any]] = await self._docker.images.list()
        return [_image(image) for image in found]

    async def remove_image(self, name: str) -> None:
        """Take a name from an image, and remove the image with its last one. One that a container uses is kept."""
        try:
            async with _call(f"remove image {name}"):
                await self._docker.images.delete(name)
        except EngineError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def ask_registry(self, name: str, login: ImageLogin | None) -> None:
        """Ask the registry for the manifest of an image, whether it is present or not; nothing is pulled."""
        async with _call(f"ask for image {name}"):
            await self._negotiated()
            url = URL(f"{self._docker.docker_host}/{self._docker.api_version}/distribution/{name}/json")
            async with self._docker.session.get(url, headers=_credentials(name, login)) as response:
                if response.status != HTTPStatus.OK:
                    raise EngineError(_message(await response.text()), response.status)

    async def pull(self, name: str, login: ImageLogin | None = None) -> AsyncGenerator[dict[str, Any]]:
        """Pull an image; yields the engine's progress messages. Closing the iterator ends the pull.

        aiodocker's own pull leaves its connection open when it is cancelled, and the engine then goes on.
        """
        with _translated(f"pull {name}"):
            await self._negotiated()
            url = URL(f"{self._docker.docker_host}/{self._docker.api_version}/images/create")
            headers = _credentials(name, login)
            async with self._docker.session.post(url.with_query(fromImage=name), headers=headers) as response:
                if response.status != HTTPStatus.OK:
                    text = await response.text()
                    raise EngineError(_message(text), response.status)
                async for line in response.content:
                    message = json.loads(line)
                    if "error" in message:
                        raise EngineError(str(message["error"]), int(HTTPStatus.INTERNAL_SERVER_ERROR))
                    yield message

    async def create(self, config: Config) -> str:
        """Create a container and return its id."""
        async with _call("create a container"):
            return str((await self._containers.create(dict(config))).id)

    async def start(self, container: str) -> None:
        """Start a container; when this returns, its process runs (or ran)."""
        async with _call("start the container", START_S):
            await self._containers.container(container).start()

    async def wait(self, container: str) -> int:
        """Wait until a started container ended, for as long as that takes; returns the exit code.

        The default condition, asked after the start: waiting for the next exit before the start loses exits.
        """
        with _translated("wait for the container"):
            ended = await self._containers.container(container).wait()
            return int(ended["StatusCode"])

    async def stop(self, container: str, grace_s: float) -> None:
        """SIGTERM (or what the image names instead), then SIGKILL after `grace_s`. An ended one is left alone."""
        seconds = math.ceil(grace_s)
        async with _call("stop the container", seconds + CALL_S):
            await self._containers.container(container).stop(t=seconds)

    async def kill(self, container: str) -> None:
        """SIGKILL. A container that does not run is left alone."""
        try:
            async with _call("kill the container"):
                await self._containers.container(container).kill()
        except EngineError as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    async def ended(self, container: str) -> Ended:
        """How a container ended."""
        async with _call("inspect a container"):
            state = (await self._containers.container(container).show())["State"]
        return Ended(int(state["ExitCode"]), bool(state["OOMKilled"]), str(state["Error"]))

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes. One that is gone, or going, is no error."""
        try:
            async with _call("remove a container"):
                await self._containers.container(container).delete(force=True, v=True)
        except EngineError as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    async def labelled(self, labels: Mapping[str, str]) -> list[str]:
        """Ids of all containers that carry these labels, running or not."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        async with _call("list containers"):
            found = await self._containers.list(all=True, filters=filters)
        return [container.id for container in found]

    async def check(self) -> None:
        """Ask the engine for a sign of life over a connection of its own.

        An engine that shuts down ends its containers and goes on serving the connections that it has.
        """
        async with _call("answer"):
            headers = {"Connection": "close"}
            url = URL(f"{self._docker.docker_host}/_ping")
            async with (
                aiohttp.ClientSession(connector=self._fresh_connector()) as session,
                session.get(url, headers=headers) as response,
            ):
                await response.read()

    def _fresh_connector(self) -> aiohttp.BaseConnector:
        connector = self._docker.connector
        if isinstance(connector, aiohttp.UnixConnector):
            return aiohttp.UnixConnector(connector.path, force_close=True)
        return aiohttp.TCPConnector(force_close=True)

    async def _negotiated(self) -> None:
        if self._docker.api_version == "auto":
            await self._docker.version()


def _local_socket() -> str:
    for path in SOCKETS:
        if Path(path).is_socket():
            return f"unix://{path}"
    raise EngineError("no container engine was found: install Docker Engine and start it, or set DOCKER_HOST")


def _image(found: Mapping[str, Any]) -> Image:
    config: dict[str, Any] = found.get("Config") or {}

    def words(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
        return tuple(values.get(name) or ())

    return Image(
        id=str(found["Id"]),
        digests=words(found, "RepoDigests"),
        env=words(config, "Env"),
        entrypoint=words(config, "Entrypoint"),
        command=words(config, "Cmd"),
        tags=words(found, "RepoTags"),
        size=int(found["Size"]),
    )


def _credentials(name: str, login: ImageLogin | None) -> dict[str, str]:
    """What a registry is asked with; the engine does not keep it."""
    if login is None:
        return {}
    registry = parse_image(name).home[0]
    said = {"username": login.username, "password": login.password, "serveraddress": registry}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


@contextmanager
def _translated(what: str) -> Generator[None]:
    try:
        yield
    except aiodocker.DockerError as error:
        answered = HTTPStatus.BAD_REQUEST <= error.status < 600  # noqa: PLR2004 - aiodocker invents numbers above
        raise EngineError(error.message, error.status if answered else None) from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineError(f"the container engine could not {what}: {error!r}") from error


@asynccontextmanager
async def _call(what: str, seconds: float = CALL_S) -> AsyncGenerator[None]:
    try:
        with _translated(what):
            async with limit(seconds):
                yield
    except LimitReached as error:
        raise EngineError(f"the container engine did not {what} within {seconds:g} s") from error
