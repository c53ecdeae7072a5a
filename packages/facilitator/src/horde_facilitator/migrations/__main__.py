"""``python -m horde_facilitator.migrations PATH``: bring the records at PATH to the newest revision."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from horde_facilitator import database


def upgrade(path: Path) -> None:
    """Run every migration that the records at `path` lack, in one transaction."""
    engine = database.engine(path)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


if __name__ == "__main__":
    upgrade(Path(sys.argv[1]))
