"""Private registries at the command line. A password is never an argument, which others can see."""

import getpass
import json
import sys

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeNotFoundError
from horde_cli import view
from horde_cli.connection import translated
from horde_cli.errors import BadUsage, NotFound


def password_for(host: str) -> str:
    """What a person types, or else the standard input without the end of its line.

    Raises:
        BadUsage: there is none.
    """
    if sys.stdin.isatty():
        password = getpass.getpass(f"password for {host}: ")
    else:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not password:
        raise BadUsage("there is no password", f"pipe it in: horde registries set {host} --username NAME < FILE")
    return password


async def listing(client: ComputeHordeClient, *, as_json: bool) -> None:
    """Print the registries for which there are credentials."""
    with translated():
        async with client:
            found = await client.registries()
    if as_json:
        print(json.dumps({"registries": [entry.model_dump(mode="json") for entry in found]}, indent=2))
        return
    rows = [(entry.registry, entry.username, f"{view.ago(entry.set_at)} ago") for entry in found]
    view.print_rows(("REGISTRY", "USER", "SET"), rows)


async def give(client: ComputeHordeClient, host: str, username: str, password: str) -> None:
    """Store credentials."""
    with translated():
        async with client:
            await client.set_registry(host, username, password)
    print(f"images of {host} are pulled as {username} from now on")


async def take_back(client: ComputeHordeClient, host: str) -> None:
    """Forget credentials.

    Raises:
        NotFound: there are none.
    """
    with translated():
        async with client:
            try:
                await client.remove_registry(host)
            except ComputeHordeNotFoundError as error:
                raise NotFound(f"there are no credentials for {host}", "horde registries lists yours") from error
    print(f"the credentials for {host} are forgotten")
