"""Executors ask for work."""

import asyncio
import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from horde_core.images import parse_image
from horde_core.terms import ClassTerms, Share
from horde_core.wire.executor import PREFIX, Allotment, Claim, ClaimRequest
from horde_facilitator import admission
from horde_facilitator.api.description import described
from horde_facilitator.api.given import INLINE, MIB, Executor, GivenParts, body_of
from horde_facilitator.api.refusals import answers
from horde_facilitator.api.waiting import until_gone
from horde_facilitator.bus import CLASSES, class_topic
from horde_facilitator.clock import SECOND, Now, microseconds
from horde_facilitator.credentials import opened
from horde_facilitator.database import Transaction
from horde_facilitator.decisions import request_lost
from horde_facilitator.errors import SealError
from horde_facilitator.parts import Parts
from horde_facilitator.records import claims, classes, cordons, endings, executors, people, registries
from horde_facilitator.records.claims import Claimed
from horde_facilitator.records.executors import Presence
from horde_facilitator.records.registries import Whose
from horde_facilitator.records.turns import Offer
from horde_facilitator.records.values import Credentials, End, Job
from horde_facilitator.sealing import Purpose
from horde_facilitator.service import judge

log = logging.getLogger(__name__)

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
    settings = parts.settings
    offer = Offer(
        claim=claim,
        executor=executor,
        classes=(),
        confirm_us=microseconds(settings.confirm_s),
        seen_us=microseconds(settings.no_executor_s),
        avoid_us=microseconds(settings.avoid_s),
    )
    given = await _wait(request, parts, body, offer)
    if given is None:
        return Response(status_code=204)
    try:
        return Response(await _answer(parts, given), media_type="application/json")
    except SealError as error:
        log.warning("%s; the job ends", error)
        await parts.database.write(partial(_end_lost, claimed=given.claimed, now=parts.clock.now()))
        return Response(status_code=204)


@dataclass(frozen=True, slots=True)
class _Given:
    """A job that was claimed, the terms of its class, and its owner's credentials for its registry."""

    claimed: Claimed
    terms: ClassTerms
    credentials: Credentials | None


async def _wait(request: Request, parts: Parts, body: ClaimRequest, offer: Offer) -> _Given | None:
    share = Share(body.share.cpus, body.share.memory) if body.share else None

    def attempt(tx: Transaction) -> tuple[_Given | None, Collection[str]]:
        now = parts.clock.now()
        bound = people.classes_of(tx.connection, offer.executor)
        vocabulary = classes.vocabulary(tx.connection)
        service = judge(body.classes, bound, vocabulary, share)
        presence = Presence(
            offer.executor, body.version, body.slots, body.running, service.served, service.refused
        )
        executors.present(tx, presence, now, microseconds(PRESENT_EVERY_S))
        # What a cordoned executor claimed before is still its own, so a repeated claim finds it.
        offered = () if cordons.is_cordoned(tx.connection, offer.executor, now) else tuple(service.served)
        trusted = people.is_trusted(tx.connection, offer.executor)
        claimed = claims.claim(tx, replace(offer, classes=offered, is_trusted=trusted), now)
        if claimed is None:
            return None, service.served
        job = claimed.held.job
        return _Given(claimed, vocabulary[job.executor_class], _credentials(tx, job)), service.served

    clock = asyncio.get_running_loop()
    until = clock.time() + min(body.wait_s, parts.settings.long_poll_s)
    names = frozenset(body.classes) if body.classes else await parts.database.read(classes.names)
    with parts.bus.listen([CLASSES, *map(class_topic, names)]) as listener:
        async with until_gone(request, listener):
            while True:
                given, served = await parts.database.write(attempt)
                if given is not None or listener.ended or clock.time() >= until:
                    return given
                if not names.issuperset(served):
                    return None  # there is a new class: whoever asks again is woken for its jobs, too
                await listener.wait(until - clock.time())
                if listener.ended:
                    return None


def _credentials(tx: Transaction, job: Job) -> Credentials | None:
    if not job.image:  # a job of the first records
        return None
    return registries.find(tx.connection, Whose(job.owner, parse_image(job.image).home[0]))


def _end_lost(tx: Transaction, claimed: Claimed, now: Now) -> None:
    """End a job that nobody can run any more, in the name of the attempt that just began."""
    endings.end_held(tx, claimed.held, End.ENDED, request_lost(), now, reported_by="facilitator")


async def _answer(parts: Parts, given: _Given) -> bytes:
    if len(given.claimed.body) < INLINE:
        return _printed(parts, given)
    return await asyncio.to_thread(_printed, parts, given)


def _printed(parts: Parts, given: _Given) -> bytes:
    """The claim as JSON. The specification is read again from the body that was signed."""
    held, settings = given.claimed.held, parts.settings
    job, attempt = held.job, held.attempt
    body = parts.sealing.open(given.claimed.body, job.uuid, Purpose.BODY)
    answer = Claim(
        job=job.uuid,
        attempt=attempt.attempt,
        owner=hashlib.sha256(job.owner.encode()).hexdigest()[:32],
        spec=admission.parse_spec(admission.parse(body)),
        image_digest=job.image_digest,
        confirm_s=settings.confirm_s,
        lease_s=settings.lease_s,
        deadline_s=max(0, attempt.deadline_boot_us - parts.clock.now().boot_us) / SECOND,
        limits=settings.limits,
        allotment=Allotment(**given.terms.model_dump(include=set(Allotment.model_fields))),
        image_login=opened(given.credentials, parts.sealing) if given.credentials else None,
    )
    return answer.model_dump_json().encode()
