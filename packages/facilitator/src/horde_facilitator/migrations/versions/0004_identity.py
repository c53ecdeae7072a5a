"""Refused hotkeys, invitations, classes that executors are bound to, cordons."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("hotkeys", sa.Column("classes", sa.Text(), nullable=True))
    op.create_table(
        "pending_hotkeys",
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hotkey"),
    )
    op.create_table(
        "invitations",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("classes", sa.Text(), nullable=True),
        sa.Column("left", sa.Integer(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_table(
        "cordons",
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hotkey"),
    )
    op.create_table(
        "losses_in_a_row",
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hotkey"),
    )
    op.create_index(
        "attempts_counted",
        "attempts",
        ["executor", "ended_us"],
        unique=False,
        sqlite_where=sa.text("counted"),
        postgresql_where=sa.text("counted"),
    )
