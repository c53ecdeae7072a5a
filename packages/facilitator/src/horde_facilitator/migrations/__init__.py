"""The migrations of the records, and how they are run at the start.

Alembic is imported only when there is something to migrate; it runs in a process of its own, so that a service
which runs for months does not keep it in memory.
"""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from horde_facilitator import database
from horde_facilitator.errors import StartError
from horde_facilitator.tables import REVISION


def bring_up_to_date(path: Path) -> None:
    """Create or migrate the records at `path`.

    Raises:
        StartError: the records cannot be opened or migrated.
    """
    if _revision(path) == REVISION:
        return
    done = subprocess.run(  # noqa: S603  # our own module, with our own interpreter
        [sys.executable, "-m", __name__, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartError(f"the records {path} could not be migrated to {REVISION}:\n{done.stderr.strip()}")


def _revision(path: Path) -> str | None:
    if not path.exists():
        return None
    engine = database.engine(path)
    try:
        return _stored(engine)
    finally:
        engine.dispose()


def _stored(engine: Engine) -> str | None:
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
