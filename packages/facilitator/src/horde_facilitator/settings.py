"""What an operator decides. Read once, in `app`; every default stands here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from horde_core.wire.executor import Limits
from horde_facilitator.encryption import Encryption

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one facilitator. Names end in their unit: `_s` seconds, `_bytes` bytes.

    `admit` maps a role (``user``, ``executor``) to hotkeys that are added to the stored allow-list at the start;
    a hotkey that is on no list is refused. `port` 0 takes a free port. Without an `encryption` it is HTTPS with an
    own certificate, and on loopback plain HTTP.
    `blob_bytes` bounds an uploaded input, `blob_bytes_per_hotkey` all of an owner's; unfinished ones are forgotten
    after `draft_s`, the others `unused_blob_s` after their last use.
    `cheat_out_s` is how long a confirmed report of cheating takes an executor out; the reports of one hotkey keep
    at most `cheat_executors_out` out without an operator's word.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8700
    encryption: Encryption | None = None
    admit: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    lease_s: float = 30
    confirm_s: float = 5
    no_executor_s: float = 60
    avoid_s: float = 60
    queue_s: float = 86_400
    max_queued_per_hotkey: int = 10_000
    max_attempts: int = 3
    cheat_out_s: float = 4 * 3600
    cheat_executors_out: int = 1
    limits: Limits = field(default_factory=Limits)

    nonce_s: int = 300
    token_s: int = 3600
    login_burst: int = 100
    login_per_s: float = 2
    peer_login_burst: int = 500
    peer_login_per_s: float = 20
    pending_hotkeys: int = 100
    signature_past_s: int = 300
    signature_future_s: int = 60

    blob_bytes: int = 16 * 1024 * MIB
    blob_bytes_per_hotkey: int = 64 * 1024 * MIB
    draft_s: float = 86_400
    unused_blob_s: float = 7 * 86_400

    body_bytes: int = 32 * MIB
    inline_bytes: int = 50 * MIB
    listing_bytes: int = 64 * 1024
    log_characters: int = 1_000_000
    watched_jobs: int = 10_000

    big_body_wait_s: float = 1
    long_poll_s: float = 25
    keep_alive_s: float = 10
    recheck_s: float = 30
    tick_s: float = 1
    sweep_s: float = 60
    certificate_s: float = 60
