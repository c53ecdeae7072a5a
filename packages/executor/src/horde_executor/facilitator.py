"""The facilitator as an executor sees it: the executor API over HTTP.

Every request may be repeated without harm, so what is said of an attempt is repeated until it was heard: after
connection errors and 5xx with full jitter, until the caller is cancelled (as everything of an attempt is when
its lease runs out). The table of requests stands in `horde_core.wire.executor`.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from horde_core.signing import Signer
from horde_core.trust import complaint, distrust_in
from horde_core.wire.client import LOGIN_PATH, NONCE_PATH, Login, Nonce, Token
from horde_core.wire.executor import (
    CLASSES_PATH,
    PREFIX,
    SHA256_HEADER,
    Claim,
    ClaimRequest,
    Event,
    Events,
    LeaseReply,
    LeaseRequest,
    OutcomeReport,
    Refusal,
    Service,
    Stream,
)
from horde_executor.errors import ExecutorError, FacilitatorError, Fenced, Untrusted
from horde_executor.tasks import pause_before

CONNECT_S = 5.0
ANSWER_S = 30.0
POLL_LEEWAY_S = 5.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

Body = bytes | Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt of which job something is said of."""

    job: str
    number: int

    @property
    def path(self) -> str:
        """Where the attempt lies in the executor API."""
        return f"{PREFIX}/attempts/{self.job}/{self.number}"

    def __str__(self) -> str:
        return f"{self.job}/{self.number}"


