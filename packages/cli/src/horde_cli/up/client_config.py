"""What `DIR/client.toml` says: where the facilitator is, and with which hotkey to log in."""

import json

from horde_cli.up.directory import Directory


def client_config(url: str, directory: Directory) -> str:
    """The text of the file."""
    return f"facilitator_url = {json.dumps(url)}\nhotkey = {json.dumps(str(directory.user_hotkey))}\n"
