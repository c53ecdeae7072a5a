"""The commands about reports of cheating: `horde cheats`, for operators; loaded as `commands` says."""

from typing import Annotated

import typer

from horde_cli import options

cheats = typer.Typer(
    help="Reports that an executor cheated (operators); alone, it lists them.", invoke_without_command=True
)

Job = Annotated[str, typer.Argument(metavar="UUID", help="The reported job, or the first characters of it.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Shown to who reported it.")]


@cheats.callback()
def cheats_list(
    context: typer.Context,
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Reports that an executor cheated: who reported it, and what became of it; alone, it lists them."""
    from horde_cli import cheats
    from horde_cli.operator import operate

    if context.invoked_subcommand is None:
        operate(lambda operator: cheats.listing(operator, as_json=as_json), facilitator, hotkey, config)


@cheats.command()
def confirm(
    *,
    uuid: Job,
    why: Why = "",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Take the executor out for the set time."""
    from horde_cli import cheats
    from horde_cli.operator import operate
    from horde_core.wire.cheating import CheatState

    done = operate(lambda o: cheats.decide(o, uuid, CheatState.CONFIRMED, why), facilitator, hotkey, config)
    print(f"the report about {done} is confirmed; its executor gets no jobs for a time")


@cheats.command()
def dismiss(
    *,
    uuid: Job,
    why: Why = "",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Let the executor in again; who reported it takes nobody out by himself for a week."""
    from horde_cli import cheats
    from horde_cli.operator import operate
    from horde_core.wire.cheating import CheatState

    done = operate(lambda o: cheats.decide(o, uuid, CheatState.DISMISSED, why), facilitator, hotkey, config)
    print(f"the report about {done} is dismissed; its executor is out for it no more")
