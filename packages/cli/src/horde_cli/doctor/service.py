"""Checks of the way to the facilitator: configuration, network, login, clock."""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError

# Whom the client trusts; both packages have one version, and the names are no user's.
from compute_horde_sdk.v1._tls import distrusted, trusting
from horde_cli.connection import connect
from horde_cli.doctor.report import Finding, fail, ok, skip, warn
from horde_cli.errors import CommandError
from horde_core.trust import is_loopback

ANSWER_S = 5.0
# The facilitator takes signatures that are up to 300 s old and up to 60 s early, less the way and the rounding.
LATEST_S = 290.0
EARLIEST_S = 50.0
# A certificate of an own CA is renewed 30 days before its end, others usually as early.
FEW_DAYS = 14


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
        # Nobody needs authorities, which take time to read, where nothing is encrypted.
        verify = trusting(client.facilitator_ca) if url.startswith("https:") else False
        async with httpx2.AsyncClient(timeout=ANSWER_S, verify=verify) as http:
            answer = await http.get(url)
            ends = _end_of_certificate(answer)
    except (httpx2.HTTPError, httpx2.InvalidURL, ComputeHordeError) as error:
        rest = (skip(check, "the facilitator does not answer") for check in ("clock", "login"))
        return [_unreached(client, url, error), *rest]
    if answer.status_code != HTTPStatus.OK:
        reached = fail(
            "facilitator", f"{url} answers {answer.status_code}", "see whether the URL leads to a horde"
        )
    else:
        reached = way(client.facilitator_url, ends, datetime.now(UTC))
    return [reached, clock(answer.headers.get("Date"), datetime.now(UTC)), await _login(client)]


def way(url: str, ends: datetime | None, now: datetime) -> Finding:
    """How safe the way to the facilitator is; `ends` is the end of its certificate, None without TLS."""
    if ends is None:
        said = f"{url} answers; nothing on the way is encrypted"
        if is_loopback(urlsplit(url).hostname or ""):
            return ok("facilitator", f"{url} answers, on this machine")
        return warn("facilitator", said, "let nobody else into that network, or start it without --plain-http")
    days = (ends - now).days
    said = f"{url} answers, encrypted; its certificate ends on {ends:%Y-%m-%d}, in {days} days"
    if days < FEW_DAYS:
        return warn("facilitator", said, "see that it is renewed in time")
    return ok("facilitator", said)


def _end_of_certificate(answer: httpx2.Response) -> datetime | None:
    connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
    if connection is None:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"]), UTC)


def _unreached(client: ComputeHordeClient, url: str, error: Exception) -> Finding:
    if untrusted := distrusted(error, client.facilitator_url, client.facilitator_ca):
        said, _, remedy = str(untrusted).partition("; ")
        return fail("facilitator", said, remedy)
    return fail(
        "facilitator", f"{url}: {error or type(error).__name__}", "start it (horde up), or correct the URL"
    )


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
