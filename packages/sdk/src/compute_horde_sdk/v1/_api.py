"""The client API, one method per request."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from urllib.parse import quote

import httpx2
from pydantic import JsonValue

from compute_horde_sdk.v1._search import Search
from compute_horde_sdk.v1._transport import Call, Transport
from horde_core.signing import Scope, Signer, sign_request
from horde_core.wire.cheating import REPORT_PATH, CheatReport
from horde_core.wire.classes import CLASSES_PATH, Classes
from horde_core.wire.client import (
    CREATE_PATH,
    EVENTS_PATH,
    IDEMPOTENCY_HEADER,
    JOBS_PATH,
    JobEvents,
    JobPage,
    JobReply,
    LogChunk,
    WatchRequest,
)
from horde_core.wire.explanation import Explanation
from horde_core.wire.payment import USAGE_PATH, Usage
from horde_core.wire.registries import REGISTRIES_PATH, Registries, RegistryLogin


class Api:
    """What a facilitator can be asked, as values."""

    def __init__(self, transport: Transport, hotkey: Signer) -> None:
        self._transport = transport
        self._hotkey = hotkey
        # Our facilitator answers a repeated creation with the job that exists; the original would make a second
        # one. Which one it is shows in the first job that it describes.
        self._is_ours = False

    async def create(self, body: Mapping[str, JsonValue], idempotency_key: str | None = None) -> JobReply:
        """Hand a job in, signed now; a repeat carries the same signature."""
        call = self._signed(CREATE_PATH, body, Scope.SIGNED_FIELDS, is_repeatable=self._is_ours)
        if idempotency_key is not None:
            call = replace(call, headers={**call.headers, IDEMPOTENCY_HEADER: idempotency_key})
        return self._noted(await self._transport.fetch(call, JobReply))

    async def report_cheated(self, body: Mapping[str, JsonValue]) -> str:
        """Report that a job's result was forged; returns what the facilitator says."""
        call = self._signed(REPORT_PATH, body, Scope.FULL_REQUEST, is_repeatable=self._is_ours)
        return (await self._transport.request(call)).text

    async def cheat_report(self, uuid: str) -> CheatReport:
        """What became of the report about a job."""
        path = f"{REPORT_PATH}{quote(uuid, safe='')}/"
        return await self._transport.fetch(Call("GET", path), CheatReport)

    async def job(self, uuid: str, *, inline: bool) -> JobReply:
        """A job; `inline` asks for its output inside the reply (the original facilitator always does so)."""
        params: dict[str, str | int] = {} if inline else {"inline": 0}
        return self._noted(await self._transport.fetch(Call("GET", _of(uuid), params=params), JobReply))

    async def page(self, number: int, size: int, search: Search) -> JobPage:
        """One page of one's jobs that match, newest first; pages are counted from 1."""
        params = {"page": number, "page_size": size, **search}
        return await self._transport.fetch(Call("GET", JOBS_PATH, params=params), JobPage)

    async def usage(self, since: str | None) -> Usage:
        """What one's jobs cost, by class; `since` is an ISO 8601 time."""
        params: dict[str, str | int] = {"since": since} if since else {}
        return await self._transport.fetch(Call("GET", USAGE_PATH, params=params), Usage)

    async def classes(self) -> Classes:
        """The classes that jobs may ask for."""
        return await self._transport.fetch(Call("GET", CLASSES_PATH), Classes)

    async def registries(self) -> Registries:
        """The registries for which one has given credentials."""
        return await self._transport.fetch(Call("GET", REGISTRIES_PATH), Registries)

    async def set_registry(self, registry: str, login: RegistryLogin) -> None:
        """Give credentials for a registry."""
        await self._transport.request(Call("PUT", _of_registry(registry), login.model_dump_json().encode()))

    async def remove_registry(self, registry: str) -> None:
        """Take the credentials for a registry back."""
        await self._transport.request(Call("DELETE", _of_registry(registry)))

    async def explain(self, uuid: str) -> Explanation:
        """Why a job is where it is."""
        return await self._transport.fetch(Call("GET", _of(uuid, "explain/")), Explanation)

    async def cancel(self, uuid: str) -> JobReply:
        """Ask that a job be stopped."""
        return await self._transport.fetch(Call("POST", _of(uuid, "cancel/")), JobReply)

    async def log(self, uuid: str, stream: str) -> bytes:
        """All that is kept of a log stream."""
        return (await self._transport.request(Call("GET", _of(uuid, f"logs/{stream}/")))).content

    async def artifact(self, uuid: str, path: str) -> bytes:
        """One artifact; `path` is its full path in the container."""
        return (await self._transport.request(self._artifact(uuid, path))).content

    def artifact_stream(self, uuid: str, path: str) -> AbstractAsyncContextManager[httpx2.Response]:
        """One artifact, to be read piece by piece."""
        return self._transport.stream(self._artifact(uuid, path))

    def events(self, jobs: Mapping[str, int]) -> AbstractAsyncContextManager[AsyncIterator[JobEvents]]:
        """What is new of some jobs, each beyond the number of history entries known; then live, without an end."""
        content = WatchRequest(jobs=dict(jobs)).model_dump_json().encode()
        return self._transport.events(Call("POST", EVENTS_PATH, content), JobEvents)

    def logs(
        self, uuid: str, *, follow: bool, attempt: int, offsets: Mapping[str, int]
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """The logs of a job's latest attempt, beyond what is known of that attempt."""
        params: dict[str, str | int] = {"follow": int(follow), "attempt": attempt, **offsets}
        return self._transport.events(Call("GET", _of(uuid, "logs/"), params=params), LogChunk)

    def _noted(self, reply: JobReply) -> JobReply:
        self._is_ours = reply.horde is not None
        return reply

    def _signed(self, path: str, body: Mapping[str, JsonValue], scope: Scope, *, is_repeatable: bool) -> Call:
        headers = sign_request(body, scope, self._hotkey, time.time_ns()).headers()
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return Call("POST", path, content, headers=headers, is_repeatable=is_repeatable)

    def _artifact(self, uuid: str, path: str) -> Call:
        return Call("GET", _of(uuid, "artifacts/" + quote(path.removeprefix("/"))))


def _of(uuid: str, rest: str = "") -> str:
    # A text that is no UUID is quoted, so that it names a job that does not exist and nothing else.
    return f"{JOBS_PATH}{quote(uuid, safe='')}/{rest}"


def _of_registry(registry: str) -> str:
    return f"{REGISTRIES_PATH}{quote(registry, safe='')}/"
