"""One HTTP request through libcurl: connected only where the egress rules allow, watched and cancellable.

What downloads and uploads have in common is here; what is particular to a direction is in its `Exchange`
(`Line.get` has that of a download, `send` that of an upload). Everything foreign about libcurl ends here: what
went wrong comes back as a value in the user's words. Redirects are not followed; each hop is a request of its own,
judged like the first.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import certifi
import pycurl

from horde_core.outcomes import Reason, Stage
from horde_executor import threads
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.patience import Patience
from horde_executor.urls import Target

_LOOK_S = 0.05  # how long cancellation may go unnoticed
_BUFFER = 512 * 1024  # libcurl's largest
_MILLISECONDS = 1000
_AS_IT_IS = ("Accept: */*", "Accept-Encoding: identity")

# As pycurl passes it: family, type, protocol, and the address in the form of the socket module.
_Where = tuple[int, int, int, tuple[str | bytes, int] | tuple[str | bytes, int, int, int]]


@dataclass(slots=True)
class Head:
    """Status and headers of an answer; names in lower case, the first of several wins."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    complete: bool = False

    @property
    def has_body(self) -> bool:
        """Whether the body is (part of) the file that was asked for."""
        return self.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)

    def __str__(self) -> str:
        """The status with its name, as people know it."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


@dataclass(frozen=True, slots=True)
class Broken:
    """The request failed in a way that may pass. `why` continues "it could not be fetched: " (or sent)."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request will never succeed. `why` continues "it cannot be fetched: " (or sent)."""

    why: str


def ca_file() -> str:
    """The certificates that servers are judged by: SSL_CERT_FILE where it is set, else Mozilla's."""
    return os.environ.get("SSL_CERT_FILE") or certifi.where()


