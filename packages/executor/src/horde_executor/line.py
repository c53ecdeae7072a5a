"""The line between the agent and the first process of a container (`init.c`).

The agent listens at a socket that only this container sees. The container's first process calls in and waits;
`release` hands it the pipes that become the job's stdout and stderr, and only then the job's command starts.
Secret variables go along in a file that exists in memory alone: the engine, which writes down what it is told,
never hears of them. Over the same line comes, at once and from the kernel, how the command ended. The engine tells
that too, some 40 ms later, and until then it also keeps the end of the output to itself.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from horde_core.wire.executor import Stream
from horde_executor.clock import limit
from horde_executor.errors import EngineError, LimitReached, WorkspaceError
from horde_executor.workspace import Mount

INIT = "/.horde/init"
"""Where the container finds its first process."""

PIECE = 256 * 1024

_PROGRAM = Path(__file__).with_name("_init")
_REPORT = struct.Struct("=ii")
_CALL_IN_S = 30.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How the job's command ended: its exit code, or the `errno` for which it could not be executed."""

    code: int | None = None
    errno: int | None = None


UNKNOWN = Exit()
"""The container ended before it could say how its command did: something killed its first process."""


class Line:
    """The agent's end. `mounts` are what the container needs for the other one."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self._listener = listener
        self._call: socket.socket | None = None
        self._readers: dict[Stream, asyncio.StreamReader] = {}
        self._transports: list[asyncio.BaseTransport] = []
        self.mounts = (
            Mount(_PROGRAM, INIT, read_only=True),
            Mount(path, "/.horde/line", read_only=True),
        )

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory: Path) -> AsyncGenerator["Line"]:
        """Listen in a directory of the attempt's own until the block ends; then the container ends too."""
        path = directory / "line"
        line = cls(_listener(path), path)
        try:
            yield line
        finally:
            line.close()

    async def release(self, secrets: Mapping[str, str]) -> Mapping[Stream, asyncio.StreamReader]:
        """Let the command start, in a container that was started. Returns its output streams.

        `secrets` are added to the command's environment, and to that of no other process.

        They must be read, or the command blocks as soon as the pipes are full.

        Raises:
            EngineError: the container's first process does not call in.
        """
        loop = asyncio.get_running_loop()
        try:
            async with limit(_CALL_IN_S):
                self._call, _ = await loop.sock_accept(self._listener)
        except LimitReached as error:
            raise EngineError(f"the container started, but did not call in within {_CALL_IN_S:g} s") from error
        self._listener.close()
        ends: list[int] = []
        try:
            ends.append(await self._pipe("stdout"))
            ends.append(await self._pipe("stderr"))
            ends.append(_in_memory(secrets))
            socket.send_fds(self._call, [b"."], ends)
        except OSError as error:
            raise EngineError(f"the container's first process hung up: {error.strerror}") from error
        finally:
            for end in ends:
                os.close(end)
        return self._readers

    async def ended(self) -> Exit:
        """Wait for the end of the command, for as long as that takes."""
        assert self._call is not None, "only after the release"  # noqa: S101
        try:
            report = await asyncio.get_running_loop().sock_recv(self._call, _REPORT.size)
        except OSError:
            return UNKNOWN
        if len(report) != _REPORT.size:
            return UNKNOWN
        kind, value = _REPORT.unpack(report)
        return Exit(errno=value) if kind == ord("e") else Exit(code=value)

    def close(self) -> None:
        """Hang up."""
        self._listener.close()
        if self._call is not None:
            self._call.close()
        for transport in self._transports:
            transport.close()

    async def _pipe(self, stream: Stream) -> int:
        """Make a pipe, begin to read it, and return its other end."""
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader(limit=PIECE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        self._transports.append(transport)
        self._readers[stream] = reader
        return write_end


def _in_memory(secrets: Mapping[str, str]) -> int:
    """The variables as a file without a name, each with a NUL behind it."""
    descriptor = os.memfd_create("secrets", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.writelines(f"{name}={value}\0".encode() for name, value in secrets.items())
    return descriptor


def _listener(path: Path) -> socket.socket:
    """Listen at a path of any length (the kernel takes at most 107 bytes), for whatever user the job runs as."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o666)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise WorkspaceError(f"the executor cannot listen at {path}: {error.strerror}") from error
    finally:
        os.close(directory)
    return listener
