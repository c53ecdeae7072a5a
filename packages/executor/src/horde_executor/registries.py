"""From which registries images may be pulled.

The engine itself pulls, with names that it resolves itself, so this is a rule about names and what they mean
now, not a wall: what a job could reach through the engine's eyes is one registry's answer, never its content.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from horde_core.outcomes import Reason, Stage
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure


def registry_check(egress: Egress) -> Callable[[str, int], Awaitable[None]]:
    """A check of a registry's host and port against the operator's egress rules.

    It raises `JobFailure` when any address of the host is shut. A name that cannot be resolved is left to the
    engine, which may know a mirror or a proxy.
    """

    async def check(host: str, port: int) -> None:
        name = host.strip("[]").lower()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError:
            return
        for *_, address in found:
            why = egress.refusal(str(address[0]), port, name)
            if why is not None:
                raise JobFailure(
                    Stage.PREPARE,
                    Reason.IMAGE_REFUSED,
                    f"the registry {host}:{port} is {why}, from where no images are pulled. Use a public registry,"
                    f" or ask the executor's operator for --allow-egress {host}:{port}",
                )

    return check
