"""The commands, their options, and how an error is told: in one line, with what to do about it.

Each command loads what it needs when it runs, so that the quick ones are quick.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from horde_cli.errors import CommandError

app = typer.Typer(
    name="horde",
    help="Run container jobs on machines of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
executor_app = typer.Typer(help="The agent that runs jobs on one machine.", no_args_is_help=True)
app.add_typer(executor_app, name="executor")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A client.toml, as `horde up` writes it.")
]
FacilitatorOption = Annotated[str | None, typer.Option("--facilitator", metavar="URL", help="Where the horde is.")]
HotkeyOption = Annotated[Path | None, typer.Option("--hotkey", metavar="FILE", help="The hotkey to log in with.")]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where everything is kept.")]
HostOption = Annotated[str, typer.Option("--host", help="The address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")]
AdmitOption = Annotated[
    list[str] | None,
    typer.Option("--admit", metavar="ROLE=SS58", help="Let a hotkey in, as `user` or `executor`. Repeatable."),
]
SlotsOption = Annotated[int, typer.Option("--slots", min=1, help="How many jobs may run at once.")]
EgressOption = Annotated[
    list[str] | None,
    typer.Option("--allow-egress", metavar="HOST:PORT", help="A private address that inputs may come from. Repeatable."),
]
ClassOption = Annotated[
    list[str] | None, typer.Option("--class", "-c", metavar="CLASS", help="A class to serve. Repeatable; default: all.")
]


@app.command()
def up(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8700,
    data: DataOption = None,
    slots: SlotsOption = 1,
    allow_egress: EgressOption = None,
    admit: AdmitOption = None,
) -> None:
    """Start a whole horde on this machine; prints `ready URL` when it serves."""
    from horde_cli import places, values
    from horde_cli.up.front import up as go_up

    go_up(
        data=data or places.data_directory(),
        host=host,
        port=port,
        slots=slots,
        allow_egress=values.egress(allow_egress or ()),
        classes=values.executor_classes(()),
        admit=values.admitted(admit or ()),
    )


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        return int(app(standalone_mode=False) or 0)
    except CommandError as error:
        return told(str(error), error.exit_code)
    except TyperException as error:
        message = error.format_message()
        # Without a message the help was just shown instead, for a command that needs more words.
        return told(f"{message} (see {_command_path(error)} --help)", error.exit_code) if message else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. The interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return told(f"unexpected {type(error).__name__}: {error}; COMPUTE_HORDE_DEBUG=1 shows where", 70)
