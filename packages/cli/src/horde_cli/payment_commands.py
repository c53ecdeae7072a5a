"""The commands about what jobs cost: `horde usage`, and for operators `horde allowances` and `horde ledger`."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from horde_cli import options

allowances = typer.Typer(help="What hotkeys may spend (operators).", no_args_is_help=True)
ledger = typer.Typer(help="The records of payments (operators).", no_args_is_help=True)

Owner = Annotated[str, typer.Argument(metavar="HOTKEY", help="Whose, as an SS58 address.")]
Refill = Annotated[str, typer.Option("--refill", metavar="SECONDS", help="So much comes back an hour.")]
Class = Annotated[str, typer.Argument(metavar="CLASS", help="The executor class.")]


class UsageKey(StrEnum):
    """What `horde usage` can be summed up by."""

    executor = "executor"
    hotkey = "hotkey"


def usage(
    *,
    by: Annotated[
        UsageKey | None, typer.Option("--by", help="Everybody's, for operators; without it your own.")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, max=36_500, help="Only the last days.")] = None,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Show what jobs cost, in executor-seconds, and what is left of your allowances."""
    from horde_cli import payment
    from horde_cli.connection import connect
    from horde_cli.operator import operate
    from horde_core.wire.payment import By

    since = payment.since(days)
    if by is None:
        asyncio.run(payment.own(connect(facilitator, hotkey, config), since, as_json=as_json))
    else:
        key = By(by.value)
        operate(lambda o: payment.everybodys(o, key, since, as_json=as_json), facilitator, hotkey, config)


@allowances.command("list")
def list_allowances(
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Show all allowances and what is left of them."""
    from horde_cli import payment
    from horde_cli.operator import operate

    operate(lambda o: payment.listing(o, as_json=as_json), facilitator, hotkey, config)


@allowances.command("set")
def set_allowance(
    *,
    owner: Owner,
    executor_class: Class,
    cap: Annotated[str, typer.Option("--cap", metavar="SECONDS", help="At most so much at a time.")],
    refill: Refill = "0",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Limit what a hotkey may spend on a class; a new allowance is full."""
    from horde_cli import payment
    from horde_cli.operator import operate

    terms = payment.terms(cap, refill)
    operate(lambda o: payment.give(o, owner, executor_class, terms), facilitator, hotkey, config)


@allowances.command("default")
def default_allowance(
    *,
    cap: Annotated[str, typer.Argument(metavar="SECONDS|none", help="At most so much at a time; none: no limit.")],
    refill: Refill = "0",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Limit what everybody may spend on each class to whom nothing else was given, from now on."""
    from horde_cli import payment
    from horde_cli.operator import operate

    terms = None if cap == "none" else payment.terms(cap, refill)
    operate(lambda o: payment.set_default(o, terms), facilitator, hotkey, config)


@allowances.command()
def grant(
    *,
    owner: Owner,
    executor_class: Class,
    more: Annotated[str, typer.Argument(metavar="SECONDS", help="How much; after -- also a negative number.")],
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Add to an allowance once, also above its cap."""
    from horde_cli import payment
    from horde_cli.operator import operate

    added = payment.amount(more, "SECONDS")
    operate(lambda o: payment.grant(o, owner, executor_class, added), facilitator, hotkey, config)


@allowances.command()
def remove(
    *,
    owner: Owner,
    executor_class: Class,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """End an allowance: the default applies, or no limit if there is none."""
    from horde_cli import payment
    from horde_cli.operator import operate

    operate(lambda o: payment.take_away(o, owner, executor_class), facilitator, hotkey, config)


@ledger.command()
def check(
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Prove that the ledger adds up, entry by entry and against the jobs; ends with 1 if it does not."""
    from horde_cli import payment
    from horde_cli.operator import operate

    operate(lambda o: payment.check(o, as_json=as_json), facilitator, hotkey, config)
