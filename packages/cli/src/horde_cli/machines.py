"""What operators do with executors: see them, cordon, drain and remove them."""

import asyncio
import sys

from horde_cli import view
from horde_cli.errors import BadUsage
from horde_cli.operator import Operator
from horde_core.wire.operator import EXECUTORS_PATH, Cordon, ExecutorEntry, Executors

POLL_S = 0.5
SHORTEST = 4


async def listing(operator: Operator, *, as_json: bool) -> None:
    """Print all executors."""
    found = await operator.get(EXECUTORS_PATH, Executors)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    headings = (
        "EXECUTOR",
        "ROLE",
        "VERSION",
        "SEEN",
        "BUSY",
        "LOST IN 24 H",
        "RUNS",
        "CORDONED",
        "DOES NOT SERVE",
    )
    view.print_rows(headings, [_row(it) for it in found.executors])


def _row(it: ExecutorEntry) -> tuple[str, ...]:
    return (
        it.hotkey,
        it.role,
        it.version,
        f"{view.ago(it.seen_at)} ago" if it.seen_at else "never",
        f"{len(it.running)} of {it.slots}",
        str(it.losses),
        " ".join(job[:8] for job in it.running),
        _cordon(it),
        "; ".join(f"{name} ({why})" for name, why in it.refused.items()),
    )


def _cordon(it: ExecutorEntry) -> str:
    until = f" (until {it.cordoned_until:%Y-%m-%d %H:%M} UTC)" if it.cordoned_until else ""
    return f"{it.cordoned}{until}" if it.cordoned else ""


async def cordon(operator: Operator, name: str, why: str) -> str:
    """Give an executor no more jobs; returns its whole address."""
    hotkey = (await _find(operator, name)).hotkey
    await operator.put(f"{EXECUTORS_PATH}/{hotkey}/cordon", Cordon(why=why))
    return hotkey


async def uncordon(operator: Operator, name: str) -> str:
    """Give an executor jobs again; returns its whole address."""
    hotkey = (await _find(operator, name)).hotkey
    await operator.delete(f"{EXECUTORS_PATH}/{hotkey}/cordon")
    return hotkey


async def drain(operator: Operator, name: str, why: str, *, wait: bool) -> str:
    """Cordon an executor and wait, if asked to, until its last job is done; returns its whole address."""
    hotkey = await cordon(operator, name, why)
    running = (await _find(operator, hotkey)).running
    if running:
        print(f"horde: {len(running)} jobs still run there: {', '.join(running)}", file=sys.stderr)
    while wait and running:
        await asyncio.sleep(POLL_S)
        running = (await _find(operator, hotkey)).running
    return hotkey


async def remove(operator: Operator, name: str) -> str:
    """Forget an executor; returns its whole address."""
    hotkey = (await _find(operator, name)).hotkey
    await operator.delete(f"{EXECUTORS_PATH}/{hotkey}")
    return hotkey


async def _find(operator: Operator, name: str) -> ExecutorEntry:
    """The executor whose address begins so."""
    if len(name) < SHORTEST:
        raise BadUsage(f"{name!r} is too short", f"give {SHORTEST} or more characters of an address")
    everybody = (await operator.get(EXECUTORS_PATH, Executors)).executors
    found = [it for it in everybody if it.hotkey.startswith(name)]
    if len(found) != 1:
        count = f"{len(found)} executors begin" if found else "no executor begins"
        raise BadUsage(f"{count} with {name!r}", "horde executors shows all")
    return found[0]
