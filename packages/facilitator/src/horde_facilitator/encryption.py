"""How the facilitator is reached: what an operator says about TLS."""

from dataclasses import dataclass
from pathlib import Path

from horde_core.trust import is_loopback


@dataclass(frozen=True, slots=True)
class Plain:
    """HTTP as it is. Whoever is on the way can read and change everything."""


@dataclass(frozen=True, slots=True)
class GivenCertificate:
    """HTTPS with a certificate that somebody else renews: the chain, the server's own first, and its key (PEM)."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """HTTPS with a certificate of an own CA, made and renewed here; `names` are further names and addresses."""

    names: tuple[str, ...] = ()


Encryption = Plain | GivenCertificate | OwnCertificate


def by_default(host: str) -> Encryption:
    """Whatever can leave the machine is encrypted."""
    return Plain() if is_loopback(host) else OwnCertificate()