class Line:
    """A libcurl handle with its connection, used for one request after the other, in one thread."""

    def __init__(self, egress: Egress, patience: Patience) -> None:
        self.egress = egress
        self._patience = patience
        self._ca_file = ca_file()
        self._multi = pycurl.CurlMulti()
        self._curl = pycurl.Curl()

    def get(
        self,
        target: Target,
        headers: Sequence[str],
        consume: Callable[[Head, bytes], None],
        stop: threading.Event,
        tick: Callable[[], None],
    ) -> Head | Broken | Refused:
        """Request `target` and hand the body of a 200 or 206 to `consume`; other bodies are not read.

        `consume` is called with no bytes first, so that it can judge the headers before a body comes.
        What it raises ends the request and is raised. The rest is as in `run`.
        """
        return self.run(_Get(target, self.egress, consume), [*_AS_IT_IS, *headers], stop, tick)

    def run(
        self,
        exchange: "Exchange",
        headers: Sequence[str | bytes],
        stop: threading.Event,
        tick: Callable[[], None],
    ) -> Head | Broken | Refused:
        """Perform one request. `tick` is called about every 50 ms or more often.

        Raises:
            Stopped: `stop` was set.
        """
        self._prepare(exchange, headers)
        self._multi.add_handle(self._curl)
        try:
            failure = self._perform(exchange, stop, tick)
        finally:
            self._multi.remove_handle(self._curl)
            exchange.release()
        if exchange.error is not None:
            raise exchange.error
        if failure is not None and not exchange.is_answered:
            return self._explain(*failure, exchange)
        return exchange.head

    def close(self) -> None:
        """Let the connection go. It may take seconds while a name is being resolved."""
        self._curl.close()
        self._multi.close()

    def _perform(
        self, exchange: "Exchange", stop: threading.Event, tick: Callable[[], None]
    ) -> tuple[int, str] | None:
        """Run the request to its end; libcurl's code and text if it failed."""
        moved = exchange.moved()
        while self._multi.perform()[1]:
            threads.check(stop)
            tick()
            before, moved = moved, exchange.moved()
            if moved != before:
                exchange.heard_at = time.monotonic()
            elif time.monotonic() - exchange.heard_at > self._patience.stall_s:
                return pycurl.E_OPERATION_TIMEDOUT, "stalled"  # libcurl's own measure averages over 5 s
            self._multi.select(_LOOK_S)
        failed = self._multi.info_read()[2]
        return failed[0][1:] if failed else None

    def _prepare(self, exchange: "Exchange", headers: Sequence[str | bytes]) -> None:
        curl = self._curl
        curl.reset()
        curl.setopt(pycurl.URL, exchange.target.url)
        curl.setopt(pycurl.PATH_AS_IS, 1)  # presigned URLs are signed as they are written
        curl.setopt(pycurl.HTTPHEADER, list(headers))
        curl.setopt(pycurl.USERAGENT, "compute-horde-executor")
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # one transfer, one connection
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.PROXY, "")  # a proxy would connect where nobody judges
        curl.setopt(pycurl.NETRC, 0)
        curl.setopt(pycurl.CAINFO, self._ca_file)  # the wheel's own default is another distribution's path
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._patience.connect_s * _MILLISECONDS))
        curl.setopt(pycurl.OPENSOCKETFUNCTION, exchange.open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        exchange.set_up(curl)

    def _explain(self, code: int, text: str, exchange: "Exchange") -> Broken | Refused:
        target = exchange.target
        if exchange.refusals and not exchange.sockets:
            return Refused(
                f"its host is {exchange.refusals[-1]}, which jobs may not reach. Use a public URL, or ask the"
                f" operator of the executor to allow it with --allow-egress {_host_port(target)}"
            )
        if code == pycurl.E_SSL_CACERT_BADFILE:
            raise JobFailure(
                exchange.stage,
                Reason.EXECUTOR_ERROR,
                f"the executor cannot read its file of certificates, {self._ca_file}",
            )
        server = _host_port(target)
        final = {
            pycurl.E_PEER_FAILED_VERIFICATION: f"the certificate of {server} is not trusted ({text})",
            pycurl.E_UNSUPPORTED_PROTOCOL: f"{server} does not answer in HTTP",
            pycurl.E_FTP_WEIRD_SERVER_REPLY: f"{server} does not answer in HTTP",
            pycurl.E_URL_MALFORMAT: "libcurl cannot read the URL",
        }
        if code in final:
            return Refused(final[code])
        passing = {
            pycurl.E_COULDNT_RESOLVE_HOST: f"the host name {target.host} was not found",
            pycurl.E_COULDNT_CONNECT: f"{server} did not accept the connection",
            pycurl.E_OPERATION_TIMEDOUT: exchange.slowness(self._patience.stall_s),
            pycurl.E_PARTIAL_FILE: "the connection broke before the end of the file",
            pycurl.E_GOT_NOTHING: "the server closed the connection without an answer",
        }
        return Broken(passing.get(code) or text or f"libcurl's error {code}")


def _host_port(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}"


class Exchange:
    """What libcurl calls back with during one request. Nothing may be raised into libcurl."""

    stage = Stage.DOWNLOAD

    def __init__(self, target: Target, egress: Egress) -> None:
        self.target = target
        self.head = Head(0)
        self.cut = False
        self.error: BaseException | None = None
        self.refusals: list[str] = []
        self.sockets: list[socket.socket] = []
        self.heard_at = time.monotonic()
        self._egress = egress

    def set_up(self, curl: pycurl.Curl) -> None:
        """Set the options of this direction."""

    def begin(self) -> None:
        """The headers of an answer are complete. What this raises ends the request."""

    def take(self, data: bytes) -> None:
        """Take a piece of the answer's body, or set `cut` to end the request. As `begin` may this raise."""
        raise NotImplementedError

    @property
    def is_answered(self) -> bool:
        """Whether the server's answer counts although libcurl failed."""
        return self.cut

    def moved(self) -> object:
        """Something that changes while bytes of ours leave."""

    def slowness(self, seconds: float) -> str:
        """What a request that was given up for being slow lacked."""
        return f"no data came for {seconds:g} s" if self.head.status else "no answer came in time"

    def open_socket(self, _purpose: int, where: _Where) -> socket.socket | int:
        """A socket for the address that libcurl connects to next: here, and only here, egress is judged."""
        try:
            family, kind, protocol, (address, port, *_) = where
            text = address.decode() if isinstance(address, bytes) else address
            refusal = self._egress.refusal(text, port, self.target.host)
            if refusal is not None:
                self.refusals.append(refusal)
                return pycurl.SOCKET_BAD
            opened = socket.socket(family, kind, protocol)
        except BaseException as error:  # noqa: BLE001 - raised again by `Line.run`
            self.error = error
            return pycurl.SOCKET_BAD
        self.sockets.append(opened)
        return opened

    def on_header(self, line: bytes) -> int | None:
        """A line of an answer's head."""
        self.heard_at = time.monotonic()
        if line.startswith(b"HTTP/"):
            status = line.split(b" ", 2)[1:2]
            self.head = Head(int(status[0]) if status and status[0].strip().isdigit() else 0)
        elif not line.strip():
            self.head.complete = True
            return self._guarded(self.begin)
        elif not self.head.complete:  # what follows the body are trailers, which say nothing to us
            name, _, value = line.partition(b":")
            self.head.headers.setdefault(name.strip().lower().decode("latin-1"), value.strip().decode("latin-1"))
        return None

    def on_body(self, data: bytes) -> int | None:
        """A piece of an answer's body."""
        self.heard_at = time.monotonic()
        return self._guarded(partial(self.take, data)) or (0 if self.cut else None)

    def _guarded(self, work: Callable[[], None]) -> int | None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by `Line.run`
            self.error = error
            return -1
        return None

    def release(self) -> None:
        """Close our names of the sockets; libcurl works on duplicates."""
        for opened in self.sockets:
            opened.close()


class _Get(Exchange):
    """A download: what has a body goes on to `consume`."""

    def __init__(self, target: Target, egress: Egress, consume: Callable[[Head, bytes], None]) -> None:
        super().__init__(target, egress)
        self._consume = consume

    def begin(self) -> None:
        if self.head.has_body:
            self._consume(self.head, b"")

    def take(self, data: bytes) -> None:
        if self.head.has_body:
            self._consume(self.head, data)
        else:
            self.cut = True
