"""Prices, allowances and the ledger. Jobs that are there already have no price, and nothing is held for them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RESERVED = sa.text("kind = 'reserve'")
CLOSED = sa.text("kind IN ('settle', 'release')")
CHANGES = ("UPDATE", "DELETE")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("price", sa.BigInteger()))
    op.add_column("jobs", sa.Column("payment", sa.String()))
    op.create_table(
        "allowances",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("refill_per_hour", sa.BigInteger(), nullable=False),
        sa.Column("filled_us", sa.BigInteger(), nullable=False),
        sa.Column("carry", sa.BigInteger(), nullable=False),
        sa.Column("by_default", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner", "executor_class"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ledger",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("job", sa.String()),
        sa.Column("executor", sa.String()),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("allowance", sa.BigInteger()),
        sa.Column("available", sa.BigInteger()),
        sa.Column("held", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    for name, which in (("ledger_reserved", RESERVED), ("ledger_closed", CLOSED)):
        op.create_index(name, "ledger", ["job"], unique=True, sqlite_where=which, postgresql_where=which)
    op.create_index("ledger_of_allowance", "ledger", ["allowance", "id"])
    op.create_index("ledger_of_owner", "ledger", ["owner", "id"])
    for change in CHANGES:
        op.execute(
            f"CREATE TRIGGER ledger_without_{change.lower()} BEFORE {change} ON ledger "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
