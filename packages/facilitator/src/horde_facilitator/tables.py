"""The tables. Times are integer microseconds: `_us` is wall time, `_boot_us` the machine's boot time.

What a status is lives in one row of `jobs`; `history` repeats it, append-only. The body of a request, which may
be large, has a table of its own, because SQLite writes a whole row anew whenever one column changes.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal,
    literal_column,
)

from horde_core.lifecycle import Status

REVISION = "0009"
"""The newest migration; the stored one is compared with it at every start."""

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")


def _of_job() -> Column[str]:
    return Column("job", String, ForeignKey("jobs.uuid", ondelete="CASCADE"), primary_key=True)


jobs = Table(
    "jobs",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("uuid", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("executor_class", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("image", String, nullable=False, server_default=""),
    Column("trusted", Boolean, nullable=False, server_default=false()),
    Column("work_sha256", LargeBinary),
    Column("priority", Integer, nullable=False),
    Column("turn", BigInteger, nullable=False, server_default="0"),
    Column("status", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("target", String),
    Column("begun", Boolean, nullable=False),
    Column("exposed", Boolean, nullable=False),
    Column("shown", Integer, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("image_digest", String),
    Column("progress", Text),
    Column("outcome", Text),
    Column("price", BigInteger),
    Column("payment", String),
    Column("budget_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("queue_until_us", BigInteger, nullable=False, server_default="0"),
    Column("deadline_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""`trusted`: for trusted executors only. `work_sha256`: the same for jobs that do the same work; see `admission`.
`turn`: orders the queued jobs of one owner, class and priority so that namespaces alternate; see `turns`.
`begun`: an attempt was confirmed once. `exposed`: something left the machine, so no further attempt.
`shown`: the attempt whose logs and artifacts are the job's (0: none yet). `entries`: rows of its history.
`price`: thousandths of an executor-second; `payment`: what became of it; neither in jobs of the first records."""

IS_QUEUED = jobs.c.status == literal(Status.RECEIVED.value, literal_execute=True)
"""Printed into the statement, not bound: only so can SQLite see that the partial index serves it."""

# What an owner lists and searches, newest first.
Index("jobs_of_owner", jobs.c.owner, jobs.c.id)
Index("jobs_of_status", jobs.c.owner, jobs.c.status, jobs.c.id)
Index("jobs_of_namespace", jobs.c.owner, jobs.c.namespace, jobs.c.id)
Index("jobs_of_image", jobs.c.owner, jobs.c.image, jobs.c.id)
Index("jobs_of_time", jobs.c.owner, jobs.c.created_us)


def _queue_index(name: str, *columns: ColumnElement[Any]) -> None:
    Index(name, *columns, sqlite_where=IS_QUEUED, postgresql_where=IS_QUEUED)


_LANE = (jobs.c.executor_class, jobs.c.trusted)
_queue_index("jobs_queued", *_LANE, jobs.c.owner, jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)
_queue_index("jobs_queued_of_owner", jobs.c.owner, *_LANE, jobs.c.priority, jobs.c.namespace, jobs.c.turn)
_queue_index("jobs_waiting", jobs.c.queue_until_us)

