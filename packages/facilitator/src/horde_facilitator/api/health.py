"""Whether the facilitator works."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from horde_facilitator.api.given import GivenParts
from horde_facilitator.api.refusals import answers

VERSION = version("compute-horde-facilitator")

router = APIRouter()


class Health(BaseModel):
    """The answer of a facilitator that works."""

    status: str
    version: str


@router.get("/healthz", responses=answers(503))
async def health(parts: GivenParts) -> Health:
    """Answers 200 when the records can be read."""
    await parts.database.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
    return Health(status="ok", version=VERSION)
