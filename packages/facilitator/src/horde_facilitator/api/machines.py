"""Operators and the machines that run jobs."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from horde_core.wire.operator import EXECUTORS_PATH, Cordon, Executors
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, GivenParts, Operator, body_of
from horde_facilitator.api.hotkeys import DONE
from horde_facilitator.api.refusals import answers
from horde_facilitator.database import Transaction
from horde_facilitator.errors import NotFound
from horde_facilitator.parts import Parts
from horde_facilitator.records import cordons, machines

ONE = EXECUTORS_PATH + "/{hotkey}"

router = APIRouter()


@router.get(EXECUTORS_PATH, responses=answers(401, 403))
async def listing(parts: GivenParts, _operator: Operator) -> Executors:
    """All executors, with what they run, what they lost and whether they get jobs."""
    now = parts.clock.now()
    return Executors(executors=await parts.database.read(lambda connection: machines.listing(connection, now)))


@router.put(
    ONE + "/cordon",
    status_code=204,
    responses={**answers(400, 401, 403, 404), **DONE},
    openapi_extra=described(Cordon),
)
async def cordon(
    hotkey: str, parts: GivenParts, operator: Operator, body: Annotated[Cordon, body_of(Cordon, MIB)]
) -> Response:
    """Give an executor no more jobs. What it runs, it may finish."""
    why = body.why or f"by {operator}"
    return await _change(parts, hotkey, lambda tx: cordons.cordon(tx, hotkey, why, parts.clock.now()))


@router.delete(ONE + "/cordon", status_code=204, responses={**answers(401, 403, 404), **DONE})
async def uncordon(hotkey: str, parts: GivenParts, _operator: Operator) -> Response:
    """Give an executor jobs again."""
    return await _change(parts, hotkey, lambda tx: cordons.uncordon(tx, hotkey))


@router.delete(ONE, status_code=204, responses={**answers(401, 403, 404), **DONE})
async def remove(hotkey: str, parts: GivenParts, _operator: Operator) -> Response:
    """Forget an executor; from now on it is refused, and the jobs that it holds go back into the queue."""
    return await _change(parts, hotkey, lambda tx: machines.remove(tx, hotkey, parts.clock.now()))


async def _change(parts: Parts, hotkey: str, do: Callable[[Transaction], None]) -> Response:
    def run(tx: Transaction) -> None:
        if not machines.is_executor(tx.connection, hotkey):
            raise NotFound(f"{hotkey} is no executor here.")
        do(tx)

    await parts.database.write(run)
    parts.guests.forget(hotkey)
    return Response(status_code=204)
