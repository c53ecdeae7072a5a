"""Which addresses a job's URLs may reach.

Public addresses are open; everything that belongs to a machine, a site or a cloud's inside is shut unless the
operator opened it with ``--allow-egress HOST:PORT``. An address is judged at the moment in which a socket is
about to connect to it, never earlier, so what a name resolved to before is of no consequence. The table is our
own, because `ipaddress.is_global` differs between patch levels of Python (CVE-2024-4032) and is wrong about
NAT64, 6to4, multicast, site-local addresses and the insides of clouds.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The IANA special-purpose registries (iana.org/assignments/iana-ipv4-special-registry and -ipv6-), the multicast
# registries, and addresses of clouds that are public in form only. Metadata services live on 169.254.0.0/16
# (most clouds), 100.100.100.200 (Alibaba), 192.0.0.192 (Oracle), fd00::/8 (AWS, Google, Scaleway): all shut here.
_SHUT: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine (RFC 791)"),
        ("10.0.0.0/8", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "a provider's shared network (RFC 6598)"),
        ("127.0.0.0/8", "this machine (loopback, RFC 1122)"),
        ("168.63.129.16/32", "a cloud's inside (Azure's virtual public address)"),
        ("169.254.0.0/16", "link-local, where clouds keep their metadata (RFC 3927)"),
        ("172.16.0.0/12", "a private network (RFC 1918)"),
        ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
        ("192.0.2.0/24", "for documentation only (RFC 5737)"),
        ("192.31.196.0/24", "reserved for AS112 (RFC 7535)"),
        ("192.52.193.0/24", "reserved for multicast tunnels (RFC 7450)"),
        ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
        ("192.168.0.0/16", "a private network (RFC 1918)"),
        ("192.175.48.0/24", "reserved for AS112 (RFC 7534)"),
        ("198.18.0.0/15", "for benchmarks only (RFC 2544)"),
        ("198.51.100.0/24", "for documentation only (RFC 5737)"),
        ("203.0.113.0/24", "for documentation only (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("240.0.0.0/4", "reserved or broadcast (RFC 1112, RFC 919)"),
        ("::/128", "this machine (unspecified, RFC 4291)"),
        ("::1/128", "this machine (loopback, RFC 4291)"),
        ("::/96", "an IPv4-compatible address (RFC 4291)"),
        ("64:ff9b:1::/48", "local translation to IPv4 (RFC 8215)"),
        ("100::/64", "a black hole (RFC 6666)"),
        ("2001::/23", "reserved for protocols, Teredo among them (RFC 2928)"),
        ("2001:db8::/32", "for documentation only (RFC 3849)"),
        ("2002::/16", "6to4, which wraps an IPv4 address (RFC 3056)"),
        ("2620:4f:8000::/48", "reserved for AS112 (RFC 7534)"),
        ("3fff::/20", "for documentation only (RFC 9637)"),
        ("5f00::/16", "reserved for segment routing (RFC 9602)"),
        ("fc00::/7", "a private network (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "a private network (site-local, RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA gives out (RFC 4291, section 2.4)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are the IPv4 address meant

_ENTRY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
MAX_PORT = 65535


def is_own_address(address: str) -> bool:
    """Whether this machine holds the address itself (then a firewall outside would not see the connection).

    The kernel is asked for a route, nothing is sent: towards an own address the source is that address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
            return bool(probe.getsockname()[0] == address)
        except OSError:
            return False


def special(address: str) -> str | None:
    """What a shut address is, in words that follow "is"; None for a public one.

    Raises:
        ValueError: the text is no address.
    """
    meant = _meanings(address)[-1]
    for network, what in _SHUT:
        if meant.version == network.version and meant in network:
            return what
    if meant.version == 6 and meant not in _GLOBAL_UNICAST:  # noqa: PLR2004 - the version of IP
        return "not given out by anybody (RFC 4291)"
    return None


def _meanings(address: str) -> tuple[Address, ...]:
    """The address itself and, last, the one where packets to it end up."""
    itself = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(itself, ipaddress.IPv4Address):
        return (itself,)
    if itself.ipv4_mapped is not None:  # the kernel connects to the IPv4 address
        return (itself.ipv4_mapped,)
    if itself in _NAT64:
        return (itself, ipaddress.IPv4Address(itself.packed[-4:]))
    return (itself,)


@dataclass(frozen=True, slots=True)
class Egress:
    """The operator's openings: networks and names, each with a port. The default opens nothing more."""

    networks: tuple[tuple[Network, int], ...] = ()
    names: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, values: Iterable[str]) -> Self:
        """Read ``HOST:PORT`` entries, where HOST is an address, a network in CIDR notation, or a name.

        Raises:
            ValueError: an entry cannot be read; the message quotes it and says what is wrong.
        """
        networks: list[tuple[Network, int]] = []
        names: set[tuple[str, int]] = set()
        for value in values:
            host, port = _parse_entry(value)
            if isinstance(host, str):
                names.add((host, port))
            else:
                networks.append((host, port))
        return cls(tuple(networks), frozenset(names))

    def entries(self) -> list[str]:
        """The openings in the form that `parse` reads."""
        networks = [(str(network), port) for network, port in self.networks]
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in networks]
        return [f"{host}:{port}" for host, port in (*hosts, *sorted(self.names))]

    def refusal(
        self, address: str, port: int, host: str, *, is_own: Callable[[str], bool] = is_own_address
    ) -> str | None:
        """Why a connection may not be made, in words that follow "is"; None when it may.

        Args:
            address: where the socket is about to connect, as the kernel gets it.
            port: its port.
            host: the lower-case host of the URL. A name that the operator opened opens whatever it resolves to,
                for URLs with exactly that host and port.
            is_own: whether the machine holds an address that is public otherwise.
        """
        if (host.removesuffix("."), port) in self.names:
            return None
        for meaning in _meanings(address):
            for network, open_port in self.networks:
                if open_port == port and meaning.version == network.version and meaning in network:
                    return None
        what = special(address)
        if what is None and is_own(address.partition("%")[0]):
            return "an address of the executor's own machine"
        return what


def _parse_entry(value: str) -> tuple[Network | str, int]:
    where = f"--allow-egress {value!r}"
    if "/" in value and "://" in value:
        raise ValueError(f"{where}: give HOST:PORT alone, without a scheme, for example 'data.example.org:443'")
    entry = _ENTRY.fullmatch(value.strip().lower())
    if entry is None:
        hint = "write an IPv6 address in brackets, '[fd00::1]:443'" if value.count(":") > 1 else "add the port"
        raise ValueError(f"{where} is not HOST:PORT; {hint}")
    port = int(entry["port"])
    if not 0 < port <= MAX_PORT:
        raise ValueError(f"{where}: the port must be between 1 and {MAX_PORT}")
    if "%" in value:
        raise ValueError(f"{where}: an address with a zone cannot be opened")
    if entry["v6"] is not None:
        return _parse_network(entry["v6"], where, ipaddress.IPv6Network), port
    host = entry["host"].removesuffix(".")
    if "/" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _parse_network(host, where, ipaddress.IPv4Network), port
    if not _NAME.fullmatch(host):
        raise ValueError(f"{where}: {host!r} is no host name (write other alphabets in their 'xn--' form)")
    return host, port


def _parse_network(text: str, where: str, kind: type[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Network:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
