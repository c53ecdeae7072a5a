"""The text of `DIR/client.toml`, as the SDK reads it. Strings of JSON are strings of TOML."""

import json
from pathlib import Path


def client_config(url: str, validator: str, ca: Path | str | None = None) -> str:
    """A file that leads to the facilitator at `url` with the hotkey below `wallets`, wherever the directory is.

    `ca` is the file of the authority that alone is trusted; without a beginning slash, from where this file is.
    """
    authority = f"facilitator_ca = {json.dumps(str(ca))}\n" if ca else ""
    return (
        f"facilitator_url = {json.dumps(url)}\n"
        f"{authority}"
        f"validator_hotkey = {json.dumps(validator)}\n"
        "\n"
        "[wallet]\n"
        'path = "wallets"\n'
        'name = "horde"\n'
        'hotkey = "default"\n'
    )
