"""The CA of a facilitator, fetched once and known by the fingerprint that its operator gave.

It is fetched over TLS that proves nothing, and nothing is said there but the request for it. What arrives is worth
something only because it has the fingerprint.
"""

import asyncio
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from compute_horde_sdk.v1._config import trusted_file
from horde_cli.errors import BadUsage, CommandError, ServiceError, Untrusted
from horde_cli.up.directory import write_whole
from horde_core.trust import AUTHORITY_PATH, complaint, distrust_in, fingerprint_of, is_loopback

FILE = "facilitator-ca.pem"
"""Its name in the data directory of an executor."""

PAUSE_S = 5.0
ANSWER_S = 10.0
MAX_BYTES = 64 * 1024


def authority(url: str, fingerprint: str | None, file: Path, *, patiently: bool = True) -> Path | None:
    """The file of the CA that alone may vouch for the facilitator; None leaves it to those that everybody trusts.

    With a `fingerprint` it is `file`, fetched if it is not there yet. Without, it is what was fetched before, or
    else what COMPUTE_HORDE_CA names.

    Raises:
        BadUsage: the URL is not https.
        Untrusted: the facilitator's CA, or the one that was fetched before, has another fingerprint.
        ServiceError: the facilitator does not answer, and there is no patience; or it has no CA to show.
        CommandError: the file cannot be written.
    """
    if fingerprint is None:
        return file if file.exists() else trusted_file(None)
    if urlsplit(url).scheme != "https":
        raise BadUsage(
            f"--ca-fingerprint goes with an https:// URL, not with {url}", "copy the operator's whole line"
        )
    if file.exists():
        check(file, fingerprint, file)
        return file
    pem = asyncio.run(_fetched(url, patiently=patiently))
    found = _fingerprint(pem, url)
    if found != fingerprint:
        raise Untrusted(
            f"the CA of {url} has the fingerprint {found}, not {fingerprint}",
            "somebody may be in between, or it has a new CA: ask its operator for a new line",
        )
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, pem)
    except OSError as error:
        raise CommandError(f"cannot write {file} ({error.strerror})", "choose another place for it") from error
    return file


def check(ca: Path | None, fingerprint: str, place: Path) -> None:
    """Check that what is trusted already is the CA with this fingerprint; `place` is the file that says so.

    Raises:
        Untrusted: it is another.
    """
    try:
        found = _fingerprint(ca.read_text(), str(ca)) if ca else "no CA"
    except OSError as error:
        raise CommandError(f"cannot read {ca} ({error.strerror})", f"see what {place} stands for") from error
    if found != fingerprint:
        raise Untrusted(
            f"{place} stands for {found}, not {fingerprint}",
            "ask the operator which one is right, and remove that file if it is not",
        )


async def _fetched(url: str, *, patiently: bool) -> str:
    while True:
        try:
            return await _asked(url)
        except httpx2.HTTPError as error:
            if why := distrust_in(error):
                raise Untrusted(complaint(url, why, None)) from error
            said = f"no answer from the facilitator at {url}: {error or type(error).__name__}"
            if not patiently:
                raise ServiceError(said, "see whether it runs, and whether the URL is right") from error
            print(f"horde: {said}; trying again", file=sys.stderr)
        except httpx2.InvalidURL as error:
            raise BadUsage(f"{url} is no URL of a facilitator: {error}") from error
        await asyncio.sleep(PAUSE_S)


async def _asked(url: str) -> str:
    # As for all requests: a proxy of the environment is for the world outside.
    beyond = not is_loopback(urlsplit(url).hostname or "")
    async with (
        httpx2.AsyncClient(verify=False, timeout=ANSWER_S, trust_env=beyond) as http,
        http.stream("GET", url.rstrip("/") + AUTHORITY_PATH) as answer,
    ):
        if answer.status_code != HTTPStatus.OK:
            raise ServiceError(
                f"the facilitator at {url} shows no CA of its own (it answers {answer.status_code})",
                "leave out --ca-fingerprint, or ask its operator for a new line",
            )
        found = b""
        async for piece in answer.aiter_bytes():
            found += piece
            if len(found) > MAX_BYTES:
                raise Untrusted(f"what {url} shows is no certificate", "ask its operator for a new line")
    return found.decode(errors="replace")


def _fingerprint(pem: str, shown_by: str) -> str:
    try:
        return fingerprint_of(pem)
    except ValueError as error:
        raise Untrusted(
            f"what {shown_by} shows is not one certificate", "ask its operator for a new line"
        ) from error
