"""HTTP to one facilitator: connections, login, repeats, and foreign errors translated.

Nothing happens before the first request. Logging in is lazy, done once for any number of requests that wait
for it, and done again when the facilitator calls a token expired.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from compute_horde_sdk.v1._errors import ComputeHordeError, RefusedError, UnreachableError, is_passing
from compute_horde_sdk.v1._replies import raise_for
from compute_horde_sdk.v1._tls import distrusted, stay_encrypted, trusting
from horde_core.signing import Signer
from horde_core.wire.client import LOGIN_PATH, NONCE_PATH, Login, Nonce, Token
from horde_core.wire.operator import REDEEM_PATH, Redemption

ATTEMPTS = 5
MAX_PAUSE_S = 5.0
MAX_RETRY_AFTER_S = 60.0
# Constants that the published clients send.
_FIXED_HEADERS = {"Realm": "mainnet", "SubnetID": "12"}
_EXPIRED = "Token expired"
# Requests share a few kept-alive connections and queue for them; a stream has one of its own, and hears at least a
# comment every 10 seconds.
_REQUESTS = httpx2.Limits(max_connections=20, max_keepalive_connections=20, keepalive_expiry=60)
_REQUEST_TIMEOUT = httpx2.Timeout(30, connect=10, pool=None)
_STREAMS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
_STREAM_TIMEOUT = httpx2.Timeout(35, connect=10)
# Of these it is certain that the facilitator did not act on the request.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.WriteError, httpx2.WriteTimeout)

M = TypeVar("M", bound=BaseModel)
Content = Callable[[], AsyncIterator[bytes]]
"""A body in pieces, begun anew for each try; the call's headers say its length."""


@dataclass(frozen=True)
class Call:
    """A request, apart from the token. The path is relative to the facilitator's URL."""

    method: str
    path: str
    content: bytes | Content | None = None
    params: Mapping[str, str | int | Sequence[str]] = field(default_factory=dict[str, str | int | Sequence[str]])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_repeatable: bool = True
    tries: int = ATTEMPTS


