"""The commands with their options. Each loads what it needs when it runs, so that the quick ones are quick."""

from pathlib import Path
from typing import Annotated

import typer

from horde_cli import options

app = typer.Typer(
    name="horde",
    help="Run container jobs on machines of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
executor = typer.Typer(help="The agent that runs jobs on one machine.", no_args_is_help=True)
app.add_typer(executor, name="executor")

# Everything after the image belongs to the container, also what looks like an option of ours.
_UNTOUCHED = {"allow_interspersed_args": False}


@app.command()
def up(
    *,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8700,
    data: options.Data = None,
    slots: options.Slots = 1,
    allow_egress: options.AllowEgress = None,
    admit: options.Admit = None,
) -> None:
    """Start a whole horde on this machine; prints `ready URL` when it serves."""
    from horde_cli import places, values
    from horde_cli.up.front import up as start

    start(
        data=data or places.data_directory(),
        host=host,
        port=port,
        slots=slots,
        allow_egress=values.egress(allow_egress or ()),
        admit=values.admitted(admit or ()),
    )


@app.command()
def facilitator(
    *,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8700,
    data: options.Data = None,
    admit: options.Admit = None,
) -> None:
    """Start a facilitator alone; executors join it with `horde executor run`."""
    from horde_cli import places, serving, values

    serving.facilitator(
        data=data or places.data_directory() / "facilitator",
        host=host,
        port=port,
        admit=values.admitted(admit or ()),
    )


@executor.command("run")
def executor_run(
    *,
    facilitator: Annotated[str, typer.Option("--facilitator", metavar="URL", help="Where jobs come from.")],
    data: options.Data = None,
    slots: options.Slots = 1,
    classes: options.Classes = None,
    allow_egress: options.AllowEgress = None,
    hotkey: Annotated[
        Path | None,
        typer.Option("--hotkey", metavar="FILE", help="Its hotkey; made in --data if there is none."),
    ] = None,
) -> None:
    """Run the jobs of a facilitator on this machine, until Ctrl-C puts them back."""
    from horde_cli import places, serving, values

    place = data or places.data_directory() / "agent"
    serving.executor(
        facilitator_url=facilitator,
        data=place,
        hotkey=hotkey or place / "hotkey",
        classes=values.executor_classes(classes or ()),
        slots=slots,
        allow_egress=values.egress(allow_egress or ()),
    )


@app.command()
def version(as_json: options.Json = False) -> None:
    """Print the version of this command."""
    from importlib.metadata import version as installed

    number = installed("compute-horde-cli")
    print(f'{{"version": "{number}"}}' if as_json else number)
