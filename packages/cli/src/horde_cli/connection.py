"""Which horde a command talks to, and as whom: arguments, then COMPUTE_HORDE_* variables, then a file."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError, ComputeHordeNotFoundError
from horde_cli.errors import BadUsage, HotkeyError, NoSuchJob, NotConfigured, ServiceError
from horde_cli.hotkeys import open_hotkey
from horde_core.signing import Signer

_WRONG = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line, or else the environment, says about the connection."""

    facilitator: str | None = None
    hotkey: Path | None = None
    config: Path | None = None
    validator: str | None = None

    @classmethod
    def of(
        cls, facilitator: str | None, hotkey: Path | None, config: Path | None, environment: Mapping[str, str]
    ) -> "Wanted":
        """Arguments win over variables, one by one; an empty variable is none."""

        def path(name: str) -> Path | None:
            return Path(environment[name]).expanduser() if environment.get(name) else None

        return cls(
            facilitator or environment.get("COMPUTE_HORDE_FACILITATOR_URL") or None,
            hotkey or path("COMPUTE_HORDE_HOTKEY"),
            config or path("COMPUTE_HORDE_CONFIG"),
            environment.get("COMPUTE_HORDE_VALIDATOR_HOTKEY") or None,
        )


def connect(facilitator: str | None, hotkey: Path | None, config: Path | None) -> ComputeHordeClient:
    """A client for what this command line and environment want. Nothing is sent yet.

    Raises:
        NotConfigured: no horde is known, or a file that says so cannot be used.
        HotkeyError: the hotkey that was named cannot be used.
    """
    return client_for(Wanted.of(facilitator, hotkey, config, os.environ))


def client_for(wanted: Wanted) -> ComputeHordeClient:
    """A client for what is wanted; what is not said comes from the file. Errors as `connect`."""
    hotkey = _named(wanted.hotkey) if wanted.hotkey else None
    if hotkey and wanted.facilitator:
        # Without a validator of its own a horde goes by the hotkey of its user.
        return _client(wanted.facilitator, hotkey, wanted.validator or hotkey.ss58_address)
    try:
        written = ComputeHordeClient.from_config(wanted.config)
    except ComputeHordeError as error:
        raise NotConfigured(str(error), "use horde up, or --config, or --facilitator and --hotkey") from error
    return _client(
        wanted.facilitator or written.facilitator_url,
        hotkey or written.hotkey,
        wanted.validator or written.compute_horde_validator_hotkey,
        # The CA in the file vouches for the facilitator in the file.
        None if wanted.facilitator else written.facilitator_ca,
    )


@contextmanager
def translated() -> Generator[None]:
    """Tell the SDK's errors as this command's.

    Raises:
        NoSuchJob: the facilitator has no such job of ours.
        BadUsage: what the job asks for is wrong.
        ServiceError: the facilitator refuses, or does not answer.
    """
    try:
        yield
    except ComputeHordeNotFoundError as error:
        raise NoSuchJob("there is no such job", "horde jobs lists yours") from error
    except ComputeHordeError as error:
        # A refusal of what was asked, rather than of who asked or when.
        refused = getattr(error, "status", None) in _WRONG
        if refused or isinstance(error, ValueError):
            raise BadUsage(str(error)) from error
        raise ServiceError(str(error), "horde doctor may tell more") from error


def _named(path: Path) -> Signer:
    try:
        return open_hotkey(path)
    except FileNotFoundError as error:
        raise HotkeyError(
            f"there is no hotkey {path}", "name the file of a hotkey of a Bittensor wallet"
        ) from error


def _client(url: str, hotkey: Signer, validator: str, ca: Path | None = None) -> ComputeHordeClient:
    try:
        return ComputeHordeClient(hotkey, validator, facilitator_url=url, facilitator_ca=ca)
    except ComputeHordeError as error:
        raise NotConfigured(str(error)) from error
