"""Checks of the way to the facilitator: configuration, network, login, clock."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

import httpx2

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError
from horde_cli.connection import connect
from horde_cli.doctor.report import Finding, fail, ok, skip
from horde_cli.errors import CommandError

ANSWER_S = 5.0
# The facilitator takes signatures that are up to 300 s old and up to 60 s early, less the way and the rounding.
LATEST_S = 290.0
EARLIEST_S = 50.0


async def service(facilitator: str | None, hotkey: Path | None, config: Path | None) -> list[Finding]:
    """Whether this command line would reach a horde, and be let in."""
    try:
        client = connect(facilitator, hotkey, config)
    except CommandError as error:
        remedy = error.remedy or "mend it, or start a horde that writes one: horde up"
        rest = (skip(check, "no horde is configured") for check in ("facilitator", "clock", "login"))
        return [fail("config", error.message, remedy), *rest]
    configured = ok("config", f"{client.facilitator_url} as {client.hotkey.ss58_address}")
    async with client:
        return [configured, *await _reach(client)]


async def _reach(client: ComputeHordeClient) -> list[Finding]:
    url = f"{client.facilitator_url.rstrip('/')}/healthz"
    try:
        async with httpx2.AsyncClient(timeout=ANSWER_S) as http:
            answer = await http.get(url)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        remedy = "start it (horde up), or correct the URL"
        rest = (skip(check, "the facilitator does not answer") for check in ("clock", "login"))
        return [fail("facilitator", f"{url}: {error or type(error).__name__}", remedy), *rest]
    if answer.status_code != HTTPStatus.OK:
        reached = fail(
            "facilitator", f"{url} answers {answer.status_code}", "see whether the URL leads to a horde"
        )
    else:
        reached = ok("facilitator", f"{client.facilitator_url} answers")
    return [reached, clock(answer.headers.get("Date"), datetime.now(UTC)), await _login(client)]


def clock(date: str | None, now: datetime) -> Finding:
    """Whether signatures made here are taken there; `date` is what the facilitator sent as its time."""
    if not date:
        return skip("clock", "the facilitator does not tell its time")
    ahead = (now - parsedate_to_datetime(date)).total_seconds()
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the facilitator"
    if -LATEST_S < ahead < EARLIEST_S:
        return ok("clock", detail)
    return fail("clock", detail, "signatures are refused; set the clock, and keep it right with NTP")


async def _login(client: ComputeHordeClient) -> Finding:
    try:
        await client.authenticate()
    except ComputeHordeError as error:
        address = client.hotkey.ss58_address
        return fail("login", str(error), f"let the hotkey in: horde facilitator --admit user={address}")
    return ok("login", f"{client.hotkey.ss58_address} is let in")
