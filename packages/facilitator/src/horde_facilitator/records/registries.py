"""Credentials for private registries: one for each owner and registry, the password sealed."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert as insert_or

from horde_core.wire.registries import RegistryEntry
from horde_facilitator.clock import Now, time_of
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest
from horde_facilitator.records.values import Credentials
from horde_facilitator.tables import registry_credentials

MOST = 100
"""Registries of one owner."""

_OF_OWNER = registry_credentials.c.owner == bindparam("of_owner")
_IS_THIS = (_OF_OWNER, registry_credentials.c.registry == bindparam("of_registry"))
_COLUMNS = Credentials.columns(registry_credentials)
_ONE = select(*_COLUMNS).where(*_IS_THIS)
_COUNT = select(func.count()).where(_OF_OWNER, registry_credentials.c.registry != bindparam("of_registry"))
_REMOVE = delete(registry_credentials).where(*_IS_THIS)
_LISTING = (
    select(registry_credentials.c.registry, registry_credentials.c.username, registry_credentials.c.set_us)
    .where(_OF_OWNER)
    .order_by(registry_credentials.c.registry)
)
_insert = insert_or(registry_credentials)
_PUT = _insert.on_conflict_do_update(
    index_elements=[registry_credentials.c.owner, registry_credentials.c.registry],
    set_={name: _insert.excluded[name] for name in ("username", "sealed", "set_us")},
)


@dataclass(frozen=True, slots=True)
class Whose:
    """Which credentials: an owner's for a registry, by its one name (`horde_core.images.parse_registry`)."""

    owner: str
    registry: str

    def __str__(self) -> str:
        return f"{self.owner} for {self.registry}"


def put(tx: Transaction, new: Credentials, now: Now) -> None:
    """Store credentials, in the place of those that were there.

    Raises:
        BadRequest: the owner has as many as one may have.
    """
    key = {"of_owner": new.owner, "of_registry": new.registry}
    if int(tx.connection.execute(_COUNT, key).scalar_one()) >= MOST:
        raise BadRequest.field("registry", f"there are credentials for {MOST} registries, which is the most")
    tx.execute(_PUT, **new.stored(), set_us=now.wall_us)


def remove(tx: Transaction, whose: Whose) -> bool:
    """Forget credentials; False if there are none."""
    return tx.execute(_REMOVE, of_owner=whose.owner, of_registry=whose.registry).rowcount == 1


def find(connection: Connection, whose: Whose) -> Credentials | None:
    """An owner's credentials for a registry."""
    key = {"of_owner": whose.owner, "of_registry": whose.registry}
    row = connection.execute(_ONE, key).mappings().one_or_none()
    return Credentials.read(row) if row else None


def listing(connection: Connection, owner: str) -> list[RegistryEntry]:
    """The registries for which an owner has given credentials."""
    rows = connection.execute(_LISTING, {"of_owner": owner})
    return [
        RegistryEntry(registry=row.registry, username=row.username, set_at=time_of(row.set_us)) for row in rows
    ]


def every(connection: Connection) -> Iterator[Credentials]:
    """All that are stored, to be sealed anew: they are few."""
    rows = connection.execute(select(*_COLUMNS)).mappings().all()
    return (Credentials.read(row) for row in rows)


def reseal(tx: Connection, whose: Whose, sealed: bytes) -> None:
    """Put another seal of the same in its place."""
    change = registry_credentials.update().where(*_IS_THIS).values(sealed=sealed)
    tx.execute(change, {"of_owner": whose.owner, "of_registry": whose.registry})
