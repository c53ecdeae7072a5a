"""The commands about private registries: `horde registries`; loaded as `commands` says."""

from typing import Annotated

import typer

from horde_cli import options

registries = typer.Typer(
    help="Private registries, and who you are there; alone, it lists them.", invoke_without_command=True
)

Host = Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="The registry; Docker Hub is docker.io.")]


@registries.callback()
def list_registries(
    context: typer.Context,
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """The registries from which images are pulled with credentials of yours; passwords are never shown."""
    import asyncio

    from horde_cli import registries
    from horde_cli.connection import connect

    if context.invoked_subcommand is None:
        asyncio.run(registries.listing(connect(facilitator, hotkey, config), as_json=as_json))


@registries.command("set")
def set_registry(
    *,
    host: Host,
    username: Annotated[str, typer.Option("--username", "-u", metavar="NAME", help="Who you are there.")],
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Pull images from a registry with credentials; asks for the password, or reads it from a pipe."""
    import asyncio

    from horde_cli import registries
    from horde_cli.connection import connect

    client = connect(facilitator, hotkey, config)
    asyncio.run(registries.give(client, host, username, registries.password_for(host)))


@registries.command()
def remove(
    *,
    host: Host,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Take the credentials for a registry back."""
    import asyncio

    from horde_cli import registries
    from horde_cli.connection import connect

    asyncio.run(registries.take_back(connect(facilitator, hotkey, config), host))
