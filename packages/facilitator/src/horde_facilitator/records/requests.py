"""The requests that made jobs, as they are stored: sealed, and wiped when their job has ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, inspect, select, text, update

from horde_core.lifecycle import END
from horde_facilitator.database import Transaction
from horde_facilitator.sealing import HEAD_BYTES
from horde_facilitator.tables import jobs, requests

PLAIN = "plain_requests"
"""The table of requests that were stored before there were seals; gone once they are sealed."""

WIPED = b""
"""In the place of the body of a job that has ended."""

_BATCH = 100

_BODY = select(requests.c.body).where(requests.c.job == bindparam("of"))
_ECHOES = select(requests.c.job, requests.c.echo).where(requests.c.job.in_(bindparam("uuids", expanding=True)))
_CHANGE = update(requests).where(requests.c.job == bindparam("of"))
_WIPE = _CHANGE.values(body=WIPED)
_ROW = select(requests.c.job, requests.c.body, requests.c.echo).where(requests.c.job == bindparam("of"))
_NEXT_HEAD = select(requests.c.head).where(requests.c.head > bindparam("after")).order_by(requests.c.head).limit(1)
_SEALED_WITH = (
    select(requests.c.job)
    .where(requests.c.head == bindparam("of_head"), requests.c.job > bindparam("after"))
    .order_by(requests.c.job)
    .limit(_BATCH)
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as its row holds it: sealed, or plain if it is from before there were seals."""

    job: str
    body: bytes
    echo: bytes

    @property
    def columns(self) -> dict[str, bytes]:
        """What its row holds besides the job."""
        return {"head": self.echo[:HEAD_BYTES], "echo": self.echo, "body": self.body}


def add(connection: Connection, new: Request) -> None:
    """Store the request of a job."""
    connection.execute(insert(requests), {"job": new.job, **new.columns})


def body(connection: Connection, job: str) -> bytes:
    """The sealed body of a job that has not ended."""
    return connection.execute(_BODY, {"of": job}).scalar_one()


def echoes(connection: Connection, uuids: Sequence[str]) -> dict[str, bytes]:
    """The sealed echoes of a few jobs."""
    return {str(job): bytes(echo) for job, echo in connection.execute(_ECHOES, {"uuids": uuids})}


def wipe(tx: Transaction, job: str) -> None:
    """Forget the body of a job; nobody will run it any more."""
    tx.execute(_WIPE, of=job)


def heads(connection: Connection) -> set[bytes]:
    """What the stored seals begin with. Looks at one row for each, not at all."""
    found = set[bytes]()
    head = connection.execute(_NEXT_HEAD, {"after": b""}).scalar()
    while head is not None:
        found.add(head)
        head = connection.execute(_NEXT_HEAD, {"after": head}).scalar()
    return found


def sealed_with(connection: Connection, head: bytes, after: str) -> list[str]:
    """The next few of the jobs whose seals begin so, in the order of their ids."""
    return [str(job) for job in connection.execute(_SEALED_WITH, {"of_head": head, "after": after}).scalars()]


def row(connection: Connection, job: str) -> Request:
    """The row of a job."""
    return Request(**connection.execute(_ROW, {"of": job}).mappings().one())


def replace(connection: Connection, new: Request) -> None:
    """Put other seals of the same in their place."""
    connection.execute(_CHANGE, {"of": new.job, **new.columns})


def has_plain(connection: Connection) -> bool:
    """Whether requests from before there were seals are waiting to be sealed."""
    return inspect(connection).has_table(PLAIN)


def take_plain(connection: Connection) -> Iterator[Request]:
    """The requests from before there were seals, one at a time; bodies of jobs that have ended are wiped.

    At the end they are gone from the store, and what they filled is overwritten.
    """
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    table = text(f"SELECT job FROM {PLAIN}")  # noqa: S608 - a constant
    for job in list(connection.execute(table).scalars()):
        ended = connection.execute(select(jobs.c.status).where(jobs.c.uuid == job)).scalar_one() in END
        one = text(f"SELECT body, echo FROM {PLAIN} WHERE job = :job")  # noqa: S608 - a constant
        found = connection.execute(one, {"job": job}).one()
        yield Request(job, WIPED if ended else found.body, str(found.echo).encode())
    connection.exec_driver_sql(f"DROP TABLE {PLAIN}")
