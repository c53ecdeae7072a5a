"""The commands with their options. Each loads what it needs when it runs, so that the quick ones are quick."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from horde_cli import cheat_commands, class_commands, operating, options, payment_commands, registry_commands
from horde_core.classes import ExecutorClass

app = typer.Typer(
    name="horde",
    help="Run container jobs on machines of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
executor = typer.Typer(help="The agent that runs jobs on one machine.", no_args_is_help=True)
app.add_typer(executor, name="executor")
app.command()(payment_commands.usage)
app.add_typer(class_commands.classes, name="classes")
app.add_typer(payment_commands.allowances, name="allowances")
app.add_typer(payment_commands.ledger, name="ledger")
app.add_typer(cheat_commands.cheats, name="cheats")
app.add_typer(registry_commands.registries, name="registries")

TEST_CLASS = str(ExecutorClass.always_on__test)
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
    image_bytes: options.ImageBytes = None,
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
        image_bytes=values.size(image_bytes, "--image-bytes") if image_bytes else None,
        admit=values.admitted(admit or ()),
    )


@app.command()
def facilitator(
    *,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8700,
    data: options.Data = None,
    admit: options.Admit = None,
    cheat_out: options.CheatOut = None,
) -> None:
    """Start a facilitator alone; executors join it with `horde executor run`."""
    from horde_cli import places, serving, values

    serving.facilitator(
        data=data or places.data_directory() / "facilitator",
        host=host,
        port=port,
        admit=values.admitted(admit or ()),
        cheat_out_s=values.period(cheat_out, "--cheat-out") if cheat_out else None,
    )


@executor.command("run")
def executor_run(
    *,
    facilitator: Annotated[str, typer.Option("--facilitator", metavar="URL", help="Where jobs come from.")],
    data: options.Data = None,
    slots: options.Slots = 1,
    classes: options.Classes = None,
    allow_egress: options.AllowEgress = None,
    image_bytes: options.ImageBytes = None,
    hotkey: options.ExecutorHotkey = None,
    token: options.Token = None,
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
        image_bytes=values.size(image_bytes, "--image-bytes") if image_bytes else None,
        token=token,
    )


@app.command(context_settings=_UNTOUCHED)
def run(
    *,
    image: options.Image,
    args: options.Args = None,
    executor_class: options.Class = TEST_CLASS,
    inputs: options.Input = None,
    artifacts: options.Artifacts = None,
    artifacts_dir: options.ArtifactsDir = "/artifacts",
    env: options.Env = None,
    secret_env: options.SecretEnv = None,
    namespace: options.Namespace = "",
    priority: options.Priority = 0,
    limit: options.Limit = None,
    detach: options.Detach = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> int:
    """Run a container as a job, show it, and exit with its code.

    124: stopped at its limit. 125: the horde's fault. 126: rejected. 127: no such command. 130: cancelled.
    1: failed without a code of its own.
    """
    from horde_cli.connection import connect
    from horde_cli.errors import ServiceError
    from horde_cli.exitcodes import HORDE_FAILED
    from horde_cli.submit import Run, submit

    wanted = Run(
        image=image,
        args=args or (),
        executor_class=executor_class,
        namespace=namespace,
        priority=priority,
        inputs=inputs or (),
        env=env or (),
        secret_env=secret_env or (),
        limits=limit or (),
        artifacts=artifacts,
        artifacts_dir=artifacts_dir,
        detach=detach,
        quiet=quiet,
        as_json=as_json,
    )
    try:
        return asyncio.run(submit(connect(facilitator, hotkey, config), wanted))
    except ServiceError as error:
        error.exit_code = HORDE_FAILED
        raise


@app.command()
def jobs(
    *,
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="STATUS", help="Only these. Repeatable.")
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="Only those of this one.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Only those of this image; without a tag, of any.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only newer ones: 90m, 2d, 2026-01-31, ….")
    ] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many, newest first.")] = 20,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """List your jobs, newest first."""
    from horde_cli import records, values
    from horde_cli.connection import connect

    wanted = records.Wanted(
        statuses=records.statuses(status or ()),
        namespace=namespace,
        image=image,
        since=values.since(since) if since is not None else None,
        last=last,
    )
    asyncio.run(records.jobs(connect(facilitator, hotkey, config), wanted, as_json=as_json))


@app.command()
def show(
    *,
    uuid: options.Job,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Show a job: where it is, where it has been, how it ended and why."""
    from horde_cli import records
    from horde_cli.connection import connect

    asyncio.run(records.show(connect(facilitator, hotkey, config), uuid, as_json=as_json))


@app.command()
def explain(
    *,
    uuid: options.Job,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Tell why a job waits, where it runs, or how it ended."""
    from horde_cli import records
    from horde_cli.connection import connect

    asyncio.run(records.explain(connect(facilitator, hotkey, config), uuid, as_json=as_json))


@app.command()
def logs(
    *,
    uuid: options.Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Print what a job wrote, stdout to stdout and stderr to stderr."""
    from horde_cli import records
    from horde_cli.connection import connect

    asyncio.run(records.logs(connect(facilitator, hotkey, config), uuid, follow=follow, as_json=as_json))


@app.command()
def get(
    *,
    uuid: options.Job,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")],
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Save the artifacts of a job."""
    from horde_cli import records
    from horde_cli.connection import connect

    asyncio.run(records.get(connect(facilitator, hotkey, config), uuid, directory, as_json=as_json))


@app.command()
def cancel(
    *,
    uuid: options.Job,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Ask that a job be stopped; what it has written by then is kept."""
    from horde_cli import records
    from horde_cli.connection import connect

    asyncio.run(records.cancel(connect(facilitator, hotkey, config), uuid, as_json=as_json))


@app.command()
def doctor(
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> int:
    """Look for what would keep jobs from running, here and on the way to the facilitator."""
    from horde_cli.doctor import examine

    return asyncio.run(examine(facilitator, hotkey, config, as_json=as_json))


@app.command()
def version(as_json: options.Json = False) -> None:
    """Print the version of this command."""
    from importlib.metadata import version as installed

    number = installed("compute-horde-cli")
    print(f'{{"version": "{number}"}}' if as_json else number)


operating.add_to(app, executor)
