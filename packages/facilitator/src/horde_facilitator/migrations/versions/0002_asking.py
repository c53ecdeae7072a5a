"""Fair share, searching, limits of the queue, idempotency keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

QUEUED = sa.text("status = 'received'")
LISTED = {
    "jobs_of_status": ["owner", "status", "id"],
    "jobs_of_namespace": ["owner", "namespace", "id"],
    "jobs_of_image": ["owner", "image", "id"],
    "jobs_of_time": ["owner", "created_us"],
}
WAITING: dict[str, list[Any]] = {
    "jobs_queued": ["executor_class", "owner", sa.literal_column("priority DESC"), "turn", "id"],
    "jobs_queued_of_owner": ["owner", "executor_class", "priority", "namespace", "turn"],
    "jobs_waiting": ["queue_until_us"],
}
FILL = """
UPDATE jobs SET
    queue_until_us = created_us + 86400000000,
    image = coalesce((SELECT json_extract(echo, '$.docker_image') FROM requests WHERE job = jobs.uuid), '')
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("image", sa.String(), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("queue_until_us", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(FILL)
    op.drop_index("jobs_queued", "jobs")
    op.drop_index("jobs_waiting", "jobs")
    for name, columns in LISTED.items():
        op.create_index(name, "jobs", columns)
    for name, columns in WAITING.items():
        op.create_index(name, "jobs", columns, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_table(
        "served_owners",
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("served", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("executor_class", "owner"),
        sqlite_with_rowid=False,
    )
    op.create_index("served_last", "served_owners", ["served"])
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner", "idempotency_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_keys_of_job", "idempotency_keys", ["job"])
