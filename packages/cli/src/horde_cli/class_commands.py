"""The commands about executor classes: everybody lists them, operators define them."""

from enum import StrEnum
from typing import Annotated

import typer

from horde_cli import options

classes = typer.Typer(help="The classes that jobs may ask for; alone, it lists them.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the class.")]


class ProfileName(StrEnum):
    """The capabilities of a job's container."""

    default = "default"
    strict = "strict"


def _option(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    return typer.Option(name, metavar=metavar, help=text)


@classes.callback()
def list_classes(
    context: typer.Context,
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """The classes that jobs may ask for: what they cost and promise, how many executors serve them."""
    import asyncio

    from horde_cli import vocabulary
    from horde_cli.connection import connect

    if context.invoked_subcommand is None:
        asyncio.run(vocabulary.listing(connect(facilitator, hotkey, config), as_json=as_json))


@classes.command("set")
def set_class(
    *,
    name: Name,
    description: Annotated[str | None, _option("--description", "TEXT", "What people read.")] = None,
    weight: Annotated[str | None, _option("--weight", "NUMBER", "What a second costs.")] = None,
    max_seconds: Annotated[
        str | None, _option("--max-seconds", "N|none", "The most that the limits of a job may add up to.")
    ] = None,
    profile: Annotated[
        ProfileName | None, typer.Option("--profile", help="Capabilities: the usual ones, or none.")
    ] = None,
    cpus: Annotated[str | None, _option("--cpus", "N|none", "Cores of a job.")] = None,
    memory: Annotated[str | None, _option("--memory", "SIZE|none", "Memory of a job, like 16GiB.")] = None,
    shm: Annotated[str | None, _option("--shm", "SIZE|none", "Its /dev/shm, a part of the memory.")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs of a job; shown, not verified.")] = None,
    vram: Annotated[str | None, _option("--vram", "SIZE|none", "Memory of each GPU; shown, not verified.")] = None,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Define a class, or change what is given of one; the rest stays. It counts for jobs from now on."""
    from horde_cli import vocabulary
    from horde_cli.operator import operate

    changes = vocabulary.changes(
        description=description,
        weight=weight,
        max_seconds=max_seconds,
        profile=profile.value if profile else None,
        cpus=cpus,
        memory=memory,
        shm=shm,
        gpus=gpus,
        vram=vram,
    )
    operate(lambda o: vocabulary.define(o, name, changes, as_json=as_json), facilitator, hotkey, config)


@classes.command()
def remove(
    *,
    name: Name,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Remove a class, unless jobs of it wait or run."""
    from horde_cli import vocabulary
    from horde_cli.operator import operate

    operate(lambda o: vocabulary.remove(o, name, as_json=as_json), facilitator, hotkey, config)
