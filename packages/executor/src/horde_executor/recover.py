"""What an agent that was killed left on the machine: containers and workspaces of its attempts.

Nobody can go on with them (the leases of a dead agent run out, and others get its jobs), so all that is left to
do is to stop and remove them. Containers are known by the label with the agent's own hotkey; those of others,
whatever their names, are not touched.
"""

import asyncio
import logging
from pathlib import Path

from horde_executor import workspace
from horde_executor.container import LABEL_EXECUTOR
from horde_executor.engine import Engine

log = logging.getLogger(__name__)


async def clear_leftovers(engine: Engine, executor: str, data: Path) -> None:
    """Remove everything of earlier attempts of this executor. Only before its first claim.

    Raises:
        EngineError, WorkspaceError: something cannot be removed.
    """
    containers = await engine.labelled({LABEL_EXECUTOR: executor})
    spaces = await asyncio.to_thread(workspace.leftovers, data)
    if containers or spaces:
        log.warning("an earlier agent left %d containers and %d workspaces", len(containers), len(spaces))
    for container in containers:
        await engine.remove(container)
    for space in spaces.values():
        await workspace.remove(space)
