"""What the command line says about the encryption of a facilitator."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horde_cli.errors import BadUsage
from horde_core.trust import is_loopback

if TYPE_CHECKING:
    from horde_facilitator.encryption import Encryption


@dataclass(frozen=True, slots=True)
class Tls:
    """The options `--tls-cert` with `--tls-key`, `--tls-name`, `--plain-http`: one of the three, or none."""

    cert: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    plain: bool = False

    def warning(self, host: str) -> str:
        """What somebody who listens on `host` has to be told, if anything."""
        if not self.plain or is_loopback(host):
            return ""
        return (
            "--plain-http: whoever is on the way to it can read and change jobs, data and results; "
            "let nobody else into that network"
        )

    def setting(self) -> "Encryption | None":
        """As the facilitator has it; None leaves it to the address that is listened on."""
        from horde_facilitator.encryption import GivenCertificate, OwnCertificate, Plain

        if self.plain:
            return Plain()
        if self.cert and self.key:
            return GivenCertificate(self.cert, self.key)
        return OwnCertificate(self.names) if self.names else None

    def as_json(self) -> dict[str, Any]:
        """For a plan that travels to another process."""
        cert, key = (str(file) if file else None for file in (self.cert, self.key))
        return {"cert": cert, "key": key, "names": list(self.names), "plain": self.plain}

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Tls":
        """From such a plan."""
        cert, key = (Path(told[name]) if told[name] else None for name in ("cert", "key"))
        return cls(cert, key, tuple(told["names"]), bool(told["plain"]))


def wanted(cert: Path | None, key: Path | None, names: Iterable[str], *, plain: bool) -> Tls:
    """The options together.

    Raises:
        BadUsage: they contradict each other, or a name is none.
    """
    from horde_facilitator.tls.names import is_name

    names = tuple(names)
    given = {"--tls-cert": cert, "--tls-key": key, "--tls-name": names}
    named = [option for option, value in given.items() if value]
    if plain and named:
        raise BadUsage(f"--plain-http and {named[0]} contradict each other", "leave out one of them")
    if (cert is None) != (key is None):
        missing = "--tls-key" if cert else "--tls-cert"
        raise BadUsage(f"{named[0]} needs {missing}", "give the certificate and its key together")
    if cert and names:
        raise BadUsage(
            "--tls-name and --tls-cert contradict each other",
            "names are for the certificate that is made here; a given one has its own",
        )
    for name in names:
        if not is_name(name):
            raise BadUsage(
                f"--tls-name {name!r} is neither a host nor an address", "write it like horde.example.com"
            )
    cert, key = (file.expanduser().absolute() if file else None for file in (cert, key))
    return Tls(cert, key, names, plain)
