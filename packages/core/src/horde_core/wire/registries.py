"""Private registries: with which credentials the images of an owner's jobs are pulled.

Passwords go in and never come out again, except in the claim of a job whose image is in that registry. A registry
is named by host, with ``:port`` if it needs one, in the form of `horde_core.images.parse_registry`.

| request | answer |
|---|---|
| GET    /api/v1/registries/         | 200 `Registries` |
| PUT    /api/v1/registries/{host}/  | 204; body `RegistryLogin` |
| DELETE /api/v1/registries/{host}/  | 204; 404 there are no credentials for it |
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from horde_core.wire.client import Timestamp

REGISTRIES_PATH = "/api/v1/registries/"
MAX_PASSWORD = 16 * 1024
"""Characters of a password; the tokens and keys that registries of the clouds take for one have some thousand."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class RegistryLogin(_Message):
    """Credentials for a registry."""

    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD, repr=False)]


class RegistryEntry(_Message):
    """A registry for which there are credentials, without the password."""

    registry: str
    username: str
    set_at: Timestamp


class Registries(_Message):
    """The registries for which one has given credentials, by name."""

    registries: list[RegistryEntry]