class Transport:
    """Sends requests to one facilitator on behalf of one hotkey."""

    def __init__(self, url: str, hotkey: Signer, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ComputeHordeError(
                f"facilitator_url must be an http(s) URL such as https://host:port/, not {url!r}"
            )
        self._base = url.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._ca = ca
        self._hotkey = hotkey
        self._token = ""
        self._login = asyncio.Lock()
        self._clients: tuple[httpx2.AsyncClient, httpx2.AsyncClient] | None = None
        self._is_closed = False

    async def aclose(self) -> None:
        """Close all connections; further requests fail."""
        self._is_closed = True
        clients, self._clients = self._clients, None
        for client in clients or ():
            await client.aclose()

    async def log_in(self, invitation: str | None = None) -> None:
        """Get a token now, rather than with the first request; an invitation lets in a hotkey not known yet."""
        await self._new_token(self._token, invitation)

    async def request(self, call: Call) -> httpx2.Response:
        """Send a request, up to 5 times (`Call.tries`) if that may help, and return the successful answer.

        Raises:
            ComputeHordeNotFoundError: the answer was 404.
            RefusedError: the answer was another error.
            UnreachableError: there was no answer.
        """
        for attempt in range(call.tries - 1):
            try:
                return await self._once(call)
            except (RefusedError, UnreachableError) as error:
                if not is_passing(error) or (
                    isinstance(error, UnreachableError) and error.sent and not call.is_repeatable
                ):
                    raise
                await asyncio.sleep(pause(attempt, error))
        return await self._once(call)

    async def fetch(self, call: Call, model: type[M]) -> M:
        """Send a request whose answer is a JSON message.

        Raises:
            ComputeHordeError: as `request`, or the answer is no such message.
        """
        return _read(model, await self.request(call))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncGenerator[httpx2.Response]:
        """Send a request once and read its answer piece by piece, on a connection of its own.

        Errors while the answer is read are translated, too.
        """
        token = self._token or await self._new_token("")
        async with AsyncExitStack() as stack:
            with _translated(self._base, self._ca):
                response = await stack.enter_async_context(self._streamed(call, token))
                if await _is_expired(response):
                    token = await self._new_token(token)
                    response = await stack.enter_async_context(self._streamed(call, token))
                if response.is_error:
                    await response.aread()
                    raise_for(response)
                yield response

    @asynccontextmanager
    async def events(self, call: Call, model: type[M]) -> AsyncGenerator[AsyncIterator[M]]:
        """Send a request that is answered with server-sent events, each one a JSON message."""
        async with self.stream(call) as response:

            async def messages() -> AsyncGenerator[M]:
                async for event in httpx2.EventSource(response):
                    yield _parse(model, event.data)

            async with aclosing(messages()) as found:
                yield found

    async def _once(self, call: Call) -> httpx2.Response:
        token = self._token or await self._new_token("")
        with _translated(self._base, self._ca):
            response = await self._open()[0].send(self._built(call, token))
            if await _is_expired(response):
                token = await self._new_token(token)
                response = await self._open()[0].send(self._built(call, token))
        raise_for(response)
        return response

    def _built(self, call: Call, token: str) -> httpx2.Request:
        is_json = {"Content-Type": "application/json"} if call.content is not None else {}
        headers = {**_FIXED_HEADERS, **is_json, **call.headers, "Authorization": f"Bearer {token}"}
        # Without own parameters the URL must be left alone: an empty mapping would strip its query.
        return self._open()[0].build_request(
            call.method,
            self._base + call.path,
            content=call.content() if callable(call.content) else call.content,
            params=call.params or None,
            headers=headers,
        )

    @asynccontextmanager
    async def _streamed(self, call: Call, token: str) -> AsyncGenerator[httpx2.Response]:
        streams = self._open()[1]
        request = self._built(call, token)
        request.extensions = {**request.extensions, "timeout": _STREAM_TIMEOUT.as_dict()}
        response = await streams.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _new_token(self, stale: str, invitation: str | None = None) -> str:
        """A token other than the stale one; whoever comes first gets it, the others wait and share it."""
        async with self._login:
            if self._token == stale:
                self._token = ""
                self._token = await self._handshake(invitation)
            return self._token

    async def _handshake(self, invitation: str | None) -> str:
        requests = self._open()[0]
        with _translated(self._base, self._ca):
            answer = await requests.get(self._base + NONCE_PATH)
            raise_for(answer, what="login")
            nonce = _read(Nonce, answer).nonce
            signature = self._hotkey.sign(nonce.encode()).hex()
            who = {"hotkey": self._hotkey.ss58_address, "signature": signature, "nonce": nonce}
            if invitation is None:
                answer = await requests.post(self._base + LOGIN_PATH, json=Login(**who).model_dump())
            else:
                redemption = Redemption(**who, invitation=invitation)
                answer = await requests.post(self._base + REDEEM_PATH, json=redemption.model_dump())
            raise_for(answer, what="login")
        return _read(Token, answer).token

    def _open(self) -> tuple[httpx2.AsyncClient, httpx2.AsyncClient]:
        if self._is_closed:
            raise ComputeHordeError("this client is closed")
        if self._clients is None:
            # Reading the authorities costs some 100 ms. Without TLS there is no use for them, and should a server
            # redirect to TLS nothing is trusted.
            context = trusting(self._ca) if self._is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            hooks = {"request": [stay_encrypted]} if self._is_tls else {}
            self._clients = (
                httpx2.AsyncClient(
                    verify=context,
                    limits=_REQUESTS,
                    timeout=_REQUEST_TIMEOUT,
                    follow_redirects=True,
                    event_hooks=hooks,
                ),
                httpx2.AsyncClient(
                    verify=context,
                    limits=_STREAMS,
                    timeout=_STREAM_TIMEOUT,
                    follow_redirects=True,
                    event_hooks=hooks,
                ),
            )
        return self._clients


class Outage:
    """How long the facilitator has been out of reach, for those who wait for its return."""

    PATIENCE_S = 300.0

    def __init__(self) -> None:
        self._since: float | None = None
        self._pauses = 0

    def connected(self) -> None:
        """There is a connection."""
        self._since = None

    def heard(self) -> None:
        """Something useful came over the connection."""
        self._since, self._pauses = None, 0

    async def wait(self, error: ComputeHordeError | None) -> None:
        """Pause before the next try to connect.

        Raises:
            ComputeHordeError: this error, if it will not pass or all patience is used up.
        """
        now = asyncio.get_running_loop().time()
        self._since = self._since or now
        if error is not None and (not is_passing(error) or now - self._since > self.PATIENCE_S):
            raise error
        await asyncio.sleep(pause(self._pauses, error) / 4)
        self._pauses = min(self._pauses + 1, 10)


def pause(attempt: int, error: ComputeHordeError | None) -> float:
    """Seconds to wait after a failed attempt (counted from 0): what the facilitator asks for, or ever longer."""
    if isinstance(error, RefusedError) and error.retry_after is not None:
        return min(error.retry_after, MAX_RETRY_AFTER_S)
    return min(0.2 * 2**attempt, MAX_PAUSE_S) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret


@contextmanager
def _translated(base: str, ca: Path | None) -> Generator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        if untrusted := distrusted(error, base, ca):
            raise untrusted from error
        said = str(error) or type(error).__name__
        raise UnreachableError(
            f"no answer from the facilitator at {base}: {said}", sent=not isinstance(error, _NOT_SENT)
        ) from error
    except (httpx2.RequestError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise ComputeHordeError(f"the facilitator at {base} cannot be used: {error}") from error


async def _is_expired(response: httpx2.Response) -> bool:
    if response.status_code != HTTPStatus.UNAUTHORIZED:
        return False
    await response.aread()
    return _EXPIRED in response.text


def _read(model: type[M], response: httpx2.Response) -> M:
    return _parse(model, response.content)


def _parse(model: type[M], text: bytes | str) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ComputeHordeError(f"the facilitator sent a malformed response: {error}") from error
