"""Who may come in, who was refused, and what they said before: hotkeys, used nonces, remembered signatures."""

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Table, bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_core.wire.operator import AdmittedHotkey, PendingHotkey, Role
from horde_facilitator.clock import time_of
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest
from horde_facilitator.records.values import pack
from horde_facilitator.tables import cordons, hotkeys, invitations, pending_hotkeys, signatures, used_nonces

EXECUTORS = frozenset({Role.EXECUTOR, Role.TRUSTED})
"""The roles that run jobs."""
TRUSTED = select(hotkeys.c.hotkey).where(hotkeys.c.role == Role.TRUSTED.value)
"""The executors that the operator trusts."""

_ADMIT = insert_or(hotkeys).on_conflict_do_nothing()
_ROLES = select(hotkeys.c.role).where(hotkeys.c.hotkey == bindparam("address"))
_BOUND = select(hotkeys.c.classes).where(hotkeys.c.hotkey == bindparam("address"), hotkeys.c.classes.is_not(None))
_IS_TRUSTED = TRUSTED.where(hotkeys.c.hotkey == bindparam("address"))
_LATEST = pending_hotkeys.c.last_us.desc()
_USE = insert_or(used_nonces).on_conflict_do_nothing()
_SIGNED = select(signatures.c.job).where(
    signatures.c.signatory == bindparam("by"), signatures.c.signature == bindparam("signed")
)


def admit(
    tx: Transaction, role: str, addresses: Iterable[str], at_us: int, classes: Sequence[str] | None = None
) -> None:
    """Add hotkeys to the allow-list of a role; `classes` are the only ones that an executor may then serve."""
    for address in sorted(addresses):
        tx.execute(_ADMIT, hotkey=address, role=role, added_us=at_us, classes=pack(classes) if classes else None)
        tx.execute(delete(pending_hotkeys).where(pending_hotkeys.c.hotkey == address))


def roles(connection: Connection, address: str) -> frozenset[str]:
    """The roles of a hotkey; none when it is on no list."""
    rows = connection.execute(_ROLES, {"address": address}).scalars()
    return frozenset(str(role) for role in rows)


def is_trusted(connection: Connection, address: str) -> bool:
    """Whether this is an executor that the operator trusts."""
    return connection.execute(_IS_TRUSTED, {"address": address}).first() is not None


def dismiss(tx: Transaction, role: str, address: str) -> bool:
    """Take a role from a hotkey; False if it has no such role.

    Raises:
        BadRequest: nobody would be left who could let anybody in.
    """
    if role == Role.OPERATOR:
        others = select(hotkeys.c.hotkey).where(hotkeys.c.role == role, hotkeys.c.hotkey != address)
        if tx.execute(others.limit(1)).first() is None:
            raise BadRequest(f"{address} is the only operator; let another one in first")
    gone = delete(hotkeys).where(hotkeys.c.hotkey == address, hotkeys.c.role == role)
    return tx.execute(gone).rowcount == 1


def everybody(connection: Connection) -> list[AdmittedHotkey]:
    """The allow-list, in the order in which it grew."""
    rows = connection.execute(select(hotkeys).order_by(hotkeys.c.added_us, hotkeys.c.hotkey, hotkeys.c.role))
    return [
        AdmittedHotkey(
            hotkey=row.hotkey,
            role=row.role,
            added_at=time_of(row.added_us),
            classes=json.loads(row.classes) if row.classes else None,
        )
        for row in rows
    ]


def classes_of(connection: Connection, address: str) -> frozenset[str] | None:
    """The only classes that an executor may serve; None: all."""
    bound = [set[str](json.loads(text)) for text in connection.execute(_BOUND, {"address": address}).scalars()]
    return frozenset[str]().union(*bound) if bound else None


def refuse(tx: Transaction, address: str, role: str, at_us: int, *, origin: str, most: int) -> None:
    """Remember a hotkey that was refused at a login, and no more than the latest `most` of them."""
    row = insert_or(pending_hotkeys).values(
        hotkey=address, role=role, times=1, first_us=at_us, last_us=at_us, address=origin
    )
    again = {"role": role, "times": pending_hotkeys.c.times + 1, "last_us": at_us, "address": origin}
    tx.execute(row.on_conflict_do_update(index_elements=[pending_hotkeys.c.hotkey], set_=again))
    older = select(pending_hotkeys.c.hotkey).order_by(_LATEST, pending_hotkeys.c.hotkey).limit(-1).offset(most)
    tx.execute(delete(pending_hotkeys).where(pending_hotkeys.c.hotkey.in_(older)))


def pending(connection: Connection) -> list[PendingHotkey]:
    """The hotkeys that were refused, the latest first."""
    return [
        PendingHotkey(
            hotkey=row.hotkey,
            role=row.role,
            times=row.times,
            first_at=time_of(row.first_us),
            last_at=time_of(row.last_us),
            address=row.address,
        )
        for row in connection.execute(select(pending_hotkeys).order_by(_LATEST))
    ]


def use_nonce(tx: Transaction, nonce: str, expires_us: int) -> bool:
    """Mark a nonce as used; False when it was used before."""
    return tx.execute(_USE, nonce=nonce, expires_us=expires_us).rowcount == 1


def job_signed(connection: Connection, signatory: str, signature: bytes) -> str | None:
    """The job that was created with this signature, if it is remembered."""
    key = {"by": signatory, "signed": signature}
    return connection.execute(_SIGNED, key).scalar_one_or_none()


def remember_signature(tx: Transaction, signatory: str, signature: bytes, job: str, expires_us: int) -> None:
    """Remember which job a signature created."""
    tx.execute(insert(signatures), signatory=signatory, signature=signature, job=job, expires_us=expires_us)


def forget_expired(tx: Transaction, now_us: int) -> None:
    """Forget nonces, signatures, invitations and cordons that have expired; they count no more already."""
    for table in (used_nonces, signatures, invitations, cordons):
        _forget(tx, table, now_us)


def _forget(tx: Transaction, table: Table, now_us: int) -> None:
    tx.execute(delete(table).where(table.c.expires_us < now_us))
