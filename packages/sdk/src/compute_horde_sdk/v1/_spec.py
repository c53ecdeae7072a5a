"""The specification of a job as users write it, checked before anything is sent."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from pydantic import JsonValue, ValidationError

from compute_horde_sdk.v1._content import INLINE_BYTES, Content
from compute_horde_sdk.v1._errors import ComputeHordeSpecError
from compute_horde_sdk.v1._volumes import (
    INLINE_TOTAL,
    INPUT_PREFIX,
    OUTPUT_PREFIX,
    HTTPOutputVolume,
    InlineInputVolume,
    InputVolume,
)
from horde_core import price
from horde_core.classes import ExecutorClass
from horde_core.spec import JobSpec, field_errors

__all__ = ["ComputeHordeJobSpec", "ExecutorClass", "body_of", "uploads_of"]


@dataclass
class ComputeHordeJobSpec:
    """What to run, where, with which data, and how long it may take.

    Values are checked when the job is created; a wrong one raises a `ComputeHordeError` that is a ValueError
    too. Its message begins with the name of the field, and nothing is sent.

    Attributes:
        executor_class: the class of machine; a class that only this horde's operator defines may be given as text.
        job_namespace: where the job comes from, by convention subnet and version: ``"SN123.0"``.
        docker_image: the image, as ``user/image:tag`` or with its registry or digest.
        download_time_limit_sec: seconds for fetching the input volumes. Reached: the job fails and nothing runs.
        execution_time_limit_sec: seconds for the container. Reached: the container is stopped, and the job goes on
            to its uploads; it does not fail for that.
        upload_time_limit_sec: seconds for sending the output volumes. Reached: the job fails.
        args: arguments for the image's entry point; none leaves the image's own command.
        env: environment variables.
        artifacts_dir: an absolute directory in the container, whose files come back with the result.
        input_volumes: data for the job, keyed by absolute paths that begin with ``/volume/``.
        output_volumes: files to send away after the job, keyed by absolute paths that begin with ``/output/``.
        streaming: whether the job serves its user while it runs; see `ComputeHordeJob.wait_for_streaming`.
        streaming_start_time_limit_sec: seconds for the streaming server to come up. Reached: the job fails.
        priority: orders your own jobs among themselves, from -10 to 10, the greater first.
        queue_time_limit_sec: seconds to wait for the first executor; None takes the operator's limit, which is
            also the longest. Reached: the job is rejected.
        secret_env: environment variables that nobody but the job is shown: no reply, no log, no page, and not the
            container engine either. A facilitator that does not know them treats them like `env`.
    """

    executor_class: ExecutorClass | str
    job_namespace: str
    docker_image: str
    download_time_limit_sec: int
    execution_time_limit_sec: int
    upload_time_limit_sec: int
    args: Sequence[str] = field(default_factory=list[str])
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    artifacts_dir: str | None = None
    input_volumes: Mapping[str, InputVolume] | None = None
    output_volumes: Mapping[str, HTTPOutputVolume] | None = None
    streaming: bool = False
    streaming_start_time_limit_sec: int = 5
    priority: int = 0
    queue_time_limit_sec: int | None = None
    secret_env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def price(self, weight: float = 1.0) -> float:
        """What the job will cost, in executor-seconds: its limits together, times the weight of its class.

        The limit for the start of a streaming server counts for streaming jobs only. How long the job then really
        takes changes nothing.

        Args:
            weight: of the executor class, as `ComputeHordeClient.classes` tells it.
        """
        amount = price.price(
            download_s=self.download_time_limit_sec,
            execution_s=self.execution_time_limit_sec,
            upload_s=self.upload_time_limit_sec,
            streaming_start_s=self.streaming_start_time_limit_sec if self.streaming else 0,
            weight=round(weight * price.UNIT),
        )
        return amount / price.UNIT


def body_of(
    spec: ComputeHordeJobSpec,
    validator_hotkey: str,
    on_trusted_miner: bool = False,
    streaming_certificate: str | None = None,
) -> dict[str, JsonValue]:
    """The body of the request that creates the job, with keys in the order of the published clients.

    The order of keys within volumes and uploads is part of what is signed.

    Args:
        spec: the job.
        validator_hotkey: who is to run it, as an ss58 address.
        on_trusted_miner: whether only an executor that the operator trusts may run it.
        streaming_certificate: PEM of the certificate that may connect to a streaming job.

    Raises:
        ComputeHordeSpecError: a value is wrong.
    """
    body: dict[str, JsonValue] = {
        "target_validator_hotkey": validator_hotkey,
        "executor_class": _plain(spec.executor_class),
        "docker_image": spec.docker_image,
        "job_namespace": spec.job_namespace,
        "args": _sequence(spec.args),
        "env": _environment(spec),
        "use_gpu": True,
        "artifacts_dir": spec.artifacts_dir,
        "on_trusted_miner": on_trusted_miner,
        "download_time_limit": spec.download_time_limit_sec,
        "execution_time_limit": spec.execution_time_limit_sec,
        "streaming_start_time_limit": spec.streaming_start_time_limit_sec,
        "upload_time_limit": spec.upload_time_limit_sec,
    }
    # Only where they say something: other facilitators do not know them.
    if spec.priority != 0:
        body["priority"] = spec.priority
    if spec.queue_time_limit_sec is not None:
        body["queue_time_limit"] = spec.queue_time_limit_sec
    if spec.secret_env:
        body["secret_env"] = [*spec.secret_env]
    if streaming_certificate is not None:
        body["streaming_details"] = {"public_key": streaming_certificate}
    if spec.input_volumes is not None:
        mounts = {**spec.input_volumes, **uploads_of(spec.input_volumes)}
        body["volumes"] = _volumes("input_volumes", INPUT_PREFIX, mounts)
    if spec.output_volumes is not None:
        body["uploads"] = _volumes("output_volumes", OUTPUT_PREFIX, spec.output_volumes)
    try:
        JobSpec.model_validate(body)
    except ValidationError as error:
        raise ComputeHordeSpecError(_in_users_words(error, spec)) from error
    return body


def uploads_of(mounts: Mapping[str, InputVolume] | None) -> dict[str, Content]:
    """What has to be uploaded of a job's volumes, by their paths; the same for equal volumes, always.

    Raises:
        ComputeHordeSpecError: the content of a volume is not base64.
    """
    found: dict[str, Content] = {}
    left = INLINE_TOTAL
    for path, volume in (mounts or {}).items():
        if not isinstance(volume, InlineInputVolume):
            continue
        if not volume.is_in_file and volume.size <= min(left, INLINE_BYTES):
            left -= volume.size
            continue
        try:
            found[path] = volume.content()
        except ValueError as error:
            raise ComputeHordeSpecError(f"input_volumes[{path!r}].contents: {error}") from None
    return found


def field_name(wire_name: str) -> str:
    """The SDK's name for a field of the wire."""
    if wire_name.endswith("_time_limit"):
        return f"{wire_name}_sec"
    return {
        "volumes": "input_volumes",
        "uploads": "output_volumes",
        "streaming_details": "streaming",
        "target_validator_hotkey": "compute_horde_validator_hotkey",
    }.get(wire_name, wire_name)


