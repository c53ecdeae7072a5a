"""Where files are, by the XDG rules."""

import os
from pathlib import Path

APP = "compute-horde"
DATA_VARIABLE = "COMPUTE_HORDE_DATA"


def data_directory() -> Path:
    """Where `horde up` keeps everything when nothing else is said."""
    chosen = os.environ.get(DATA_VARIABLE)
    return Path(chosen).expanduser() if chosen else _xdg("XDG_DATA_HOME", ".local/share") / APP


def client_config() -> Path:
    """Where a user's own client.toml is written, and where the SDK looks for it first."""
    return _xdg("XDG_CONFIG_HOME", ".config") / APP / "client.toml"


def _xdg(variable: str, below_home: str) -> Path:
    # The specification says that a relative path is to be ignored.
    place = os.environ.get(variable, "")
    return Path(place) if place.startswith("/") else Path.home() / below_home
