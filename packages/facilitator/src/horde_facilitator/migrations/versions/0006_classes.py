"""Classes that operators define, classes that executors do not serve, the default allowance."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

GIB = 1024**3
BUILT_IN = (
    ("spin_up-4min.gpu-24gb", "a GPU with 24 GB, on demand", 1, 24 * GIB),
    ("always_on.gpu-24gb", "a GPU with 24 GB", 1, 24 * GIB),
    ("always_on.llm.a6000", "an RTX A6000 with 48 GB", 1, 48 * GIB),
    ("always_on.test", "any machine, for tests", 0, None),
    ("always_on.cpu.8c.16gb", "8 cores and 16 GB, by its name", 0, None),
)


def upgrade() -> None:
    classes = op.create_table(
        "classes",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("max_seconds", sa.BigInteger(), nullable=True),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("cpus", sa.Float(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("shm", sa.BigInteger(), nullable=True),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("vram", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    usual = {"weight": 1000, "profile": "default"}
    rows = [
        {"name": name, "description": description, "gpus": gpus, "vram": vram, **usual}
        for name, description, gpus, vram in BUILT_IN
    ]
    op.bulk_insert(classes, rows)
    op.create_table(
        "refused_classes",
        sa.Column("executor_class", sa.String(), nullable=False),
        sa.Column("hotkey", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("executor_class", "hotkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "default_allowance",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("refill_per_hour", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
