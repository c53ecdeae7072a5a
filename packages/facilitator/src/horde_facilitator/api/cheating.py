"""Reports that an executor forged a result, and what operators make of them."""

from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.responses import JSONResponse, Response

from horde_core.comparing import STDOUT, compare, needs_stdout
from horde_core.signing import Scope
from horde_core.spec import field_errors
from horde_core.wire.cheating import (
    CHEATS_PATH,
    REPORT_PATH,
    CheatReport,
    CheatReports,
    CheatRequest,
    CheatState,
    CheatVerdict,
)
from horde_core.wire.client import HordeDetails
from horde_facilitator import admission
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, GivenParts, Operator, User, body_of, read_body
from horde_facilitator.api.hotkeys import DONE
from horde_facilitator.api.owned import UNKNOWN
from horde_facilitator.api.refusals import answers
from horde_facilitator.blobs import log_key
from horde_facilitator.cheating import Judgement, Reference, judge
from horde_facilitator.clock import microseconds
from horde_facilitator.database import Transaction
from horde_facilitator.errors import BadRequest, NotFound
from horde_facilitator.inlining import log_views, read_log
from horde_facilitator.parts import Parts
from horde_facilitator.records import cheats, dossiers, people
from horde_facilitator.records.cheats import NewReport
from horde_facilitator.records.dossiers import Dossier
from horde_facilitator.records.values import Attempt
from horde_facilitator.replies import details_of

MOST_BYTES = 64 * 1024

router = APIRouter()


@router.post(
    REPORT_PATH,
    status_code=201,
    response_model=CheatReport,
    responses=answers(400, 401, 403, 404, 413),
    openapi_extra=described(CheatRequest),
)
async def report(request: Request, parts: GivenParts, owner: User) -> Response:
    """Report that a job's result was forged, in a request that is signed in whole.

    A job is reported once: a repeat gets the same answer and changes nothing, unless an operator has yet to decide
    and the repeat names, for the first time, a job on a trusted executor to compare with.
    """
    content = admission.parse(await read_body(request, MOST_BYTES))
    now = parts.clock.now()
    admission.check_signature(content, request.headers, owner, parts.settings, now, scope=Scope.FULL_REQUEST)
    try:
        wanted = CheatRequest.model_validate(content)
    except ValidationError as error:
        raise BadRequest("The report is wrong.", field_errors(error)) from error
    try:
        found = await _report(parts, owner, wanted)
    except NotFound as error:
        # Under `error`, too, which is where the original has it.
        return JSONResponse({"error": str(error), "detail": str(error)}, 404)
    return Response(found.model_dump_json(), 201, media_type="application/json")


async def _report(parts: Parts, owner: str, wanted: CheatRequest) -> CheatReport:
    uuid = str(wanted.job_uuid)
    trusted_uuid = str(wanted.trusted_job_uuid) if wanted.trusted_job_uuid else None

    def read(connection: Connection) -> tuple[CheatReport | None, Dossier | None, Dossier | None]:
        return (
            cheats.find(connection, uuid, owner),
            dossiers.read(connection, owner, uuid),
            dossiers.read(connection, owner, trusted_uuid) if trusted_uuid else None,
        )

    before, job, trusted = await parts.database.read(read)
    if before is not None and not _adds(trusted_uuid, before):
        return before
    executor = _accused(job)
    new = NewReport(uuid, owner, executor, trusted_uuid, wanted.details)
    # The two jobs have ended, so what they left does not change any more.
    reference = await _reference(parts, job, trusted) if job and trusted_uuid else None

    def write(tx: Transaction) -> CheatReport:
        known = cheats.find(tx.connection, uuid, owner)
        if known is None or _adds(trusted_uuid, known):
            now, settings = parts.clock.now(), parts.settings
            standing = cheats.standing(tx.connection, owner, executor, now)
            judged = judge(reference, standing, settings.cheat_executors_out)
            cheats.report(tx, new, judged, now, microseconds(settings.cheat_out_s))
            known = cheats.find(tx.connection, uuid, owner)
        if known is None:
            raise AssertionError(f"the report about {uuid} was not kept")
        return known

    return await parts.database.write(write)


