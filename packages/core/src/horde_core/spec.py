"""The specification of a job: what a client asks for, with the names and types of the wire.

Reading is strict: an unknown field, a wrong type or an impossible value is refused with an error that names the
field, and nothing is coerced. `field_errors` turns pydantic's report into the wire's ``{field: [message]}``.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from horde_core import paths
from horde_core.images import parse_image
from horde_core.uploads import MAX_UPLOADS, Upload
from horde_core.volumes import Volume, check_together

MAX_LIMIT = 2**31 - 1
MAX_PRIORITY = 10
MAX_STRING_BYTES = 128 * 1024 - 1  # Linux: MAX_ARG_STRLEN, one argument or one variable with its name
MAX_STRINGS_BYTES = 1024 * 1024  # half of what Linux leaves for arguments and environment together


def _checked_image(text: str) -> str:
    parse_image(text)
    return text


def _checked_args(args: list[str]) -> list[str]:
    for index, arg in enumerate(args):
        if "\0" in arg:
            raise ValueError(f"argument {index} holds a NUL character")
        if len(arg.encode(errors="surrogatepass")) > MAX_STRING_BYTES:
            raise ValueError(f"argument {index} is longer than {MAX_STRING_BYTES} bytes; use an input volume")
    return args


def _checked_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a variable: it must not be empty or hold '=' or NUL")
        if "\0" in value:
            raise ValueError(f"the value of {name!r} holds a NUL character")
        if len(f"{name}={value}".encode(errors="surrogatepass")) > MAX_STRING_BYTES:
            raise ValueError(f"{name!r} is longer than {MAX_STRING_BYTES} bytes; use an input volume")
    return env


def _checked_names(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("a name is there twice")
    return names


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


Limit = Annotated[int, Field(ge=0, le=MAX_LIMIT)]


class StreamingDetails(BaseModel):
    """What a streaming job says of its client: the PEM certificate that may connect."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    public_key: str
    executor_ip: str | None = None


class JobSpec(BaseModel):
    """A job as a client asks for it. Limits are whole seconds.

    `priority` orders its owner's jobs among themselves, the greater first. None leaves `max_attempts` and
    `queue_time_limit` to the operator. `secret_env` names those variables of `env` that nobody is shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    executor_class: Annotated[str, Field(min_length=1, max_length=100)]
    docker_image: Annotated[str, AfterValidator(_checked_image)]
    job_namespace: Annotated[str, Field(max_length=100)] = ""
    args: Annotated[list[str], AfterValidator(_checked_args)] = []
    env: Annotated[dict[str, str], AfterValidator(_checked_env), Field(repr=False)] = {}
    artifacts_dir: Annotated[
        Annotated[str, AfterValidator(paths.absolute)] | None, BeforeValidator(_none_if_empty)
    ] = None
    download_time_limit: Limit = 0
    execution_time_limit: Limit = 0
    upload_time_limit: Limit = 0
    streaming_start_time_limit: Limit = 5
    streaming_details: StreamingDetails | None = None
    volumes: list[Volume] = []
    uploads: Annotated[list[Upload], Field(max_length=MAX_UPLOADS)] = []
    on_trusted_miner: bool = False
    use_gpu: bool = False
    target_validator_hotkey: Annotated[str, Field(max_length=255)] = ""
    tag: Annotated[str, Field(max_length=255)] = ""
    max_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    queue_time_limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] | None = None
    secret_env: Annotated[list[str], AfterValidator(_checked_names)] = []

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            check_together(self.volumes)
        except ValueError as error:
            raise ValueError(f"volumes: {error}") from None
        unknown = [name for name in self.secret_env if name not in self.env]
        if unknown:
            raise ValueError(f"secret_env: {unknown[0]!r} is not in env; give its value there")
        strings = [*self.args, *(f"{k}={v}" for k, v in self.env.items())]
        size = sum(len(s.encode(errors="surrogatepass")) + 1 for s in strings)
        if size > MAX_STRINGS_BYTES:
            raise ValueError(
                f"args: arguments and environment hold {size} bytes together; the limit is {MAX_STRINGS_BYTES}"
            )
        return self

    @property
    def plain_env(self) -> dict[str, str]:
        """The variables that may be shown."""
        return {name: value for name, value in self.env.items() if name not in self.secret_env}

    @property
    def secrets(self) -> dict[str, str]:
        """The variables that only the job itself may see."""
        return {name: self.env[name] for name in self.secret_env}

    @property
    def is_streaming(self) -> bool:
        """Whether the job serves its client while it runs."""
        return self.streaming_details is not None


def field_errors(error: ValidationError) -> dict[str, list[str]]:
    """Group a report by top-level field, each message saying where inside the field it applies."""
    grouped: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        name, inner = _place(item["loc"])
        if not name:  # a check over several fields names its field itself
            name, _, message = message.partition(": ")
        grouped.setdefault(name, []).append(f"{inner}: {message}" if inner else message)
    return grouped


def _place(loc: Sequence[int | str]) -> tuple[str, str]:
    if not loc:
        return "", ""
    return str(loc[0]), ".".join(str(part) for part in loc[1:])
