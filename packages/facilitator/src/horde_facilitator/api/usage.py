"""What jobs cost: for users their own, for operators everybody's, with the allowances and the ledger's check."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection
from starlette.responses import Response

from horde_core.wire.payment import (
    ALLOWANCES_PATH,
    DEFAULT_ALLOWANCE_PATH,
    LEDGER_CHECK_PATH,
    USAGE_BY_PATH,
    USAGE_PATH,
    Allowance,
    Allowances,
    AllowanceTerms,
    By,
    ClassUsage,
    Grant,
    LedgerCheck,
    Usage,
    UsageBy,
    UsageLine,
)
from horde_facilitator.allowances import Terms
from horde_facilitator.api.description import described
from horde_facilitator.api.given import MIB, GivenParts, Operator, User, body_of
from horde_facilitator.api.hotkeys import check_address
from horde_facilitator.api.refusals import answers
from horde_facilitator.clock import microseconds
from horde_facilitator.database import Transaction
from horde_facilitator.errors import NotFound
from horde_facilitator.records import allowances, classes, ledger, usage

ONE = ALLOWANCES_PATH + "/{hotkey}/{executor_class}"
DONE = {204: {"description": "It is so, now or already before."}}
Since = Annotated[datetime | None, Query(description="Only what was paid from this time on; UTC unless it says.")]

router = APIRouter()


@router.get(USAGE_PATH, responses=answers(400, 401, 403))
async def own(parts: GivenParts, owner: User, since: Since = None) -> Usage:
    """What the caller's jobs cost, by class, and what is left of the caller's allowances."""
    now_us = parts.clock.now().wall_us

    def read(connection: Connection) -> Usage:
        paid = {line.executor_class: line for line in usage.by_owner(connection, _us(since), owner)}
        reserved = usage.reserved(connection, owner)
        terms = classes.vocabulary(connection)
        default = ledger.default_terms(connection)
        given = allowances.of_owner(connection, owner, now_us)
        lines = [
            ClassUsage(
                executor_class=name,
                weight=terms[name].weight if name in terms else None,
                jobs=paid[name].jobs if name in paid else 0,
                settled=paid[name].amount if name in paid else 0,
                reserved=reserved.get(name, 0),
                allowance=_allowance(given[name]) if name in given else _by_default(default, owner, name),
            )
            for name in sorted(set(terms) | set(paid) | set(reserved))
        ]
        return Usage(since=since, classes=lines)

    return await parts.database.read(read)


@router.get(USAGE_BY_PATH, responses=answers(400, 401, 403))
async def everybodys(parts: GivenParts, _operator: Operator, by: By = By.HOTKEY, since: Since = None) -> UsageBy:
    """What all jobs were paid with, by the executors that ran them or the hotkeys that own them."""
    read = usage.by_executor if by is By.EXECUTOR else usage.by_owner
    paid = await parts.database.read(lambda connection: read(connection, _us(since)))
    lines = [
        UsageLine(name=line.name, executor_class=line.executor_class, jobs=line.jobs, settled=line.amount)
        for line in paid
    ]
    return UsageBy(by=by, since=since, lines=lines)


@router.get(ALLOWANCES_PATH, responses=answers(401, 403))
async def all_allowances(parts: GivenParts, _operator: Operator) -> Allowances:
    """All allowances, as they are now."""
    now_us = parts.clock.now().wall_us

    def read(connection: Connection) -> Allowances:
        found = [_allowance(each) for each in allowances.everybody(connection, now_us)]
        default = ledger.default_terms(connection)
        terms = AllowanceTerms(cap=default.cap, refill_per_hour=default.refill_per_hour) if default else None
        return Allowances(allowances=found, default=terms)

    return await parts.database.read(read)


@router.put(
    DEFAULT_ALLOWANCE_PATH,
    status_code=204,
    responses={**answers(400, 401, 403), **DONE},
    openapi_extra=described(AllowanceTerms),
)
async def set_default(
    parts: GivenParts, _operator: Operator, body: Annotated[AllowanceTerms, body_of(AllowanceTerms, MIB)]
) -> Response:
    """Limit what everybody may spend on each class to whom nobody gave anything else."""
    terms = Terms(body.cap, body.refill_per_hour)
    await parts.database.write(lambda tx: allowances.set_default(tx, terms, parts.clock.now()))
    return Response(status_code=204)


@router.delete(DEFAULT_ALLOWANCE_PATH, status_code=204, responses={**answers(401, 403), **DONE})
async def end_default(parts: GivenParts, _operator: Operator) -> Response:
    """Let nobody be limited by default."""
    await parts.database.write(lambda tx: allowances.set_default(tx, None, parts.clock.now()))
    return Response(status_code=204)


@router.put(
    ONE,
    status_code=204,
    responses={**answers(400, 401, 403), **DONE},
    openapi_extra=described(AllowanceTerms),
)
async def give(
    hotkey: str,
    executor_class: str,
    parts: GivenParts,
    _operator: Operator,
    body: Annotated[AllowanceTerms, body_of(AllowanceTerms, MIB)],
) -> Response:
    """Limit what a hotkey may spend on a class. A new allowance is full; a lower cap takes away at once."""
    check_address(hotkey)
    terms = Terms(body.cap, body.refill_per_hour)

    def run(tx: Transaction) -> None:
        classes.known(tx.connection, executor_class)
        allowances.give(tx, hotkey, executor_class, terms, parts.clock.now())

    await parts.database.write(run)
    return Response(status_code=204)


@router.post(ONE + "/grant", responses=answers(400, 401, 403, 404), openapi_extra=described(Grant))
async def grant(
    hotkey: str,
    executor_class: str,
    parts: GivenParts,
    _operator: Operator,
    body: Annotated[Grant, body_of(Grant, MIB)],
) -> Allowance:
    """Add to an allowance once, or take away from it."""

    def run(tx: Transaction) -> Allowance:
        now = parts.clock.now()
        found = ledger.find_allowance(tx.connection, hotkey, executor_class, now.wall_us)
        if found is None:
            raise NotFound(_none(hotkey, executor_class))
        return _allowance(allowances.add(tx, found, body.amount, now))

    return await parts.database.write(run)


@router.delete(ONE, status_code=204, responses={**answers(401, 403, 404), **DONE})
async def take_away(hotkey: str, executor_class: str, parts: GivenParts, _operator: Operator) -> Response:
    """End an allowance: the hotkey has the default from now on, or no limit if there is none."""
    if not await parts.database.write(lambda tx: allowances.take_away(tx, hotkey, executor_class)):
        raise NotFound(_none(hotkey, executor_class))
    return Response(status_code=204)


@router.get(LEDGER_CHECK_PATH, responses=answers(401, 403))
async def check(parts: GivenParts, _operator: Operator) -> LedgerCheck:
    """Prove that the ledger adds up: entry by entry, and against the jobs."""
    found = await parts.database.read(usage.check)
    return LedgerCheck(
        entries=found.entries,
        granted=found.sums.get("grant", 0),
        refilled=found.sums.get("refill", 0),
        settled=found.sums.get("settle", 0),
        reserved=found.reserved,
        problems=found.problems,
    )


def _us(since: datetime | None) -> int:
    if since is None:
        return 0
    return microseconds((since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp())


def _allowance(found: ledger.Allowance) -> Allowance:
    return Allowance(
        hotkey=found.owner,
        executor_class=found.executor_class,
        available=found.account.available,
        held=found.account.held,
        cap=found.terms.cap,
        refill_per_hour=found.terms.refill_per_hour,
        by_default=found.by_default,
    )


def _by_default(terms: Terms | None, owner: str, executor_class: str) -> Allowance | None:
    """The allowance that the owner's first job of the class would open."""
    if terms is None:
        return None
    return Allowance(
        hotkey=owner,
        executor_class=executor_class,
        available=terms.cap,
        held=0,
        cap=terms.cap,
        refill_per_hour=terms.refill_per_hour,
        by_default=True,
    )


def _none(hotkey: str, executor_class: str) -> str:
    return f"{hotkey} has no allowance for {executor_class}."
