"""Jobs for trusted executors only, what makes two jobs comparable, reports of cheating."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

QUEUED = sa.text("status = 'received'")
QUEUE: dict[str, list[Any]] = {
    "jobs_queued": ["executor_class", "trusted", "owner", sa.literal_column("priority DESC"), "turn", "id"],
    "jobs_queued_of_owner": ["owner", "executor_class", "trusted", "priority", "namespace", "turn"],
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trusted", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobs", sa.Column("work_sha256", sa.LargeBinary(), nullable=True))
    for name, columns in QUEUE.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", columns, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.add_column("cordons", sa.Column("reported_job", sa.String(), nullable=True))
    op.create_table(
        "cheat_reports",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("reporter", sa.String(), nullable=False),
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("trusted_job", sa.String(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("reported_us", sa.BigInteger(), nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("out_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_index("cheat_reports_of_reporter", "cheat_reports", ["reporter", "state"])
    op.create_index("cheat_reports_of_executor", "cheat_reports", ["executor", "out_until_us"])
    op.create_index("cheat_reports_in_time", "cheat_reports", ["reported_us"])
