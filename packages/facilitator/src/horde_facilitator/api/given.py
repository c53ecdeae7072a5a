"""What routes are given: the parts, the caller, the body."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from horde_core.spec import field_errors
from horde_core.wire.operator import Role
from horde_facilitator.auth import bearer
from horde_facilitator.errors import BadRequest, NotAllowed, TooLarge
from horde_facilitator.parts import Parts

INLINE = 64 * 1024
"""Bodies up to this size are parsed on the event loop; larger ones in a thread."""
MIB = 1024**2

Model = TypeVar("Model", bound=BaseModel)


async def _parts(request: Request) -> Parts:
    return request.app.state.parts


GivenParts = Annotated[Parts, Depends(_parts)]


def _caller(*allowed: Role) -> Callable[[Request, Parts], Awaitable[str]]:
    async def caller(request: Request, parts: GivenParts) -> str:
        token = bearer(request.headers.get("Authorization"))
        hotkey = parts.tokens.hotkey(token, parts.clock.now().wall_us)
        roles = await parts.guests.roles(hotkey)
        if roles.isdisjoint(allowed):
            raise NotAllowed(f"The hotkey {hotkey} is not allowed here as {allowed[0]}.")
        return hotkey

    return caller


User = Annotated[str, Depends(_caller(Role.USER))]
"""The hotkey of the user who asks."""

Executor = Annotated[str, Depends(_caller(Role.EXECUTOR, Role.TRUSTED))]
"""The hotkey of the executor that speaks."""

Operator = Annotated[str, Depends(_caller(Role.OPERATOR))]
"""The hotkey of the operator who asks."""


UserOrOperator = Annotated[str, Depends(_caller(Role.USER, Role.OPERATOR))]
"""The hotkey of somebody who may see what there is."""


async def pieces(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        TooLarge: it is, or says that it is, larger than `limit` bytes.
    """
    announced = request.headers.get("Content-Length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"The body has {announced} bytes; the limit is {limit}.")
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"The body is larger than the limit of {limit} bytes.")
        yield piece


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, which must not be larger than `limit` bytes."""
    return b"".join([piece async for piece in pieces(request, limit)])


def body_of(model: type[Model], limit: int) -> Any:
    """A dependency that reads a JSON body as `model`."""

    async def read(request: Request) -> Model:
        body = await read_body(request, limit)
        return _parsed(model, body) if len(body) < INLINE else await asyncio.to_thread(_parsed, model, body)

    return Depends(read)


def _parsed(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fields = field_errors(error)
        if "" in fields:
            raise BadRequest(f"The body is not JSON: {'; '.join(fields[''])}") from error
        raise BadRequest("The body is wrong.", fields) from error
