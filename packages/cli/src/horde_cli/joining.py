"""The other end of an invitation: a colleague's machine, or one that is to run jobs."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError

# Whether an error passes by itself; both packages have one version, and the name is no user's.
from compute_horde_sdk.v1._errors import is_passing
from horde_cli import trust
from horde_cli.connection import translated
from horde_cli.errors import BadUsage, CommandError, NotConfigured
from horde_cli.hotkeys import open_or_make
from horde_cli.up.client_config import client_config
from horde_cli.up.directory import write_whole
from horde_core.signing import Signer

PAUSE_S = 5.0
UNIT = Path("/etc/systemd/system/horde-executor.service")


async def join(url: str, hotkey: Signer, token: str, ca: Path | None, *, patiently: bool = True) -> None:
    """Let a hotkey in by a token; one that came in already stays in. A facilitator that is away is waited for.

    `ca` is the file of the authority that alone may vouch for it, if it is no public one.

    Raises:
        NotConfigured: the URL is none.
        BadUsage: the token is worth nothing, or no more.
        ServiceError: the facilitator refuses, or does not answer and there is no patience.
    """
    while True:
        with translated():
            try:
                async with _client(url, hotkey, ca) as client:
                    return await client.authenticate(token)
            except ComputeHordeError as error:
                if not patiently or not is_passing(error):
                    raise
                print(f"horde: {error}; trying again", file=sys.stderr)
        await asyncio.sleep(PAUSE_S)


def log_in(url: str, token: str, file: Path, fingerprint: str | None = None) -> str:
    """Make a hotkey, let it in by a token, and write the file that leads there; returns the hotkey's address.

    A file that leads to this facilitator already keeps its hotkey. With a `fingerprint`, the CA that has it is
    fetched and lies beside the file.

    Raises:
        BadUsage: the file leads elsewhere, or the token is worth nothing.
        Untrusted: the facilitator's CA has another fingerprint, or the file names another CA.
        CommandError: the file cannot be written.
    """
    if file.exists():
        known = _written(file)
        if known.facilitator_url.rstrip("/") != url.rstrip("/"):
            raise BadUsage(f"{file} leads to {known.facilitator_url}", "name another file with --config")
        if fingerprint:
            trust.check(known.facilitator_ca, fingerprint, file)
        asyncio.run(join(url, known.hotkey, token, known.facilitator_ca, patiently=False))
        return known.hotkey.ss58_address
    place = file.with_suffix(".ca.pem")
    place.unlink(missing_ok=True)  # of a login that came to nothing
    ca = trust.authority(url, fingerprint, place, patiently=False)
    hotkey = open_or_make(file.parent / "wallets" / "horde" / "hotkeys" / "default")
    asyncio.run(join(url, hotkey, token, ca, patiently=False))
    trusted = Path(place.name) if ca == place else ca and ca.absolute()
    try:
        write_whole(file, client_config(url, hotkey.ss58_address, trusted))
    except OSError as error:
        raise CommandError(f"cannot write {file} ({error.strerror})", "name another file with --config") from error
    return hotkey.ss58_address


def install(unit: Path, words: Iterable[str]) -> None:
    """Write a systemd unit that runs `horde executor run` with these further words.

    Raises:
        CommandError: the unit cannot be written.
    """
    try:
        unit.write_text(unit_text(words))
    except OSError as error:
        raise CommandError(f"cannot write {unit} ({error.strerror})", "name another place with --unit") from error


def unit_text(words: Iterable[str]) -> str:
    """A unit that starts the executor with the machine, and hands its jobs back when it is stopped."""
    command = " ".join(_quoted(word) for word in (sys.executable, "-m", "horde_cli", "executor", "run", *words))
    return (
        "[Unit]\n"
        "Description=ComputeHorde executor\n"
        "Wants=network-online.target\n"
        "After=network-online.target docker.service\n"
        "\n"
        "[Service]\n"
        f"ExecStart={command}\n"
        "Restart=always\n"
        "RestartSec=10\n"
        "TimeoutStopSec=60\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def _quoted(word: str) -> str:
    """A word of a command as systemd reads it (systemd.service(5), "Command lines")."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word or any(char.isspace() for char in word) else word


def _written(file: Path) -> ComputeHordeClient:
    try:
        return ComputeHordeClient.from_config(file)
    except ComputeHordeError as error:
        raise NotConfigured(str(error), "name another file with --config") from error


def _client(url: str, hotkey: Signer, ca: Path | None) -> ComputeHordeClient:
    try:
        return ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=url, facilitator_ca=ca)
    except ComputeHordeError as error:
        raise NotConfigured(str(error)) from error
