"""The first tables: jobs and their history, attempts, artifacts, executors, hotkeys, what is used once."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "executor_classes",
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("executor_class", "hotkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "executors",
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("first_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_boot_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hotkey"),
    )
    op.create_table(
        "hotkeys",
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hotkey", "role"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("exposed", sa.Boolean(), nullable=False),
        sa.Column("shown", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("image_digest", sa.String(), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("budget_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_of_owner", "jobs", ["owner", "id"], unique=False)
    op.create_index(
        "jobs_queued",
        "jobs",
        ["executor_class", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("status = 'received'"),
        postgresql_where=sa.text("status = 'received'"),
    )
    op.create_index(
        "jobs_waiting",
        "jobs",
        ["created_us"],
        unique=False,
        sqlite_where=sa.text("status = 'received'"),
        postgresql_where=sa.text("status = 'received'"),
    )
    op.create_table(
        "used_nonces",
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempts",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("claim", sa.String(), nullable=False),
        sa.Column("claimed_us", sa.BigInteger(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("lease_boot_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_boot_us", sa.BigInteger(), nullable=False),
        sa.Column("next_seq", sa.Integer(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("end", sa.String(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("artifact_count", sa.Integer(), nullable=False),
        sa.Column("artifact_bytes", sa.BigInteger(), nullable=False),
        sa.Column("blobs", sa.String(), nullable=False),
        sa.Column("report", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "attempt"),
    )
    op.create_index(
        "attempts_dropped",
        "attempts",
        ["job"],
        unique=False,
        sqlite_where=sa.text("blobs = 'drop'"),
        postgresql_where=sa.text("blobs = 'drop'"),
    )
    op.create_index("attempts_of_claim", "attempts", ["claim"], unique=False)
    op.create_index(
        "attempts_open",
        "attempts",
        ["lease_boot_us"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NULL"),
        postgresql_where=sa.text("ended_us IS NULL"),
    )
    op.create_table(
        "history",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "requests",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("echo", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job"),
    )
    op.create_table(
        "signatures",
        sa.Column("signatory", sa.String(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.uuid"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("signatory", "signature"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "artifacts",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job", "attempt"], ["attempts.job", "attempts.attempt"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "attempt", "path"),
        sqlite_with_rowid=False,
    )
