"""The vocabulary: everybody sees it, operators change it, and executors hear which part of it they serve."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from horde_core.terms import ClassTerms, is_class_name
from horde_core.wire.classes import CLASSES_PATH, OPERATOR_CLASSES_PATH, Classes
from horde_core.wire.executor import CLASSES_PATH as SERVICE_PATH
from horde_core.wire.executor import Service
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, Executor, GivenParts, Operator, UserOrOperator, body_of
from horde_facilitator.api.hotkeys import DONE
from horde_facilitator.api.refusals import answers
from horde_facilitator.clock import microseconds
from horde_facilitator.errors import BadRequest, NotFound
from horde_facilitator.records import classes, executors

ONE = OPERATOR_CLASSES_PATH + "/{name}"

router = APIRouter()


@router.get(CLASSES_PATH, responses=answers(401, 403))
async def listing(parts: GivenParts, _caller: UserOrOperator) -> Classes:
    """The classes that jobs may ask for, what they cost and promise, and how many executors serve them now."""
    now, seen_us = parts.clock.now(), microseconds(parts.settings.no_executor_s)
    return Classes(classes=await parts.database.read(lambda c: classes.listing(c, now, seen_us)))


@router.put(
    ONE, status_code=204, responses={**answers(400, 401, 403), **DONE}, openapi_extra=described(ClassTerms)
)
async def define(
    name: str, parts: GivenParts, _operator: Operator, body: Annotated[ClassTerms, body_of(ClassTerms, MIB)]
) -> Response:
    """Let a class have these terms from now on, all of them. Jobs that exist keep their price."""
    if not is_class_name(name):
        raise BadRequest.field(
            "name", f"{name!r} must have 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first"
        )
    await parts.database.write(lambda tx: classes.define(tx, name, body))
    return Response(status_code=204)


@router.delete(ONE, status_code=204, responses={**answers(400, 401, 403, 404), **DONE})
async def remove(name: str, parts: GivenParts, _operator: Operator) -> Response:
    """Remove a class, unless jobs of it wait or run. A job that asks for it from now on is refused."""
    if not await parts.database.write(lambda tx: classes.remove(tx, name)):
        raise NotFound(f"There is no class {name!r}.")
    return Response(status_code=204)


@router.get(SERVICE_PATH, responses=answers(401, 403))
async def service(parts: GivenParts, executor: Executor) -> Service:
    """Which classes the executor serves by its last claim, and why not others that it offered."""
    return await parts.database.read(
        lambda c: Service(served=executors.served(c, executor), refused=executors.refused(c, executor))
    )