def _adds(trusted_uuid: str | None, before: CheatReport) -> bool:
    """Whether a repeated report says something that the first one lacked."""
    return trusted_uuid is not None and before.trusted_job_uuid is None and before.state == CheatState.OPEN


def _accused(job: Dossier | None) -> str:
    """The executor whose work is reported."""
    if job is None:
        raise NotFound("Job not found")
    if not job.job.status.is_end:
        raise BadRequest.field("job_uuid", f"the job is {job.job.status}; report it when it has ended")
    if job.job.trusted:
        raise BadRequest.field(
            "job_uuid", "the job ran on a trusted executor, which is what others are held against"
        )
    if job.shown is None:
        raise BadRequest.field("job_uuid", "no executor ran the job")
    return job.shown.executor


async def _reference(parts: Parts, job: Dossier, trusted: Dossier | None) -> Reference:
    if trusted is None:
        raise NotFound("Trusted job not found")
    if not trusted.job.trusted:
        raise BadRequest.field("trusted_job_uuid", "the job was not created with on_trusted_miner")
    if not trusted.job.status.is_end:
        status = trusted.job.status
        raise BadRequest.field("trusted_job_uuid", f"the job is {status}; report with it when it has ended")
    executor = trusted.shown.executor if trusted.shown else ""

    def read(connection: Connection) -> tuple[bool, bool]:
        same_work = cheats.same_work(connection, job.job.uuid, trusted.job.uuid)
        return same_work, people.is_trusted(connection, executor)

    same_work, is_trusted = await parts.database.read(read)
    mine, theirs = await _details(parts, job), await _details(parts, trusted)
    stdout = None
    if needs_stdout(mine, theirs):
        stdout = await _stdout_sha256(parts, job.shown), await _stdout_sha256(parts, trusted.shown)
    return Reference(same_work, is_trusted, compare(mine, theirs, stdout))


async def _details(parts: Parts, dossier: Dossier) -> HordeDetails:
    views = await log_views(parts.blobs, dossier.shown, parts.settings.limits.log_bytes)
    return details_of(dossier, views)


async def _stdout_sha256(parts: Parts, attempt: Attempt | None) -> str:
    content = sha256()
    if attempt is not None:
        view = (await log_views(parts.blobs, attempt, parts.settings.limits.log_bytes))[STDOUT]
        key = log_key(attempt.job, attempt.attempt, STDOUT)
        async for piece in read_log(parts.blobs, key, view, 0, view.length):
            content.update(piece)
    return content.hexdigest()


@router.get(REPORT_PATH + "{uuid}/", responses=answers(401, 403, 404))
async def get(uuid: str, parts: GivenParts, owner: User) -> CheatReport:
    """What became of the caller's report about a job."""
    found = await parts.database.read(lambda connection: cheats.find(connection, uuid, owner))
    if found is None:
        raise NotFound(UNKNOWN)
    return found


@router.get(CHEATS_PATH, responses=answers(401, 403))
async def listing(parts: GivenParts, _operator: Operator) -> CheatReports:
    """All reports, the latest first; no more than a thousand."""
    return CheatReports(reports=await parts.database.read(cheats.listing))


@router.put(
    CHEATS_PATH + "/{uuid}",
    status_code=204,
    responses={**answers(400, 401, 403, 404), **DONE},
    openapi_extra=described(CheatVerdict),
)
async def decide(
    uuid: str, parts: GivenParts, operator: Operator, body: Annotated[CheatVerdict, body_of(CheatVerdict, MIB)]
) -> Response:
    """Confirm a report, which takes the executor out, or dismiss it, which lets it in again."""
    judged = Judgement(body.state, body.why)
    out_us = microseconds(parts.settings.cheat_out_s)

    def run(tx: Transaction) -> bool:
        return cheats.decide(tx, uuid, judged, operator, now=parts.clock.now(), out_us=out_us)

    if not await parts.database.write(run):
        raise NotFound(f"There is no report about job {uuid}.")
    return Response(status_code=204)
