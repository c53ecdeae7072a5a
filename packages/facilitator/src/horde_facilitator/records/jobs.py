"""Jobs: made, found, cancelled."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, bindparam, func, insert, select, update

from horde_core.lifecycle import HELD, QUEUED, Status
from horde_core.outcomes import Rejected, RejectionReason, Stage
from horde_facilitator.bus import class_topic, hold_topic, job_topic
from horde_facilitator.clock import Now
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import cancelled
from horde_facilitator.records import endings, ledger, moves, requests, turns
from horde_facilitator.records.requests import Request
from horde_facilitator.records.values import CANCEL, Entry, Job, Lane
from horde_facilitator.tables import IS_QUEUED, history, jobs

T = TypeVar("T")

CHUNK = 500
"""How many values one statement compares with at most."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that was admitted. `body` and `echo`, the part of it that replies repeat, are sealed.

    `price` is in thousandths of an executor-second. `trusted` and `work_sha256` are described in `tables`.
    """

    uuid: str
    owner: str
    executor_class: str
    namespace: str
    max_attempts: int
    budget_us: int
    queue_us: int
    body: bytes
    echo: bytes
    image: str = ""
    priority: int = 0
    price: int = 0
    trusted: bool = False
    work_sha256: bytes | None = None

    @property
    def lane(self) -> Lane:
        """The queue that it goes into."""
        return Lane(self.executor_class, self.trusted)


_OF_UUID = select(*Job.columns(jobs)).where(jobs.c.uuid == bindparam("of"))
_OF_OWNER = _OF_UUID.where(jobs.c.owner == bindparam("owner"))
_SEVERAL = select(*Job.columns(jobs)).where(
    jobs.c.uuid.in_(bindparam("uuids", expanding=True)), jobs.c.owner == bindparam("owner")
)
_QUEUED = select(func.count()).where(jobs.c.owner == bindparam("owner"), IS_QUEUED)
_ENTRIES = (
    select(*Entry.columns(history))
    .where(
        history.c.job.in_(bindparam("uuids", expanding=True)),
        history.c.seq >= bindparam("since"),
    )
    .order_by(history.c.job, history.c.seq)
)
UPDATE = update(jobs).where(jobs.c.uuid == bindparam("of"))
"""Changes the columns that are given as parameters, of the job `of`. The status is changed by `moves` alone."""


def create(tx: Transaction, new: NewJob, now: Now, rejection: Rejected | None = None) -> None:
    """Store a job, reserve its price and put it into the queue of its class; or end it with a rejection."""
    rejection = rejection or _reserve(tx, new, now)
    tx.execute(
        insert(jobs),
        uuid=new.uuid,
        owner=new.owner,
        executor_class=new.executor_class,
        namespace=new.namespace,
        image=new.image,
        trusted=new.trusted,
        work_sha256=new.work_sha256,
        priority=new.priority,
        turn=turns.next_turn(tx.connection, new.owner, new.lane, new.priority, new.namespace),
        status=Status.SENT.value,
        attempt=0,
        losses=0,
        max_attempts=new.max_attempts,
        begun=False,
        exposed=False,
        shown=0,
        entries=1,
        budget_us=new.budget_us,
        created_us=now.wall_us,
        updated_us=now.wall_us,
        queue_until_us=now.wall_us + new.queue_us,
        deadline_us=now.wall_us + new.queue_us + new.max_attempts * new.budget_us,
        price=new.price,
        payment=None if rejection else ledger.Payment.RESERVED.value,
    )
    requests.add(tx.connection, Request(new.uuid, new.body, new.echo))
    moves.append(tx, Entry(new.uuid, 0, Status.SENT.value, 0, now.wall_us, None))
    if rejection is not None:
        endings.reject(tx, new.uuid, rejection, now)
        return
    moves.move(tx, new.uuid, Status.RECEIVED, 0, now.wall_us)
    tx.wake(class_topic(new.executor_class))


def _reserve(tx: Transaction, new: NewJob, now: Now) -> Rejected | None:
    wanted = ledger.Reservation(new.uuid, new.owner, new.executor_class, new.price)
    refusal = ledger.reserve(tx, wanted, now)
    return Rejected(reason=RejectionReason.NO_ALLOWANCE, message=refusal) if refusal else None


def queued(connection: Connection, owner: str) -> int:
    """How many jobs of the owner wait for an executor."""
    return int(connection.execute(_QUEUED, {"owner": owner}).scalar_one())


def find(connection: Connection, uuid: str, owner: str | None = None) -> Job | None:
    """The job, if there is one (of this owner)."""
    query = _OF_UUID if owner is None else _OF_OWNER
    row = connection.execute(query, {"of": uuid, "owner": owner}).mappings().one_or_none()
    return Job.read(row) if row else None


def of_owner(connection: Connection, owner: str, uuids: Sequence[str]) -> list[Job]:
    """Those of the jobs that the owner has."""
    found: list[Job] = []
    for chunk in chunks(uuids):
        rows = connection.execute(_SEVERAL, {"uuids": chunk, "owner": owner}).mappings()
        found.extend(Job.read(row) for row in rows)
    return found


def entries(connection: Connection, since: Mapping[str, int]) -> dict[str, list[Entry]]:
    """The history of several jobs, each from the given line on."""
    found: dict[str, list[Entry]] = {uuid: [] for uuid in since}
    for chunk in chunks(list(since)):
        least = min(since[uuid] for uuid in chunk)
        for row in connection.execute(_ENTRIES, {"uuids": chunk, "since": least}).mappings():
            entry = Entry.read(row)
            if entry.seq >= since[entry.job]:
                found[entry.job].append(entry)
    return found


def echoes(connection: Connection, uuids: Sequence[str]) -> dict[str, bytes]:
    """What replies repeat of the requests, sealed."""
    found: dict[str, bytes] = {}
    for chunk in chunks(uuids):
        found.update(requests.echoes(connection, chunk))
    return found


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, as many at a time as one statement compares with."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def cancel(tx: Transaction, job: Job, now: Now) -> None:
    """Ask for the end of a job: a queued one ends at once, of a running one the executor is told."""
    if job.status in QUEUED:
        endings.end(tx, job, cancelled(Stage.QUEUE), now, reported_by="sdk")
    elif job.status in HELD and job.target != CANCEL:
        tx.execute(UPDATE, of=job.uuid, target=CANCEL, updated_us=now.wall_us)
        tx.wake(hold_topic(job.uuid), job_topic(job.uuid))
