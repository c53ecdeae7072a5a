"""The text of `DIR/client.toml`, as the SDK reads it. Strings of JSON are strings of TOML."""

import json


def client_config(url: str, validator: str) -> str:
    """A file that leads to the facilitator at `url` with the hotkey below `wallets`, wherever the directory is."""
    return (
        f"facilitator_url = {json.dumps(url)}\n"
        f"validator_hotkey = {json.dumps(validator)}\n"
        "\n"
        "[wallet]\n"
        'path = "wallets"\n'
        'name = "horde"\n'
        'hotkey = "default"\n'
    )
