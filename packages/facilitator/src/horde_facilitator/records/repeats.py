"""Requests that must not be done twice, by the key that their owner gave them."""

from sqlalchemy import Connection, bindparam, insert, select

from horde_facilitator.database import Transaction
from horde_facilitator.errors import KeyReused
from horde_facilitator.tables import idempotency_keys

_MADE = select(idempotency_keys.c.job, idempotency_keys.c.body_sha256).where(
    idempotency_keys.c.owner == bindparam("by"), idempotency_keys.c.idempotency_key == bindparam("given")
)


def job_made(connection: Connection, owner: str, key: str, body_sha256: bytes) -> str | None:
    """The job that the owner's request with this key made, if there was one.

    Raises:
        KeyReused: that request said something else.
    """
    row = connection.execute(_MADE, {"by": owner, "given": key}).one_or_none()
    if row is None:
        return None
    if row.body_sha256 != body_sha256:
        raise KeyReused(
            f"Idempotency-Key {key!r} was given to another request, which made job {row.job}. "
            "Repeat that request unchanged, or take another key."
        )
    return str(row.job)


def remember(tx: Transaction, owner: str, key: str, body_sha256: bytes, job: str) -> None:
    """Remember which job the request with this key made."""
    tx.connection.execute(
        insert(idempotency_keys),
        {"owner": owner, "idempotency_key": key, "body_sha256": body_sha256, "job": job},
    )
