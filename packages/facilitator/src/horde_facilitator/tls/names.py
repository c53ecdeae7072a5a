"""The names and addresses by which this machine is reached."""

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from horde_core.trust import is_loopback

LOCAL = ("localhost", "127.0.0.1", "::1")
LOOPBACK_OF = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}\.?", re.IGNORECASE)
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_SIOCGIFADDR = 0x8915  # netdevice(7)
_LONGEST_NAME = 253


def is_name(text: str) -> bool:
    """Whether a certificate can be made out to it: an IP address, or a host name (also ``*.`` and one)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None
    return True


def names_of(host: str, further: Iterable[str]) -> tuple[str, ...]:
    """Everything that a certificate of this machine is made out to, each once, when it listens on `host`."""
    listening = () if host in LOOPBACK_OF else (host,)
    mine = (socket.gethostname(), *_ipv4(), *_ipv6())
    found = (*further, *listening, *filter(is_name, mine), *LOCAL)
    return tuple(dict.fromkeys(_plain(name) for name in found))


def reached_as(listening: str, names: Collection[str]) -> str:
    """The host to put into the URL of a facilitator that listens on an address, by what its certificate names.

    The address itself where clients on this machine find it named; otherwise a name for this machine, or any.
    """
    local = LOOPBACK_OF.get(listening, listening)
    if local in names:
        return listening
    here = LOCAL if is_loopback(local) else ()
    wanted = (*here, *(name for name in names if not name.startswith("*")))
    return next((name for name in wanted if name in names), listening)


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


def _ipv4() -> list[str]:
    """The first address of each interface."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, interface in socket.if_nameindex():
            request = struct.pack("256s", interface.encode())
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
            except OSError:  # it has none
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _ipv6() -> list[str]:
    """All addresses but those that need a zone."""
    try:
        lines = _IPV6_ADDRESSES.read_text().splitlines()
    except OSError:  # the kernel has no IPv6
        return []
    addresses = [ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in lines]
    return [str(address) for address in addresses if not address.is_link_local]
