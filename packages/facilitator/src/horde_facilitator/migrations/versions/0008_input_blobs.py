"""Blobs that owners upload as inputs of their jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

IS_THERE = sa.text("state != 'gone'")


def upgrade() -> None:
    op.create_table(
        "input_blobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "input_blobs_of_owner",
        "input_blobs",
        ["owner", "sha256"],
        unique=True,
        sqlite_where=IS_THERE,
        postgresql_where=IS_THERE,
    )
    op.create_table(
        "job_inputs",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["blob"], ["input_blobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "blob"),
        sqlite_with_rowid=False,
    )
    op.create_index("job_inputs_of_blob", "job_inputs", ["blob"], unique=False)
