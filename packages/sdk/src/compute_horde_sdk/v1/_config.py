"""The file that says which horde to talk to, and with which hotkey: what `horde up` writes.

facilitator_url = "http://127.0.0.1:8700/"
validator_hotkey = "5F…"
facilitator_ca = "facilitator/tls/ca.pem"    # if its certificate is of no authority that everybody trusts

[wallet]
path = "/home/me/.local/share/compute-horde/wallets"
name = "horde"
hotkey = "default"
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bittensor_wallet import Keypair, Wallet

from compute_horde_sdk.v1._errors import ComputeHordeConfigError

VARIABLE = "COMPUTE_HORDE_CONFIG"
CA_VARIABLE = "COMPUTE_HORDE_CA"
_FILE = Path("compute-horde", "client.toml")


@dataclass(frozen=True)
class ClientConfig:
    """Which horde, and who we are there."""

    facilitator_url: str
    validator_hotkey: str
    hotkey: Keypair
    facilitator_ca: Path | None = None


def read_config(path: str | os.PathLike[str] | None = None) -> ClientConfig:
    """Read the file that is named, or else the one in COMPUTE_HORDE_CONFIG, or else the user's own.

    The user's own is in the place for configuration, or else in that for data, where `horde up` writes it.

    Raises:
        ComputeHordeConfigError: the file, a key in it or the hotkey cannot be used.
    """
    file = _chosen(path)
    content = _toml(file)
    wallet = content.get("wallet")
    if not isinstance(wallet, dict):
        raise ComputeHordeConfigError(f"{file}: the table [wallet] is missing")
    place = cast(Mapping[str, object], wallet)
    # A relative place of wallets is meant from where the file is.
    wallets = file.parent / Path(_text(file, place, "path", "wallet.path")).expanduser()
    name, hotkey = (_text(file, place, key, f"wallet.{key}") for key in ("name", "hotkey"))
    return ClientConfig(
        facilitator_url=_text(file, content, "facilitator_url"),
        validator_hotkey=_text(file, content, "validator_hotkey"),
        hotkey=_hotkey(file, wallets, name, hotkey),
        facilitator_ca=trusted_file(None) or _authority(file, content),
    )


def trusted_file(named: str | os.PathLike[str] | None) -> Path | None:
    """The file of the authority that alone is trusted: the one that is named, or else that of COMPUTE_HORDE_CA."""
    chosen = named or os.environ.get(CA_VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def _chosen(path: str | os.PathLike[str] | None) -> Path:
    if path is not None:
        return Path(path).expanduser()
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    own = _xdg("XDG_CONFIG_HOME", ".config") / _FILE
    horde = os.environ.get("COMPUTE_HORDE_DATA")
    written = Path(horde).expanduser() / _FILE.name if horde else _xdg("XDG_DATA_HOME", ".local/share") / _FILE
    return own if own.exists() else written


def _xdg(variable: str, below_home: str) -> Path:
    # The XDG specification says that a relative path is to be ignored.
    place = os.environ.get(variable, "")
    return Path(place) if place.startswith("/") else Path.home() / below_home


def _toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComputeHordeConfigError(
            f"there is no {file}; `horde up` writes one, and {VARIABLE} or the argument `path` name another"
        ) from error
    except OSError as error:
        raise ComputeHordeConfigError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ComputeHordeConfigError(f"{file} is not valid TOML: {error}") from error


def _text(file: Path, table: Mapping[str, object], key: str, name: str | None = None) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        what = "is missing" if value is None else "must be a text that is not empty"
        raise ComputeHordeConfigError(f"{file}: {name or key} {what}")
    return value


def _authority(file: Path, content: Mapping[str, object]) -> Path | None:
    if "facilitator_ca" not in content:
        return None
    place = file.parent / Path(_text(file, content, "facilitator_ca")).expanduser()
    if not place.is_file():
        raise ComputeHordeConfigError(f"{file}: facilitator_ca names {place}, which does not exist")
    return place


def _hotkey(file: Path, wallets: Path, name: str, hotkey: str) -> Keypair:
    place = wallets / name / "hotkeys" / hotkey
    if not place.is_file():
        raise ComputeHordeConfigError(f"{file}: [wallet] names the hotkey {place}, which does not exist")
    try:
        return Wallet(name=name, hotkey=hotkey, path=str(wallets)).hotkey
    except Exception as error:  # the wallet library raises errors of several unrelated kinds
        raise ComputeHordeConfigError(f"{file}: the hotkey {place} cannot be opened: {error}") from error
