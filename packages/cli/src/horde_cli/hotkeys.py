"""Hotkeys in files, in the form that Bittensor wallets have: unencrypted JSON, for the owner's eyes only."""

import os
from collections.abc import Callable
from pathlib import Path

from bittensor_wallet import Keypair, keyfile

from horde_cli.errors import HotkeyError


def open_or_make(path: Path) -> Keypair:
    """The hotkey in a file; made when the file does not exist.

    Raises:
        HotkeyError: the file cannot be read, is encrypted or holds no key, or cannot be written.
    """
    try:
        return open_hotkey(path)
    except FileNotFoundError:
        pass
    hotkey = Keypair.create_from_mnemonic(Keypair.generate_mnemonic())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, keyfile.serialized_keypair_to_keyfile_data(hotkey))
    except FileExistsError:
        return open_hotkey(path)
    except OSError as error:
        raise HotkeyError(f"cannot write the hotkey {path} ({error.strerror})", "choose another --data") from error
    return hotkey


def open_hotkey(path: Path) -> Keypair:
    """The hotkey in a file.

    Raises:
        FileNotFoundError: there is no such file.
        HotkeyError: the file cannot be read, is encrypted, or holds no key.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HotkeyError(f"cannot read the hotkey {path} ({error.strerror})") from error
    if keyfile.keyfile_data_is_encrypted(data):
        raise HotkeyError(f"the hotkey {path} is encrypted", "use one without a password, as hotkeys usually are")
    parse: Callable[[bytes], Keypair] = keyfile.deserialize_keypair_from_keyfile_data
    try:
        return parse(data)
    except Exception as error:  # the library's own errors derive from nothing narrower
        raise HotkeyError(f"{path} holds no hotkey", "name a hotkey file of a Bittensor wallet") from error


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that appears whole, on disk and for its owner only, or not at all.

    Raises:
        FileExistsError: somebody else was first.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, for its mode
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
