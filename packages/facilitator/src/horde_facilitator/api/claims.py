"""Executors ask for work."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from horde_core.wire.executor import PREFIX, Claim, ClaimRequest
from horde_facilitator import admission
from horde_facilitator.api.description import described
from horde_facilitator.api.given import INLINE, MIB, Executor, GivenParts, body_of
from horde_facilitator.api.refusals import answers
from horde_facilitator.api.waiting import until_gone
from horde_facilitator.bus import class_topic
from horde_facilitator.clock import SECOND, microseconds
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest
from horde_facilitator.parts import Parts
from horde_facilitator.records import claims, cordons, executors, people
from horde_facilitator.records.claims import Claimed
from horde_facilitator.records.executors import Presence
from horde_facilitator.records.turns import Offer

MAX_CLASSES = 32
PRESENT_EVERY_S = 5

router = APIRouter()


@router.put(
    PREFIX + "/claims/{claim}",
    response_model=Claim,
    responses={**answers(400, 401, 403), 204: {"description": "There is nothing to do."}},
    openapi_extra=described(ClaimRequest),
)
async def claim(
    request: Request,
    claim: Annotated[str, Path(max_length=100)],
    parts: GivenParts,
    executor: Executor,
    body: Annotated[ClaimRequest, body_of(ClaimRequest, MIB)],
) -> Response:
    """The next job for an executor; waits up to `wait_s` for one. A repeat returns the same attempt."""
    if len(body.classes) > MAX_CLASSES:
        raise BadRequest.field("classes", f"an executor serves at most {MAX_CLASSES} classes")
    classes = [name for name in body.classes if name in parts.settings.classes]
    presence = Presence(executor, body.version, body.slots, body.running, classes)
    settings = parts.settings
    offer = Offer(
        claim=claim,
        executor=executor,
        classes=classes,
        confirm_us=microseconds(settings.confirm_s),
        seen_us=microseconds(settings.no_executor_s),
        avoid_us=microseconds(settings.avoid_s),
    )
    claimed = await _wait(request, parts, presence, offer, min(body.wait_s, settings.long_poll_s))
    if claimed is None:
        return Response(status_code=204)
    return Response(await _answer(parts, claimed), media_type="application/json")


async def _wait(request: Request, parts: Parts, presence: Presence, offer: Offer, wait_s: float) -> Claimed | None:
    def attempt(tx: Transaction) -> Claimed | None:
        now = parts.clock.now()
        bound = people.classes_of(tx.connection, presence.hotkey)
        served = [name for name in presence.classes if bound is None or name in bound]
        executors.present(tx, replace(presence, classes=served), now, microseconds(PRESENT_EVERY_S))
        # What a cordoned executor claimed before is still its own, so a repeated claim finds it.
        offered = () if cordons.is_cordoned(tx.connection, presence.hotkey, now) else served
        return claims.claim(tx, replace(offer, classes=offered), now)

    clock = asyncio.get_running_loop()
    until = clock.time() + wait_s
    with parts.bus.listen([class_topic(name) for name in offer.classes]) as listener:
        async with until_gone(request, listener):
            while True:
                claimed = await parts.database.write(attempt)
                if claimed is not None or listener.ended or clock.time() >= until:
                    return claimed
                await listener.wait(until - clock.time())
                if listener.ended:
                    return None


async def _answer(parts: Parts, claimed: Claimed) -> bytes:
    if len(claimed.body) < INLINE:
        return _printed(parts, claimed)
    return await asyncio.to_thread(_printed, parts, claimed)


def _printed(parts: Parts, claimed: Claimed) -> bytes:
    """The claim as JSON. The specification is read again from the body that was signed."""
    job, attempt, settings = claimed.held.job, claimed.held.attempt, parts.settings
    answer = Claim(
        job=job.uuid,
        attempt=attempt.attempt,
        owner=hashlib.sha256(job.owner.encode()).hexdigest()[:32],
        spec=admission.parse_spec(admission.parse(claimed.body)),
        image_digest=job.image_digest,
        confirm_s=settings.confirm_s,
        lease_s=settings.lease_s,
        deadline_s=max(0, attempt.deadline_boot_us - parts.clock.now().boot_us) / SECOND,
        limits=settings.limits,
    )
    return answer.model_dump_json().encode()
