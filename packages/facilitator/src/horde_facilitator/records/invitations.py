"""Invitations: tokens with which hotkeys that nobody knows yet let themselves in."""

import hashlib
import json

from sqlalchemy import bindparam, insert, select, update

from horde_core.wire.operator import InvitationRequest
from horde_facilitator.clock import SECOND
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest
from horde_facilitator.records import people
from horde_facilitator.records.values import pack
from horde_facilitator.tables import hotkeys, invitations

_FIND = select(invitations).where(invitations.c.token_sha256 == bindparam("hashed"))
_TAKE = update(invitations).where(invitations.c.token_sha256 == bindparam("hashed"), invitations.c.left > 0)
_TAKEN = _TAKE.values(left=invitations.c.left - 1)
_HAS = select(hotkeys.c.hotkey).where(
    hotkeys.c.hotkey == bindparam("address"), hotkeys.c.role == bindparam("wanted")
)


def invite(tx: Transaction, token: str, request: InvitationRequest, operator: str, now_us: int) -> int:
    """Keep a new invitation; returns when it expires, in microseconds."""
    expires_us = now_us + request.expires_s * SECOND
    tx.execute(
        insert(invitations),
        token_sha256=_hashed(token),
        role=request.role.value,
        classes=pack(request.classes) if request.classes else None,
        left=request.count,
        expires_us=expires_us,
        made_by=operator,
    )
    return expires_us


def redeem(tx: Transaction, token: str, hotkey: str, now_us: int) -> None:
    """Let a hotkey in by an invitation. One that came in already uses up nothing, so this may be repeated.

    Raises:
        BadRequest: there is no such invitation any more.
    """
    row = tx.execute(_FIND, hashed=_hashed(token)).one_or_none()
    if row is None or row.expires_us <= now_us:
        if people.roles(tx.connection, hotkey):
            return  # it came in with it before; a unit file may name a token for good
        raise BadRequest("The invitation is unknown or has expired; ask an operator for a new one")
    if tx.execute(_HAS, address=hotkey, wanted=row.role).first() is not None:
        return
    if tx.execute(_TAKEN, hashed=_hashed(token)).rowcount == 0:
        raise BadRequest("The invitation is used up; ask an operator for a new one")
    people.admit(tx, row.role, [hotkey], now_us, json.loads(row.classes) if row.classes else None)


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
