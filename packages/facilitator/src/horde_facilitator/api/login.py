"""Logging in: a nonce, then a token for its signature."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from horde_core.wire.client import LOGIN_PATH, NONCE_PATH, Nonce, Token
from horde_core.wire.operator import REDEEM_PATH, Role
from horde_facilitator.api.description import described
from horde_facilitator.api.given import GivenParts, body_of
from horde_facilitator.api.refusals import Detail, Fields, headers_of
from horde_facilitator.auth import check_login
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, NotAuthenticated, Refused, TooMany
from horde_facilitator.parts import Parts
from horde_facilitator.records import invitations, people

MAX_LOGIN = 16 * 1024

router = APIRouter()


class LoginRequest(BaseModel):
    """Body of a login. Each part may be missing, so that the answer can say which."""

    model_config = ConfigDict(frozen=True)

    hotkey: str = ""
    signature: str = ""
    nonce: str = ""


class RedeemRequest(LoginRequest):
    """Body of a login with an invitation."""

    invitation: str = ""


class LoginError(BaseModel):
    """Body of a refused login."""

    error: str


@router.get(NONCE_PATH)
async def nonce(parts: GivenParts) -> Nonce:
    """A nonce to sign: valid for five minutes, for one login."""
    return Nonce(nonce=parts.nonces.make(parts.clock.now().wall_us))


REFUSED = {400: {"model": LoginError | Detail | Fields}, 401: {"model": LoginError}, 429: {"model": LoginError}}
"""A body that cannot be read is answered as on every other route."""


@router.post(LOGIN_PATH, response_model=Token, responses={**REFUSED}, openapi_extra=described(LoginRequest))
async def login(
    request: Request, parts: GivenParts, body: Annotated[LoginRequest, body_of(LoginRequest, MAX_LOGIN)]
) -> Token | JSONResponse:
    """Exchange a signed nonce for a token."""
    return await _answer(request, parts, body, None)


@router.post(REDEEM_PATH, response_model=Token, responses={**REFUSED}, openapi_extra=described(RedeemRequest))
async def redeem(
    request: Request, parts: GivenParts, body: Annotated[RedeemRequest, body_of(RedeemRequest, MAX_LOGIN)]
) -> Token | JSONResponse:
    """Log in with an invitation, which lets in a hotkey that is not known yet. May be repeated."""
    return await _answer(request, parts, body, body.invitation)


async def _answer(
    request: Request, parts: Parts, body: LoginRequest, invitation: str | None
) -> Token | JSONResponse:
    try:
        return Token(token=await _login(request, parts, body, invitation))
    except TooMany as error:
        return JSONResponse({"error": str(error)}, 429, headers_of(error))
    except Refused as error:
        status = 401 if isinstance(error, NotAuthenticated) else 400
        return JSONResponse({"error": str(error)}, status)


async def _login(request: Request, parts: Parts, body: LoginRequest, invitation: str | None) -> str:
    now = parts.clock.now()
    origin = request.client.host if request.client else ""
    parts.peer_logins.take(origin, now.boot_us)
    nonce_expires_us = _proven(parts, body, now)
    # Counted when the signature is known to be good, so that nobody can use up another one's logins.
    parts.logins.take(body.hotkey, now.boot_us)
    role = _wanted(request.headers.get("User-Agent", ""))

    def enter(tx: Transaction) -> bool:
        if not people.use_nonce(tx, body.nonce, nonce_expires_us):
            raise BadRequest("Invalid nonce")
        if invitation is not None:
            invitations.redeem(tx, invitation, body.hotkey, now.wall_us)
        if people.roles(tx.connection, body.hotkey):
            return True
        most = parts.settings.pending_hotkeys
        people.refuse(tx, body.hotkey, role, now.wall_us, origin=origin, most=most)
        return False

    if not await parts.database.write(enter):
        raise BadRequest("Hotkey not allowed")
    parts.guests.forget(body.hotkey)  # it may have been invited a moment after it was refused
    return parts.tokens.make(body.hotkey, now.wall_us)


def _proven(parts: Parts, body: LoginRequest, now: Now) -> int:
    """Check that the hotkey signed a nonce of ours; returns when the nonce expires."""
    for name in type(body).model_fields:
        if not getattr(body, name):
            raise BadRequest(f"Missing {name}")
    expires_us = parts.nonces.expiry(body.nonce, now.wall_us)
    if expires_us is None:
        raise BadRequest("Invalid nonce")
    check_login(body.hotkey, body.signature, body.nonce)
    return expires_us


def _wanted(agent: str) -> str:
    """The role that a program seems to want; only a hint for the operator who reads of its refusal."""
    return Role.EXECUTOR if agent.startswith("compute-horde-executor") else Role.USER
