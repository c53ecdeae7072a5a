"""Operators decide who may come in: the allow-list, invitations, the keys of tokens."""

import asyncio
import secrets
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from horde_core import signing
from horde_core.wire.operator import (
    HOTKEYS_PATH,
    INVITATIONS_PATH,
    KEYS_PATH,
    PENDING_PATH,
    Hotkeys,
    Invitation,
    InvitationRequest,
    PendingHotkeys,
    Role,
    RotatedKeys,
)
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, GivenParts, Operator, body_of
from horde_facilitator.api.refusals import answers
from horde_facilitator.clock import SECOND, time_of
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, NotFound
from horde_facilitator.records import classes, invitations, people

ONE = HOTKEYS_PATH + "/{hotkey}/{role}"
TOKEN_BYTES = 24
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
    parts.guests.forget(hotkey)
    return Response(status_code=204)


@router.delete(ONE, status_code=204, responses={**answers(400, 401, 403, 404), **DONE})
async def remove(hotkey: str, role: Role, parts: GivenParts, _operator: Operator) -> Response:
    """Take a role from a hotkey. Its token is worth nothing for that role from now on."""
    if not await parts.database.write(lambda tx: people.dismiss(tx, role, hotkey)):
        raise NotFound(f"{hotkey} does not have the role {role}.")
    parts.guests.forget(hotkey)
    return Response(status_code=204)


@router.get(PENDING_PATH, responses=answers(401, 403))
async def pending(parts: GivenParts, _operator: Operator) -> PendingHotkeys:
    """The hotkeys that were refused lately."""
    return PendingHotkeys(pending=await parts.database.read(people.pending))


@router.post(
    INVITATIONS_PATH, status_code=201, responses=answers(400, 401, 403), openapi_extra=described(InvitationRequest)
)
async def invite(
    parts: GivenParts,
    operator: Operator,
    body: Annotated[InvitationRequest, body_of(InvitationRequest, MIB)],
) -> Invitation:
    """A token with which hotkeys that nobody knows yet let themselves in, at ``POST /auth/redeem``."""
    token = secrets.token_hex(TOKEN_BYTES)
    now_us = parts.clock.now().wall_us

    def run(tx: Transaction) -> int:
        for name in body.classes or ():
            classes.known(tx.connection, name, "classes")
        return invitations.invite(tx, token, body, operator, now_us)

    expires_us = await parts.database.write(run)
    return Invitation(
        token=token, role=body.role, count=body.count, expires_at=time_of(expires_us), classes=body.classes
    )


@router.post(KEYS_PATH + "/rotate", responses=answers(401, 403, 503))
async def rotate(parts: GivenParts, _operator: Operator) -> RotatedKeys:
    """Let a new key sign tokens. Those that older keys signed are taken until they expire."""
    now_us = parts.clock.now().wall_us
    accepted = await asyncio.to_thread(parts.keys.rotate, now_us)
    return RotatedKeys(accepted=accepted, old_until=time_of(now_us + parts.settings.token_s * SECOND))


def check_address(hotkey: str) -> None:
    """Check that this is the address of a hotkey.

    Raises:
        BadRequest: it is not.
    """
    try:
        signing.public_key(hotkey)
    except ValueError as error:
        raise BadRequest.field("hotkey", f"{hotkey!r} is no SS58 address") from error
