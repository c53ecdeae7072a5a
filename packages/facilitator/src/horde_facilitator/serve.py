"""Serves the facilitator with uvicorn, and ends it in order."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn

from horde_facilitator.app import create_app, running
from horde_facilitator.clock import Clock
from horde_facilitator.errors import StartError
from horde_facilitator.parts import Parts
from horde_facilitator.settings import Settings
from horde_facilitator.tls.certificate import Certificate
from horde_facilitator.tls.names import reached_as

BACKLOG = 2048
KEEP_ALIVE_S = 75
GRACE_S = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(
    settings: Settings, *, ready: Callable[[str], None] | None = None, clock: Clock | None = None
) -> None:
    """Serve until cancelled, or until SIGINT or SIGTERM (when called in the main thread).

    `ready` is called with the URL once requests are answered. At the end long polls and streams are answered
    and closed at once; other requests get `GRACE_S` seconds.

    Raises:
        StartError: the address or the data directory cannot be used.
    """
    listening = _listen(settings.host, settings.port)
    try:
        async with running(settings, clock) as parts:
            await _serve(_Server(parts, _url(listening, parts.certificate), ready), listening)
    finally:
        listening.close()


async def _serve(server: "_Server", listening: socket.socket) -> None:
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Server(uvicorn.Server):
    """Uvicorn's server, with three differences.

    It says when it is ready; it ends long polls and streams before it waits for requests to end; and a signal
    that ended it in order has no further effect.
    """

    def __init__(self, parts: Parts, url: str, ready: Callable[[str], None] | None) -> None:
        certificate = parts.certificate
        super().__init__(
            uvicorn.Config(
                create_app(parts),
                http="httptools",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                ssl_context_factory=(lambda _config, _default: certificate.context) if certificate else None,
            )
        )
        self._parts = parts
        self._url = url
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready and not self.should_exit:
            self._ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.bus.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it answers wait 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listening


def _url(listening: socket.socket, certificate: Certificate | None) -> str:
    host, port = listening.getsockname()[:2]
    if certificate:
        host = reached_as(host, certificate.names)
    scheme = "https" if certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
