"""The CA that clients have to trust. Who asks does not trust anybody yet, and compares its fingerprint."""

from fastapi import APIRouter
from starlette.responses import Response

from horde_core.trust import AUTHORITY_PATH
from horde_facilitator.api.given import GivenParts
from horde_facilitator.api.refusals import answers
from horde_facilitator.errors import NotFound

MEDIA_TYPE = "application/x-pem-file"

router = APIRouter()


@router.get(AUTHORITY_PATH, response_class=Response, responses=answers(404))
async def authority(parts: GivenParts) -> Response:
    """The certificate at the end of the facilitator's chain, if it is no public one."""
    if parts.certificate is None or parts.certificate.authority is None:
        raise NotFound("This facilitator has no certificate of an authority of its own.")
    return Response(parts.certificate.authority, media_type=MEDIA_TYPE)