served_owners = Table(
    "served_owners",
    metadata,
    Column("executor_class", String, primary_key=True),
    Column("owner", String, primary_key=True),
    Column("served", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""When an executor that serves the class last took a job of the owner, counted in claims. None: never."""
Index("served_last", served_owners.c.served)

requests = Table(
    "requests",
    metadata,
    _of_job(),
    Column("head", LargeBinary, nullable=False),
    Column("echo", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Sealed (see `sealing`): the body exactly as it was signed, empty once the job has ended, and the part of it that
replies repeat, as JSON. `head` is what both seals begin with, so that those of an older key are found. The body
comes last, because SQLite reads all that stands before what is asked for."""
Index("requests_of_head", requests.c.head, requests.c.job)

registry_credentials = Table(
    "registry_credentials",
    metadata,
    Column("owner", String, primary_key=True),
    Column("registry", String, primary_key=True),
    Column("username", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("set_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""With what the images of an owner's jobs are pulled from a registry. `sealed`: the password."""

history = Table(
    "history",
    metadata,
    _of_job(),
    Column("seq", Integer, primary_key=True),
    Column("status", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("metadata", Text),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    _of_job(),
    Column("attempt", Integer, primary_key=True),
    Column("executor", String, nullable=False),
    Column("claim", String, nullable=False),
    Column("claimed_us", BigInteger, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("lease_boot_us", BigInteger, nullable=False),
    Column("deadline_boot_us", BigInteger, nullable=False),
    Column("next_seq", Integer, nullable=False),
    Column("ended_us", BigInteger),
    Column("end", String),
    Column("counted", Boolean, nullable=False),
    Column("artifact_count", Integer, nullable=False),
    Column("artifact_bytes", BigInteger, nullable=False),
    Column("blobs", String, nullable=False),
    Column("report", Text),
)
"""`end`: reported, returned, lapsed, lost or ended (by the facilitator). `counted`: it was one of the job's
losses. `blobs`: kept, drop (not needed any more) or gone. `report`: what the outcome said besides the outcome."""

IS_COUNTED: ColumnElement[Any] = literal_column("counted")
"""As it is printed in the index, so that SQLite sees that the index serves it."""
Index(
    "attempts_counted",
    attempts.c.executor,
    attempts.c.ended_us,
    sqlite_where=IS_COUNTED,
    postgresql_where=IS_COUNTED,
)
IS_OPEN = attempts.c.ended_us.is_(None)
Index("attempts_of_claim", attempts.c.claim)
Index("attempts_open", attempts.c.lease_boot_us, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
IS_DROPPED = attempts.c.blobs == literal("drop", literal_execute=True)
Index("attempts_dropped", attempts.c.job, sqlite_where=IS_DROPPED, postgresql_where=IS_DROPPED)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("path", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    ForeignKeyConstraint(["job", "attempt"], ["attempts.job", "attempts.attempt"], ondelete="CASCADE"),
    sqlite_with_rowid=False,
)

classes = Table(
    "classes",
    metadata,
    Column("name", String, primary_key=True),
    Column("description", String, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("max_seconds", BigInteger),
    Column("profile", String, nullable=False),
    Column("cpus", Float),
    Column("memory", BigInteger),
    Column("shm", BigInteger),
    Column("gpus", Integer, nullable=False),
    Column("vram", BigInteger),
)
"""The classes that jobs may ask for, with their terms (`horde_core.terms`). The first five came by a migration."""

executors = Table(
    "executors",
    metadata,
    Column("hotkey", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("first_seen_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
    Column("seen_boot_us", BigInteger, nullable=False),
)

executor_classes = Table(
    "executor_classes",
    metadata,
    Column("executor_class", String, primary_key=True),
    Column("hotkey", String, primary_key=True),
    sqlite_with_rowid=False,
)
"""Which classes an executor serves, by its last claim."""

refused_classes = Table(
    "refused_classes",
    metadata,
    Column("executor_class", String, primary_key=True),
    Column("hotkey", String, primary_key=True),
    Column("why", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Which classes an executor offered with its last claim and does not serve, and why."""

hotkeys = Table(
    "hotkeys",
    metadata,
    Column("hotkey", String, primary_key=True),
    Column("role", String, primary_key=True),
    Column("added_us", BigInteger, nullable=False),
    Column("classes", Text),
    sqlite_with_rowid=False,
)
"""`classes`: the only ones that an executor may serve, as a JSON list; null: all."""

pending_hotkeys = Table(
    "pending_hotkeys",
    metadata,
    Column("hotkey", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("times", Integer, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("address", String, nullable=False),
)
"""Hotkeys that were refused at a login; `address` is where the last one came from."""

invitations = Table(
    "invitations",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("role", String, nullable=False),
    Column("classes", Text),
    Column("left", Integer, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("made_by", String, nullable=False),
)
"""`left`: how many hotkeys may still come in with it. Of the token itself only the hash is kept."""

cordons = Table(
    "cordons",
    metadata,
    Column("hotkey", String, primary_key=True),
    Column("why", Text, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("reported_job", String),
)
"""Executors that get no jobs, and why; until they are let in again, or `expires_us`. `reported_job`: the job whose
cheat report brought it about."""

cheat_reports = Table(
    "cheat_reports",
    metadata,
    Column("job", String, primary_key=True),
    Column("reporter", String, nullable=False),
    Column("executor", String, nullable=False),
    Column("trusted_job", String),
    Column("details", Text),
    Column("state", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("reported_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger),
    Column("decided_by", String),
    Column("out_until_us", BigInteger),
)
"""Reports that an executor cheated, one for each job. They outlive the jobs. `decided_by`: the operator who did;
null: the facilitator itself. `out_until_us`: how long it takes the executor out."""
Index("cheat_reports_of_reporter", cheat_reports.c.reporter, cheat_reports.c.state)
Index("cheat_reports_of_executor", cheat_reports.c.executor, cheat_reports.c.out_until_us)
Index("cheat_reports_in_time", cheat_reports.c.reported_us)

losses_in_a_row = Table(
    "losses_in_a_row",
    metadata,
    Column("hotkey", String, primary_key=True),
    Column("losses", Integer, nullable=False),
)
"""How many attempts an executor has lost since it last brought a result; no row: none."""

used_nonces = Table(
    "used_nonces",
    metadata,
    Column("nonce", String, primary_key=True),
    Column("expires_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

signatures = Table(
    "signatures",
    metadata,
    Column("signatory", String, primary_key=True),
    Column("signature", LargeBinary, primary_key=True),
    Column("job", String, ForeignKey("jobs.uuid", ondelete="CASCADE"), nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", String, primary_key=True),
    Column("idempotency_key", String, primary_key=True),
    Column("job", String, ForeignKey("jobs.uuid", ondelete="CASCADE"), nullable=False),
    Column("body_sha256", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Keys that owners gave to requests. Remembered as long as the job that the request made."""
Index("idempotency_keys_of_job", idempotency_keys.c.job)

allowances = Table(
    "allowances",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False),
    Column("executor_class", String, nullable=False),
    Column("cap", BigInteger, nullable=False),
    Column("refill_per_hour", BigInteger, nullable=False),
    Column("filled_us", BigInteger, nullable=False),
    Column("carry", BigInteger, nullable=False),
    Column("by_default", Boolean, nullable=False),
    UniqueConstraint("owner", "executor_class"),
    sqlite_autoincrement=True,
)
"""The terms of allowances; what is left of them stands in their last entries. See `allowances.Account`."""

default_allowance = Table(
    "default_allowance",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("cap", BigInteger, nullable=False),
    Column("refill_per_hour", BigInteger, nullable=False),
)
"""What everybody may spend on each class who was given nothing else: one row, or none if that is not limited."""

ledger = Table(
    "ledger",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("executor_class", String, nullable=False),
    Column("job", String),
    Column("executor", String),
    Column("amount", BigInteger, nullable=False),
    Column("allowance", BigInteger),
    Column("available", BigInteger),
    Column("held", BigInteger),
    sqlite_autoincrement=True,
)
"""Append-only, which triggers see to; it outlives the jobs and allowances that it names. See `records.ledger`."""

# A job is reserved for once, and paid or released once.
IS_RESERVED = ledger.c.kind == literal("reserve", literal_execute=True)
IS_CLOSED = ledger.c.kind.in_([literal(kind, literal_execute=True) for kind in ("settle", "release")])
Index("ledger_reserved", ledger.c.job, unique=True, sqlite_where=IS_RESERVED, postgresql_where=IS_RESERVED)
Index("ledger_closed", ledger.c.job, unique=True, sqlite_where=IS_CLOSED, postgresql_where=IS_CLOSED)
Index("ledger_of_allowance", ledger.c.allowance, ledger.c.id)
Index("ledger_of_owner", ledger.c.owner, ledger.c.id)
