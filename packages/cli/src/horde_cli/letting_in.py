"""What operators decide about hotkeys: the allow-list, invitations, the keys of tokens."""

import shlex
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from compute_horde_sdk.v1 import ComputeHordeNotFoundError
from horde_cli import view
from horde_cli.errors import BadUsage
from horde_cli.operator import Operator
from horde_core import signing
from horde_core.trust import AUTHORITY_PATH, fingerprint_of, is_loopback
from horde_core.wire.operator import (
    HOTKEYS_PATH,
    INVITATIONS_PATH,
    KEYS_PATH,
    PENDING_PATH,
    Hotkeys,
    Invitation,
    InvitationRequest,
    PendingHotkeys,
    Role,
    RotatedKeys,
)


async def add(operator: Operator, hotkeys: Sequence[str], role: Role) -> None:
    """Give hotkeys a role."""
    for hotkey in hotkeys:
        await operator.put(_path(hotkey, role))


async def remove(operator: Operator, hotkeys: Sequence[str], role: Role | None) -> None:
    """Take a role from hotkeys, or all that they have."""
    for hotkey in hotkeys:
        roles = [role] if role else await _roles(operator, hotkey)
        for each in roles:
            await operator.delete(_path(hotkey, each))


async def listing(operator: Operator, *, as_json: bool) -> None:
    """Print the allow-list."""
    found = await operator.get(HOTKEYS_PATH, Hotkeys)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    rows = [(it.hotkey, it.role, view.ago(it.added_at), ", ".join(it.classes or ())) for it in found.hotkeys]
    view.print_rows(("HOTKEY", "ROLE", "SINCE", "ONLY CLASSES"), rows)


async def pending(operator: Operator, *, as_json: bool) -> None:
    """Print the hotkeys that were refused, each with the command that lets it in."""
    found = await operator.get(PENDING_PATH, PendingHotkeys)
    if as_json:
        print(found.model_dump_json(indent=2))
    elif not found.pending:
        print("horde: nobody was refused", file=sys.stderr)
    for it in found.pending if not as_json else ():
        times = f"{it.times} times, " if it.times > 1 else ""
        print(f"{it.hotkey}  {times}{view.ago(it.last_at)} ago, from {view.plain(it.address)}")
        print(f"    horde hotkeys add {it.hotkey} --role {view.plain(it.role)}")


async def invite(operator: Operator, request: InvitationRequest, url: str | None) -> str:
    """The line with which somebody, or some machine, comes in."""
    place = url or operator.url
    ca = await _fingerprint(operator) if urlsplit(place).scheme == "https" else []
    given = await operator.post(INVITATIONS_PATH, request, Invitation)
    if is_loopback(urlsplit(place).hostname or ""):
        print(f"horde: other machines do not reach {place}; --url names what they use", file=sys.stderr)
    if request.role in (Role.EXECUTOR, Role.TRUSTED):
        classes = [word for name in request.classes or () for word in ("--class", name)]
        return shlex.join(
            ["horde", "executor", "run", "--facilitator", place, "--token", given.token, *ca, *classes]
        )
    return shlex.join(["horde", "login", place, given.token, *ca])


async def rotate(operator: Operator) -> RotatedKeys:
    """Let a new key sign tokens."""
    return await operator.post(KEYS_PATH + "/rotate", None, RotatedKeys)


async def _fingerprint(operator: Operator) -> list[str]:
    """The words by which others know the facilitator's CA, if it has one that is no public one.

    It is asked over a connection that the operator trusts; without TLS, whoever is on the way could put in theirs.
    """
    if urlsplit(operator.url).scheme != "https":
        return []
    try:
        return ["--ca-fingerprint", fingerprint_of(await operator.text(AUTHORITY_PATH))]
    except (ComputeHordeNotFoundError, ValueError):  # a reverse proxy may answer anything there
        return []


async def _roles(operator: Operator, hotkey: str) -> list[Role]:
    found = await operator.get(HOTKEYS_PATH, Hotkeys)
    roles = [Role(it.role) for it in found.hotkeys if it.hotkey == hotkey]
    if not roles:
        raise BadUsage(f"{hotkey} has no role here", "horde hotkeys list shows all")
    return roles


def _path(hotkey: str, role: Role) -> str:
    try:
        signing.public_key(hotkey)
    except ValueError as error:
        raise BadUsage(str(error), "give the whole address, as in: horde hotkeys pending") from error
    return f"{HOTKEYS_PATH}/{hotkey}/{role}"
