"""What jobs cost: one's own use, and what operators give, see and prove."""

import json
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compute_horde_sdk.v1 import ComputeHordeClient
from horde_cli.connection import translated
from horde_cli.errors import BadUsage, CommandError
from horde_cli.operator import Operator
from horde_cli.view import plain
from horde_core.price import UNIT, seconds
from horde_core.wire.payment import (
    ALLOWANCES_PATH,
    DEFAULT_ALLOWANCE_PATH,
    LEDGER_CHECK_PATH,
    MAX_AMOUNT,
    USAGE_BY_PATH,
    Allowance,
    Allowances,
    AllowanceTerms,
    By,
    Grant,
    LedgerCheck,
    UsageBy,
)


def since(days: float | None) -> datetime | None:
    """The time so many days ago."""
    return datetime.now(UTC) - timedelta(days=days) if days is not None else None


def amount(text: str, option: str, what: str = "number of executor-seconds") -> int:
    """A number from the command line, such as ``90`` or ``0.5``, in thousandths (of an executor-second).

    Raises:
        BadUsage: it is no such number.
    """
    whole, _, rest = text.removeprefix("-").partition(".")
    digits = whole + rest
    if not (digits.isascii() and digits.isdigit()) or len(rest.rstrip("0")) > 3:  # noqa: PLR2004  # thousandths
        raise BadUsage(f"{option} {text!r} is no {what}", "write it like 3600 or 0.5")
    value = int(whole or "0") * UNIT + int(rest.ljust(3, "0")[:3])
    if value > MAX_AMOUNT:
        raise BadUsage(f"{option} {text!r} is too much", f"at most {seconds(MAX_AMOUNT)}")
    return -value if text.startswith("-") else value


def terms(cap: str, refill: str) -> AllowanceTerms:
    """An allowance as the command line has it.

    Raises:
        BadUsage: a number cannot be read, or is negative.
    """
    most, back = amount(cap, "--cap"), amount(refill, "--refill")
    if min(most, back) < 0:
        raise BadUsage("--cap and --refill cannot be negative")
    return AllowanceTerms(cap=most, refill_per_hour=back)


async def own(client: ComputeHordeClient, from_then: datetime | None, *, as_json: bool) -> None:
    """Show what one's jobs cost and what is left."""
    with translated():
        async with client:
            usage = await client.usage(from_then)
    if as_json:
        _print_json(usage)
        return
    table = _table("CLASS", "WEIGHT", "JOBS", "PAID", "RESERVED", "LEFT")
    for line in usage.classes:
        if line.jobs or line.reserved or line.allowance:
            left = _left(line.allowance) if line.allowance else "no limit"
            weight = "removed" if line.weight is None else seconds(line.weight)
            paid, reserved = seconds(line.settled), seconds(line.reserved)
            _row(table, line.executor_class, weight, str(line.jobs), paid, reserved, left)
    _print_table(table, "nothing was used and nothing is limited yet")


async def everybodys(operator: Operator, by: By, from_then: datetime | None, *, as_json: bool) -> None:
    """Show what all jobs were paid with."""
    params = {"since": from_then.isoformat()} if from_then else {}
    usage = await operator.get(USAGE_BY_PATH, UsageBy, by=by.value, **params)
    if as_json:
        _print_json(usage)
        return
    table = _table(by.value.upper(), "CLASS", "JOBS", "PAID")
    for line in usage.lines:
        _row(table, line.name, line.executor_class, str(line.jobs), seconds(line.settled))
    _print_table(table, "nothing was paid for yet")


async def listing(operator: Operator, *, as_json: bool) -> None:
    """Show all allowances."""
    found = await operator.get(ALLOWANCES_PATH, Allowances)
    if as_json:
        _print_json(found)
        return
    table = _table("HOTKEY", "CLASS", "LEFT", "HELD", "BY DEFAULT")
    for line in found.allowances:
        _row(
            table,
            line.hotkey,
            line.executor_class,
            _left(line),
            seconds(line.held),
            "yes" if line.by_default else "no",
        )
    default = f"{seconds(found.default.cap)}{_refill(found.default)}" if found.default else "no limit"
    _print_table(table, "nobody has an allowance")
    print(f"horde: for each class, where nothing else was given: {default}", file=sys.stderr)


async def set_default(operator: Operator, terms: AllowanceTerms | None) -> None:
    """Limit what everybody may spend on each class to whom nobody gave anything else, or limit nobody so."""
    if terms is None:
        await operator.delete(DEFAULT_ALLOWANCE_PATH)
    else:
        await operator.put(DEFAULT_ALLOWANCE_PATH, terms)


async def give(operator: Operator, hotkey: str, executor_class: str, terms: AllowanceTerms) -> None:
    """Limit what a hotkey may spend on a class."""
    await operator.put(_path(hotkey, executor_class), terms)


async def grant(operator: Operator, hotkey: str, executor_class: str, more: int) -> None:
    """Add to an allowance once."""
    found = await operator.post(f"{_path(hotkey, executor_class)}/grant", Grant(amount=more), Allowance)
    print(f"{seconds(found.available)} executor-seconds are available now")


async def take_away(operator: Operator, hotkey: str, executor_class: str) -> None:
    """End an allowance."""
    await operator.delete(_path(hotkey, executor_class))


async def check(operator: Operator, *, as_json: bool) -> None:
    """Prove the ledger.

    Raises:
        CommandError: it does not add up.
    """
    found = await operator.get(LEDGER_CHECK_PATH, LedgerCheck)
    if as_json:
        _print_json(found)
    else:
        for problem in found.problems:
            print(plain(problem))
    if found.problems:
        raise CommandError(
            f"the ledger does not add up: {len(found.problems)} problems in {found.entries} entries"
        )
    if not as_json:
        print(
            f"the ledger adds up: {found.entries} entries; granted {seconds(found.granted)}, refilled "
            f"{seconds(found.refilled)}, paid {seconds(found.settled)}, reserved {seconds(found.reserved)}"
        )


def _path(hotkey: str, executor_class: str) -> str:
    return f"{ALLOWANCES_PATH}/{quote(hotkey, safe='')}/{quote(executor_class, safe='')}"


def _left(allowance: Allowance) -> str:
    return f"{seconds(allowance.available)} of {seconds(allowance.cap)}{_refill(allowance)}"


def _refill(terms: Allowance | AllowanceTerms) -> str:
    return f", refilled by {seconds(terms.refill_per_hour)} an hour" if terms.refill_per_hour else ""


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(plain(cell)) for cell in cells))


def _print_table(table: Table, if_empty: str) -> None:
    if table.row_count:
        Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)
    else:
        print(f"horde: {if_empty}", file=sys.stderr)


def _print_json(message: BaseModel) -> None:
    print(json.dumps(message.model_dump(mode="json"), indent=2))