class _Volume(Protocol):
    def to_wire(self, relative_path: str, /) -> dict[str, JsonValue]: ...


def _volumes(name: str, prefix: str, mounts: Mapping[str, _Volume]) -> list[JsonValue]:
    entries: list[JsonValue] = []
    for path, volume in mounts.items():
        if not path.startswith(prefix):
            raise ComputeHordeSpecError(f"{name}: {path!r} must start with {prefix!r}")
        try:
            entries.append(volume.to_wire(path.removeprefix(prefix)))
        except ValueError as error:
            raise ComputeHordeSpecError(f"{name}[{path!r}]: {error}") from None
    return entries


def _environment(spec: ComputeHordeJobSpec) -> JsonValue:
    """All variables: the secret ones are signed with the others, and another key says which they are."""
    env, secret = _mapping(spec.env), _mapping(spec.secret_env)
    if not isinstance(secret, dict):
        raise ComputeHordeSpecError("secret_env: must be a mapping of names to values")
    if not isinstance(env, dict):
        return env
    if twice := env.keys() & secret.keys():
        raise ComputeHordeSpecError(f"secret_env: {min(twice)!r} is in env, too; give it in one of them")
    return {**env, **secret}


def _plain(value: str) -> str:
    return value.value if isinstance(value, ExecutorClass) else value


def _sequence(value: object) -> JsonValue:
    # A text is a sequence too, but hardly ever meant as one: it is left as it is, and refused.
    good = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return cast(JsonValue, [*cast(Sequence[object], value)] if good else value)


def _mapping(value: object) -> JsonValue:
    return cast(JsonValue, {**cast(Mapping[str, object], value)} if isinstance(value, Mapping) else value)


# A report about one of several volumes: its index, its kind (which the user did not write), maybe its field.
_ONE_VOLUME = re.compile(r"(?P<index>\d+)\.\w+(?:\.(?P<field>\w+))?(?:\.[\w.]+)?: (?P<message>.*)", re.DOTALL)


def _in_users_words(error: ValidationError, spec: ComputeHordeJobSpec) -> str:
    said: list[str] = []
    for wire_name, messages in field_errors(error).items():
        name = field_name(wire_name)
        mounts = {"volumes": spec.input_volumes, "uploads": spec.output_volumes}.get(wire_name)
        for message in messages:
            found = _ONE_VOLUME.fullmatch(message) if mounts else None
            if found and mounts:
                path = list(mounts)[int(found["index"])]
                inner = f".{found['field']}" if found["field"] else ""
                said.append(f"{name}[{path!r}]{inner}: {found['message']}")
            else:
                said.append(f"{name}: {message}")
    return "; ".join(said)
