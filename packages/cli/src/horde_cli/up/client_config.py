"""What `DIR/client.toml` says: where the facilitator is, and with which hotkey to log in."""
