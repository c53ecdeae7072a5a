"""Checks of what a user says about a private registry, before anything is sent."""

from pydantic import ValidationError

from compute_horde_sdk.v1._errors import ComputeHordeSpecError
from horde_core.images import parse_registry
from horde_core.spec import field_errors
from horde_core.wire.registries import RegistryLogin


def named(registry: str) -> str:
    """The one name of a registry.

    Raises:
        ComputeHordeSpecError: it is no host.
    """
    try:
        return parse_registry(registry)
    except ValueError as error:
        raise ComputeHordeSpecError(f"registry: {error}") from error


def login_of(username: str, password: str) -> RegistryLogin:
    """The credentials as a message.

    Raises:
        ComputeHordeSpecError: one of them is empty or too long; the message does not repeat them.
    """
    try:
        return RegistryLogin(username=username, password=password)
    except ValidationError as error:
        wrong = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in field_errors(error).items())
        raise ComputeHordeSpecError(wrong) from error
