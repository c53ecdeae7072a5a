"""The operator API as this command uses it: small requests, one JSON message each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeNotFoundError

# The same connection and login as for jobs. Both packages have one version, and the names are no user's.
from compute_horde_sdk.v1._transport import Call, Transport
from horde_cli.connection import connect, translated
from horde_cli.errors import NotFound

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Operator:
    """The operator API of one facilitator, asked by a hotkey with the role `operator`.

    Paths are those of `horde_core.wire.operator`. Errors are the SDK's; `operate` translates them.
    """

    def __init__(self, client: ComputeHordeClient) -> None:
        self.url = client.facilitator_url
        self._transport: Transport = client._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def get(self, path: str, model: type[M], **params: str | int) -> M:
        """Ask for a message."""
        return await self._transport.fetch(Call("GET", path, params=params), model)

    async def text(self, path: str) -> str:
        """Ask for what is no message."""
        return (await self._transport.request(Call("GET", path))).text

    async def post(self, path: str, body: BaseModel | None, model: type[M]) -> M:
        """Do something that must not happen twice; the answer is a message."""
        return await self._transport.fetch(Call("POST", path, _content(body), is_repeatable=False), model)

    async def put(self, path: str, body: BaseModel | None = None) -> None:
        """Make something so; harmless to repeat."""
        await self._transport.request(Call("PUT", path, _content(body)))

    async def delete(self, path: str) -> None:
        """Take something away; harmless to repeat."""
        await self._transport.request(Call("DELETE", path))


def operate(
    work: Callable[[Operator], Awaitable[T]], facilitator: str | None, hotkey: Path | None, config: Path | None
) -> T:
    """Run operator's work against the horde that the command line means.

    Raises:
        NotConfigured: no horde is known.
        NotFound: what the work names does not exist.
        BadUsage: what was asked for is wrong.
        ServiceError: the facilitator refuses, or does not answer.
    """

    async def run() -> T:
        async with connect(facilitator, hotkey, config) as client:
            try:
                return await work(Operator(client))
            except ComputeHordeNotFoundError as error:
                _, _, said = str(error).partition(": ")
                raise NotFound(said or str(error)) from error

    with translated():
        return asyncio.run(run())


def _content(body: BaseModel | None) -> bytes | None:
    return body.model_dump_json().encode() if body is not None else None
