"""Logging in: a nonce, then a token for its signature."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from horde_core.wire.client import LOGIN_PATH, NONCE_PATH, Nonce, Token
from horde_facilitator.api.description import described
from horde_facilitator.api.given import GivenParts, body_of
from horde_facilitator.auth import check_login
from horde_facilitator.errors import BadRequest, NotAuthenticated, Refused
from horde_facilitator.parts import Parts
from horde_facilitator.records import people

MAX_LOGIN = 16 * 1024

router = APIRouter()


class LoginRequest(BaseModel):
    """Body of a login. Each part may be missing, so that the answer can say which."""

    model_config = ConfigDict(frozen=True)

    hotkey: str = ""
    signature: str = ""
    nonce: str = ""


class LoginError(BaseModel):
    """Body of a refused login."""

    error: str


@router.get(NONCE_PATH)
async def nonce(parts: GivenParts) -> Nonce:
    """A nonce to sign: valid for five minutes, for one login."""
    return Nonce(nonce=parts.nonces.make(parts.clock.now().wall_us))


@router.post(
    LOGIN_PATH,
    response_model=Token,
    responses={400: {"model": LoginError}, 401: {"model": LoginError}},
    openapi_extra=described(LoginRequest),
)
async def login(
    parts: GivenParts, body: Annotated[LoginRequest, body_of(LoginRequest, MAX_LOGIN)]
) -> Token | JSONResponse:
    """Exchange a signed nonce for a token."""
    try:
        return Token(token=await _login(parts, body))
    except Refused as error:
        status = 401 if isinstance(error, NotAuthenticated) else 400
        return JSONResponse({"error": str(error)}, status)


async def _login(parts: Parts, body: LoginRequest) -> str:
    for name in ("hotkey", "signature", "nonce"):
        if not getattr(body, name):
            raise BadRequest(f"Missing {name}")
    now_us = parts.clock.now().wall_us
    expires_us = parts.nonces.expiry(body.nonce, now_us)
    if expires_us is None:
        raise BadRequest("Invalid nonce")
    check_login(body.hotkey, body.signature, body.nonce)
    if not await parts.database.read(lambda connection: people.roles(connection, body.hotkey)):
        raise BadRequest("Hotkey not allowed")
    if not await parts.database.write(lambda tx: people.use_nonce(tx, body.nonce, expires_us)):
        raise BadRequest("Invalid nonce")
    return parts.tokens.make(body.hotkey, now_us)
