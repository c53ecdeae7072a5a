"""Requests are sealed. What is stored already waits for the start of the facilitator, which has the key."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.rename_table("requests", "plain_requests")
    if op.get_bind().execute(sa.text("SELECT 1 FROM plain_requests LIMIT 1")).first() is None:
        op.drop_table("plain_requests")
    op.create_table(
        "requests",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("echo", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_index("requests_of_head", "requests", ["head", "job"])
