"""Users give credentials for private registries. Nobody is shown them; `api.claims` hands them on."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from horde_core.images import parse_registry
from horde_core.wire.registries import REGISTRIES_PATH, Registries, RegistryLogin
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, GivenParts, User, body_of
from horde_facilitator.api.hotkeys import DONE
from horde_facilitator.api.refusals import answers
from horde_facilitator.credentials import sealed
from horde_facilitator.errors import BadRequest, NotFound
from horde_facilitator.records import registries
from horde_facilitator.records.registries import Whose

ONE = REGISTRIES_PATH + "{registry}/"

router = APIRouter()


@router.get(REGISTRIES_PATH, responses=answers(401, 403))
async def listing(parts: GivenParts, user: User) -> Registries:
    """The registries for which one has given credentials, with the user names."""
    return Registries(registries=await parts.database.read(lambda c: registries.listing(c, user)))


@router.put(
    ONE, status_code=204, responses={**answers(400, 401, 403), **DONE}, openapi_extra=described(RegistryLogin)
)
async def put(
    registry: str, parts: GivenParts, user: User, body: Annotated[RegistryLogin, body_of(RegistryLogin, MIB)]
) -> Response:
    """Pull the images of one's jobs from this registry with these credentials, from the next claim on."""
    new = sealed(Whose(user, _named(registry)), body, parts.sealing)
    await parts.database.write(lambda tx: registries.put(tx, new, parts.clock.now()))
    return Response(status_code=204)


@router.delete(ONE, status_code=204, responses={**answers(400, 401, 403, 404), **DONE})
async def remove(registry: str, parts: GivenParts, user: User) -> Response:
    """Forget the credentials for a registry."""
    whose = Whose(user, _named(registry))
    if not await parts.database.write(lambda tx: registries.remove(tx, whose)):
        raise NotFound(f"There are no credentials for {whose.registry}.")
    return Response(status_code=204)


def _named(text: str) -> str:
    try:
        return parse_registry(text)
    except ValueError as error:
        raise BadRequest.field("registry", str(error)) from error