class Facilitator:
    """A logged-in connection. It logs in by itself, also again when its token is no longer taken."""

    def __init__(self, http: httpx2.AsyncClient, hotkey: Signer, ca: Path | None = None) -> None:
        self._http = http
        self._ca = ca
        self._has_answered = False
        self._hotkey = hotkey
        self._token = ""
        self._logging_in = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, hotkey: Signer, ca: Path | None = None) -> AsyncGenerator["Facilitator"]:
        """Open a connection; nothing is sent before the first request. With a `ca`, nobody else may vouch for it.

        Raises:
            ExecutorError: the file of the CA cannot be used.
        """
        # A proxy of the environment is for the world outside, never for this machine's own facilitator.
        beyond = urlsplit(url).hostname not in _LOOPBACK
        # Long polls hold a connection each, so their number is bounded by the slots, not by the pool.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60)
        agent = {"User-Agent": f"compute-horde-executor/{version('compute-horde-executor')}"}
        async with httpx2.AsyncClient(
            base_url=url.rstrip("/"), limits=limits, trust_env=beyond, headers=agent, verify=_trusting(ca)
        ) as http:
            yield cls(http, hotkey, ca)

    async def claim(self, claim_id: str, offer: ClaimRequest) -> Claim | None:
        """Ask for a job, waiting up to ``offer.wait_s``; None when there is none. One try."""
        path = f"{PREFIX}/claims/{claim_id}"
        answer = await self._send("PUT", path, _json(offer), wait_s=offer.wait_s)
        return None if answer.status_code == HTTPStatus.NO_CONTENT else _read(Claim, answer)

    async def service(self) -> Service:
        """Which classes this executor serves by its last claim, and why not others. One try."""
        return _read(Service, await self._send("GET", CLASSES_PATH, b""))

    async def renew(self, attempt: Attempt, wait_s: float) -> LeaseReply:
        """Renew a lease, then wait for news up to `wait_s`. One try: the lease decides about repeats."""
        body = _json(LeaseRequest(wait_s=wait_s))
        return _read(LeaseReply, await self._send("POST", f"{attempt.path}/lease", body, wait_s=wait_s))

    async def send_events(self, attempt: Attempt, seq: int, events: Sequence[Event]) -> None:
        """Deliver consecutive events of which the first has the number `seq`."""
        await self._insist("PUT", f"{attempt.path}/events/{seq}", _json(Events(events=list(events))))

    async def send_log(self, attempt: Attempt, stream: Stream, offset: int, data: bytes) -> None:
        """Deliver a piece of a log stream."""
        await self._insist("PUT", f"{attempt.path}/logs/{stream}/{offset}", data, _BYTES)

    async def send_artifact(
        self, attempt: Attempt, path: str, content: Callable[[], AsyncIterator[bytes]], size: int, sha256: str
    ) -> None:
        """Deliver an artifact by its path inside the container; `content` is called anew for each try."""
        headers = {**_BYTES, "Content-Length": str(size), SHA256_HEADER: sha256}
        await self._insist("PUT", f"{attempt.path}/artifacts/{quote(path.lstrip('/'))}", content, headers)

    async def send_outcome(self, attempt: Attempt, report: OutcomeReport) -> None:
        """Deliver the end of an attempt; the last thing that is said of it."""
        await self._insist("PUT", f"{attempt.path}/outcome", _json(report))

    @asynccontextmanager
    async def read_blob(self, attempt: Attempt, sha256: str, start: int) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The bytes of an input blob of the attempt's job from `start` on. One try; it may break off.

        Raises:
            FacilitatorError, Fenced: at the beginning or in the middle.
        """
        path = f"{attempt.path}/blobs/{sha256}"
        answer = await self._send("GET", path, None, {"Range": f"bytes={start}-"}, streamed=True)
        try:
            yield _pieces(answer)
        finally:
            await answer.aclose()

    async def give_back(self, attempt: Attempt) -> None:
        """Put the job back into the queue; it counts as no attempt."""
        await self._insist("POST", f"{attempt.path}/return", b"")

    async def log_in(self) -> None:
        """Log in now.

        Raises:
            FacilitatorError: the hotkey is refused (a status), or nobody answers (none).
        """
        async with self._logging_in:
            await self._log_in()

    async def _log_in(self) -> None:
        nonce = _read(Nonce, await self._ask("GET", NONCE_PATH, None)).nonce
        signature = self._hotkey.sign(nonce.encode()).hex()
        body = _json(Login(hotkey=self._hotkey.ss58_address, signature=signature, nonce=nonce))
        self._token = _read(Token, await self._ask("POST", LOGIN_PATH, body)).token

    async def _insist(
        self, method: str, path: str, body: Body, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        repeat = 0
        while True:
            try:
                return await self._send(method, path, body, headers)
            except FacilitatorError as error:
                if not error.is_transient:
                    raise
            await asyncio.sleep(pause_before(repeat))
            repeat += 1

    async def _send(
        self,
        method: str,
        path: str,
        body: Body | None,
        headers: dict[str, str] | None = None,
        *,
        wait_s: float = 0,
        streamed: bool = False,
    ) -> httpx2.Response:
        token = self._token
        if token:
            try:
                return await self._ask(method, path, body, headers, wait_s=wait_s, streamed=streamed)
            except FacilitatorError as error:
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise
        async with self._logging_in:
            if self._token == token:  # else another request logged in meanwhile
                await self._log_in()
        return await self._ask(method, path, body, headers, wait_s=wait_s, streamed=streamed)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Body | None,
        headers: dict[str, str] | None = None,
        *,
        wait_s: float = 0,
        streamed: bool = False,
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S, pool=None)
        if wait_s:
            timeout = httpx2.Timeout(wait_s + POLL_LEEWAY_S, connect=CONNECT_S, pool=None)
        sent = {"Content-Type": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        content = body() if callable(body) else body
        try:
            request = self._http.build_request(method, path, content=content, headers=sent, timeout=timeout)
            answer = await self._http.send(request, stream=streamed)
            if not answer.is_success:
                await answer.aread()
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
            raise FacilitatorError(f"the facilitator cannot be asked: {error}", HTTPStatus.BAD_REQUEST) from error
        except httpx2.HTTPError as error:
            raise self._unanswered(error) from error
        self._has_answered = True
        if not answer.is_success:
            raise _refusal(answer)
        return answer

    def _unanswered(self, error: httpx2.HTTPError) -> FacilitatorError:
        why = distrust_in(error)
        if why is None:
            return FacilitatorError(f"the facilitator cannot be reached: {error!r}")
        text = complaint(str(self._http.base_url), why, str(self._ca) if self._ca else None)
        # A facilitator that was trusted before gets time to mend its certificate: jobs of its run here.
        return FacilitatorError(text) if self._has_answered else Untrusted(text)


def _trusting(ca: Path | None) -> ssl.SSLContext | bool:
    try:
        return ssl.create_default_context(cafile=str(ca)) if ca else True
    except (OSError, ssl.SSLError) as error:
        raise ExecutorError(f"the CA of the facilitator, {ca}, cannot be used: {error}") from error


async def _pieces(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    """The body in pieces that are worth a thread's while; what came before a break comes, too."""
    waiting = bytearray()
    broken = None
    try:
        async for data in answer.aiter_raw():
            waiting += data
            if len(waiting) >= _PIECE:
                yield bytes(waiting)
                waiting.clear()
    except httpx2.HTTPError as error:
        broken = error
    if waiting:
        yield bytes(waiting)
    if broken is not None:
        raise FacilitatorError(f"the facilitator broke off: {broken!r}") from broken


_PIECE = 1024**2
_BYTES = {"Content-Type": "application/octet-stream"}


def _json(message: BaseModel) -> bytes:
    return message.model_dump_json().encode()


_Model = TypeVar("_Model", bound=BaseModel)


def _read(model: type[_Model], answer: httpx2.Response) -> _Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise FacilitatorError(f"the facilitator's answer is no {model.__name__}: {error}") from error


def _refusal(answer: httpx2.Response) -> FacilitatorError | Fenced:
    text = answer.text[:500]
    if answer.status_code == HTTPStatus.CONFLICT:
        try:
            refusal = Refusal.model_validate_json(answer.content)
        except ValidationError:
            pass
        else:
            if refusal.code == "stale_attempt":
                return Fenced(refusal.detail)
            text = refusal.detail
    return FacilitatorError(f"the facilitator answers {answer.status_code}: {text}", answer.status_code)
