"""What a presigned request says of itself: until when it holds, and what of it nobody else may read."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote_plus

HIDDEN = "[hidden]"

_SHORTEST_SECRET = 8
# Harmless, and part of what servers answer with good reason.
_PLAIN = frozenset(
    {
        "acl", "bucket", "cache-control", "content-disposition", "content-encoding", "content-language",
        "content-type", "key", "success_action_redirect", "success_action_status", "x-amz-acl",
    }
)  # fmt: skip


def expiry(query: str, fields: Mapping[str, str]) -> datetime | None:
    """Until when a presigned URL or form holds, if it says so in a way that is known.

    Known are the signatures of S3 (versions 2 and 4), Google (both) and Azure, and the policies of forms.
    """
    given = {name.lower(): value for name, value in parse_qsl(query)}
    policy = {name.lower(): value for name, value in fields.items()}.get("policy")
    try:
        for kind in ("x-amz", "x-goog"):
            if f"{kind}-date" in given and f"{kind}-expires" in given:
                begins = datetime.strptime(given[f"{kind}-date"], "%Y%m%dT%H%M%S%z")
                return begins + timedelta(seconds=int(given[f"{kind}-expires"]))
        if "expires" in given:
            return datetime.fromtimestamp(int(given["expires"]), UTC)
        if "se" in given:
            return _aware(datetime.fromisoformat(given["se"]))
        if policy is not None:
            return _aware(datetime.fromisoformat(json.loads(base64.b64decode(policy))["expiration"]))
    except (ValueError, KeyError, TypeError, OverflowError, OSError, binascii.Error):
        return None
    return None


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def secrets_of(query: str, *given: Mapping[str, str]) -> frozenset[str]:
    """The values in a URL's query, in signed headers and in fields of a form that stay between user and server."""
    values = {part.partition("=")[2] for part in query.split("&")}
    values |= {unquote_plus(value) for value in values}
    values |= {v for mapping in given for name, v in mapping.items() if name.lower() not in _PLAIN}
    return frozenset(value for value in values if len(value) >= _SHORTEST_SECRET)


def without(secrets: Iterable[str], text: str) -> str:
    """The text with every secret hidden; servers like to quote the request that they refuse."""
    for secret in sorted(secrets, key=len, reverse=True):  # the longest first: one may hold another
        text = text.replace(secret, HIDDEN)
    return text
