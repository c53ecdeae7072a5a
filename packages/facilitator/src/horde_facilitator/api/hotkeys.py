"""Operators decide who may come in: the allow-list."""

from fastapi import APIRouter
from starlette.responses import Response

from horde_core import signing
from horde_core.wire.operator import HOTKEYS_PATH, Hotkeys, Role
from horde_facilitator.api.given import GivenParts, Operator
from horde_facilitator.api.refusals import answers
from horde_facilitator.errors import BadRequest, NotFound
from horde_facilitator.records import people

ONE = HOTKEYS_PATH + "/{hotkey}/{role}"
DONE = {204: {"description": "It is so, now or already before."}}

router = APIRouter()


@router.get(HOTKEYS_PATH, responses=answers(401, 403))
async def listing(parts: GivenParts, _operator: Operator) -> Hotkeys:
    """The allow-list."""
    return Hotkeys(hotkeys=await parts.database.read(people.everybody))


@router.put(ONE, status_code=204, responses={**answers(400, 401, 403), **DONE})
async def add(hotkey: str, role: Role, parts: GivenParts, _operator: Operator) -> Response:
    """Let a hotkey in."""
    check_address(hotkey)
    now_us = parts.clock.now().wall_us
    await parts.database.write(lambda tx: people.admit(tx, role, [hotkey], now_us))
    return Response(status_code=204)


@router.delete(ONE, status_code=204, responses={**answers(400, 401, 403, 404), **DONE})
async def remove(hotkey: str, role: Role, parts: GivenParts, _operator: Operator) -> Response:
    """Take a role from a hotkey. Its token is worth nothing for that role from now on."""
    if not await parts.database.write(lambda tx: people.dismiss(tx, role, hotkey)):
        raise NotFound(f"{hotkey} does not have the role {role}.")
    return Response(status_code=204)


def check_address(hotkey: str) -> None:
    """Check that this is the address of a hotkey.

    Raises:
        BadRequest: it is not.
    """
    try:
        signing.public_key(hotkey)
    except ValueError as error:
        raise BadRequest.field("hotkey", f"{hotkey!r} is no SS58 address") from error
