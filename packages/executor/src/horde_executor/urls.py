"""URLs of jobs, in the one form that both this package and libcurl read alike.

Two parsers that disagree about the host of a URL are a classic way around a check. So a URL is read once,
rebuilt from its checked parts, and only the rebuilt one is handed on.
"""

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

from horde_core.volumes import checked_url

_PORTS = {"http": 80, "https": 443}
# Parameters that sign a URL and choose nothing, by those that are in every URL signed so: two URLs that differ in
# these alone mean the same file. A name that ends with "-" stands for all that begin so.
_SIGNING: tuple[tuple[set[str], set[str]], ...] = (
    ({"x-amz-signature"}, {"x-amz-"}),  # S3 and all that speak like it
    ({"x-goog-signature"}, {"x-goog-"}),  # Google Cloud Storage
    ({"awsaccesskeyid", "signature"}, {"awsaccesskeyid", "signature", "expires"}),  # S3 of old
    ({"googleaccessid", "signature"}, {"googleaccessid", "signature", "expires"}),  # Google's of old
    ({"key-pair-id", "signature"}, {"key-pair-id", "signature", "expires", "policy"}),  # CloudFront
    ({"sig", "se", "sv"}, {"sig", "se", "sv", "st", "sp", "spr", "sip", "sr", "ses"}),  # Azure
    ({"sig", "skoid"}, {"skoid", "sktid", "skt", "ske", "sks", "skv"}),  # the same, by a user's key
)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?")
_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes. `host` is ASCII and lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an http(s) URL; its fragment is dropped, letters outside ASCII are encoded.

        Raises:
            ValueError: the URL is none that can be fetched; the message does not show it.
        """
        parts = urlsplit(checked_url(url))
        return cls(
            scheme=parts.scheme,
            host=_checked_host(parts.hostname or ""),
            port=parts.port or _PORTS[parts.scheme],
            path=quote(parts.path, safe=_ASCII) or "/",
            query=quote(parts.query, safe=_ASCII),
        )

    def redirected(self, location: bytes) -> Self:
        """The target of a `Location` header, which may be relative and holds whatever the server wrote.

        Raises:
            ValueError: it leads to no http(s) URL.
        """
        try:
            url = urljoin(self.url, quote(location.strip(), safe=_ASCII))
        except ValueError:
            raise ValueError("the URL cannot be read") from None
        return type(self).parse(url)

    @property
    def url(self) -> str:
        """The URL for libcurl."""
        return self.shown + (f"?{self.query}" if self.query else "")

    @property
    def identity(self) -> str:
        """What tells this URL's file from all others: a hash of the URL without the parameters that sign it."""
        pairs = [(pair.partition("=")[0].lower(), pair) for pair in self.query.split("&") if pair]
        names = {name for name, _ in pairs}
        signing = {name for marks, its in _SIGNING if marks <= names for name in its}
        kept = [pair for name, pair in pairs if not _is_one_of(name, signing)]
        return hashlib.sha256("?".join((self.shown, "&".join(kept))).encode()).hexdigest()

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom a request is made to; credentials for one are for no other."""
        return (self.scheme, self.host, self.port)

    @property
    def shown(self) -> str:
        """The URL for messages: without the query, which may hold a signature."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def _is_one_of(name: str, signing: set[str]) -> bool:
    return name in signing or any(one.endswith("-") and name.startswith(one) for one in signing)


def _checked_host(host: str) -> str:
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise ValueError("the URL's host is no IPv6 address (a zone cannot be used)") from None
    try:
        name = host.encode("idna").decode() if not host.isascii() else host.lower()
    except UnicodeError:
        raise ValueError("the URL's host name cannot be read") from None
    if not _HOST.fullmatch(name):
        raise ValueError("the URL's host name holds characters that host names do not have")
    return name
