"""The commands of operators and of those whom they let in, with their options; loaded as `commands` says."""

from pathlib import Path
from typing import Annotated

import typer

from horde_cli import options

hotkeys = typer.Typer(help="Who may come in, and as what.", no_args_is_help=True)
keys = typer.Typer(help="The keys that sign tokens.", no_args_is_help=True)
executors = typer.Typer(help="The machines that run jobs; alone, it lists them.", invoke_without_command=True)

WEEK = "7d"
Hotkeys = Annotated[list[str], typer.Argument(metavar="SS58...", help="Addresses of hotkeys.")]


def add_to(app: typer.Typer, executor: typer.Typer) -> None:
    """Put the commands where they belong."""
    for group, name in ((hotkeys, "hotkeys"), (keys, "keys"), (executors, "executors")):
        app.add_typer(group, name=name)
    app.command()(invite)
    app.command()(login)
    executor.command()(enroll)
    executor.command()(install)


@hotkeys.command("add")
def hotkeys_add(
    *,
    addresses: Hotkeys,
    role: Annotated[str, typer.Option("--role", help="user, executor, trusted or operator.")] = "user",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Let hotkeys in."""
    from horde_cli import letting_in, values
    from horde_cli.operator import operate

    wanted = values.role(role)
    operate(lambda operator: letting_in.add(operator, addresses, wanted), facilitator, hotkey, config)


@hotkeys.command("remove")
def hotkeys_remove(
    *,
    addresses: Hotkeys,
    role: Annotated[str | None, typer.Option("--role", help="Only this role; without it, all.")] = None,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Let hotkeys in no more; tokens that they have are worth nothing from now on."""
    from horde_cli import letting_in, values
    from horde_cli.operator import operate

    wanted = values.role(role) if role else None
    operate(lambda operator: letting_in.remove(operator, addresses, wanted), facilitator, hotkey, config)


@hotkeys.command("list")
def hotkeys_list(
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """List who may come in."""
    from horde_cli import letting_in
    from horde_cli.operator import operate

    operate(lambda operator: letting_in.listing(operator, as_json=as_json), facilitator, hotkey, config)


@hotkeys.command("pending")
def hotkeys_pending(
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """List who was refused, with the commands that let them in."""
    from horde_cli import letting_in
    from horde_cli.operator import operate

    operate(lambda operator: letting_in.pending(operator, as_json=as_json), facilitator, hotkey, config)


@keys.command("rotate")
def keys_rotate(
    *,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Let a new key sign tokens; those that are out stay good until they expire."""
    from horde_cli import letting_in
    from horde_cli.operator import operate

    done = operate(letting_in.rotate, facilitator, hotkey, config)
    print(f"a new key signs; tokens of the old one are taken until {done.old_until:%H:%M:%S} UTC")


def invite(
    *,
    role: Annotated[str, typer.Option("--role", help="What they may do: user or operator.")] = "user",
    count: options.Count = 1,
    expires: options.Expires = WEEK,
    url: options.Url = None,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Print the line with which a colleague's machine comes in."""
    from horde_cli import letting_in, values
    from horde_cli.operator import operate
    from horde_core.wire.operator import InvitationRequest

    request = InvitationRequest(role=values.role(role), count=count, expires_s=values.period(expires))
    print(operate(lambda operator: letting_in.invite(operator, request, url), facilitator, hotkey, config))


def login(
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the facilitator is.")],
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="What the operator's line holds.")],
    config: options.Config = None,
) -> None:
    """Come in by an invitation: makes a hotkey and the file that leads there."""
    from horde_cli import joining, places

    file = config or places.client_config()
    address = joining.log_in(url, token, file)
    print(f"{address} is let in; {file} leads to {url}")


def enroll(
    *,
    count: options.Count = 1,
    expires: options.Expires = WEEK,
    classes: options.Classes = None,
    trusted: Annotated[bool, typer.Option("--trusted", help="They also take jobs for trusted executors.")] = False,
    url: options.Url = None,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Print the line that makes a new machine run jobs. With --class, it may serve no other classes."""
    from horde_cli import letting_in, values
    from horde_cli.operator import operate
    from horde_core.wire.operator import InvitationRequest, Role

    request = InvitationRequest(
        role=Role.TRUSTED if trusted else Role.EXECUTOR,
        count=count,
        expires_s=values.period(expires),
        classes=classes or None,
    )
    print(operate(lambda operator: letting_in.invite(operator, request, url), facilitator, hotkey, config))


def install(
    *,
    facilitator: Annotated[str, typer.Option("--facilitator", metavar="URL", help="Where jobs come from.")],
    data: options.Data = None,
    slots: options.Slots = 1,
    classes: options.Classes = None,
    allow_egress: options.AllowEgress = None,
    image_bytes: options.ImageBytes = None,
    hotkey: options.ExecutorHotkey = None,
    token: options.Token = None,
    unit: Annotated[Path | None, typer.Option("--unit", metavar="FILE", help="Where the unit is written.")] = None,
) -> None:
    """Let this machine's executor in, and write a systemd unit that runs it."""
    import asyncio

    from horde_cli import joining, places, values
    from horde_cli.hotkeys import open_or_make

    place = (data or places.data_directory() / "agent").expanduser().absolute()
    key = (hotkey or place / "hotkey").expanduser().absolute()
    egress = values.egress(allow_egress or ())
    if image_bytes:
        values.size(image_bytes, "--image-bytes")
    if token:
        # Redeemed now, so that it stands in no file.
        asyncio.run(joining.join(facilitator, open_or_make(key), token, patiently=False))
    words = ["--facilitator", facilitator, "--data", str(place), "--hotkey", str(key), "--slots", str(slots)]
    words += [word for name in classes or () for word in ("--class", name)]
    words += [word for pair in egress for word in ("--allow-egress", pair)]
    words += ["--image-bytes", image_bytes] if image_bytes else []
    file = unit or joining.UNIT
    joining.install(file, words)
    print(f"wrote {file}; start it with: systemctl daemon-reload && systemctl enable --now {file.stem}")


@executors.callback()
def executors_list(
    context: typer.Context,
    *,
    as_json: options.Json = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """The machines that run jobs: version, last seen, what they run, what they lost; alone, it lists them."""
    from horde_cli import machines
    from horde_cli.operator import operate

    if context.invoked_subcommand is None:
        operate(lambda operator: machines.listing(operator, as_json=as_json), facilitator, hotkey, config)


@executors.command()
def cordon(
    *,
    name: options.Named,
    why: options.Why = "",
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Give an executor no more jobs; what it runs, it finishes."""
    from horde_cli import machines
    from horde_cli.operator import operate

    print(
        operate(lambda operator: machines.cordon(operator, name, why), facilitator, hotkey, config), "is cordoned"
    )


@executors.command()
def uncordon(
    *,
    name: options.Named,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Give an executor jobs again."""
    from horde_cli import machines
    from horde_cli.operator import operate

    print(
        operate(lambda operator: machines.uncordon(operator, name), facilitator, hotkey, config), "gets jobs again"
    )


@executors.command()
def drain(
    *,
    name: options.Named,
    why: options.Why = "drained",
    wait: Annotated[bool, typer.Option("--wait", help="Return when its last job is done.")] = False,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Cordon an executor so that it runs empty."""
    from horde_cli import machines
    from horde_cli.operator import operate

    done = operate(lambda operator: machines.drain(operator, name, why, wait=wait), facilitator, hotkey, config)
    print(done, "is drained" if wait else "runs empty")


@executors.command("remove")
def executors_remove(
    *,
    name: options.Named,
    facilitator: options.Facilitator = None,
    hotkey: options.Hotkey = None,
    config: options.Config = None,
) -> None:
    """Forget an executor; jobs that it runs go back into the queue."""
    from horde_cli import machines
    from horde_cli.operator import operate

    print(operate(lambda operator: machines.remove(operator, name), facilitator, hotkey, config), "is removed")
