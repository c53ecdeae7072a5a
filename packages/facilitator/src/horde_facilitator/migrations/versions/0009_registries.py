"""Credentials for private registries."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "registry_credentials",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("registry", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("set_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "registry"),
        sqlite_with_rowid=False,
    )
