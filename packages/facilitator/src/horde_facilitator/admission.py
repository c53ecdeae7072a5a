"""Whether a request becomes a job: its signature, its specification, and what can be run today."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from horde_core import signing
from horde_core.price import seconds_of
from horde_core.signing import RequestSignature, Scope, SignatureError
from horde_core.spec import JobSpec, field_errors
from horde_core.volumes import BlobVolume
from horde_core.wire.client import IDEMPOTENCY_HEADER
from horde_facilitator.clock import Now, microseconds
from horde_facilitator.errors import BadRequest
from horde_facilitator.records.jobs import NewJob
from horde_facilitator.records.values import pack
from horde_facilitator.sealing import Purpose, SealingKeys
from horde_facilitator.settings import Settings

_KEY = re.compile(r"[!-~]{1,255}")
NOT_ECHOED = {
    "env",
    "secret_env",
    "volumes",
    "uploads",
    "streaming_details",
    "max_attempts",
    "queue_time_limit",
    "priority",
}
"""What replies do not repeat as it is: it is large, or holds secrets, or published clients do not know it."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may become a job, with the signature and the key that must not make a second one.

    `seconds` is the sum of its limits; what they cost, and whether there is such a class, the records tell.
    `body_sha256` is the same for bodies that say the same. `blobs` are the inputs that must have been uploaded.
    """

    job: NewJob
    seconds: int
    signature: RequestSignature
    remember_until_us: int
    idempotency_key: str | None
    body_sha256: bytes
    blobs: tuple[BlobVolume, ...] = ()


def admit(
    body: bytes, headers: Mapping[str, str], owner: str, *, settings: Settings, sealing: SealingKeys, now: Now
) -> Admitted:
    """Judge a request to create a job, and seal it. Takes about a second for 32 MiB, so call it in a thread then.

    Raises:
        BadRequest: the request is not admitted; the message names what is wrong.
    """
    content = parse(body)
    signature = check_signature(content, headers, owner, settings, now)
    spec = parse_spec(content)
    _check_available(spec)
    job_uuid = str(uuid.uuid4())
    job = NewJob(
        uuid=job_uuid,
        owner=owner,
        executor_class=spec.executor_class,
        namespace=spec.job_namespace,
        image=spec.docker_image,
        priority=spec.priority,
        max_attempts=spec.max_attempts or settings.max_attempts,
        budget_us=microseconds(attempt_budget_s(spec, settings)),
        queue_us=microseconds(queue_limit_s(spec, settings)),
        body=sealing.seal(body, job_uuid, Purpose.BODY),
        echo=sealing.seal(echo_of(spec).encode(), job_uuid, Purpose.ECHO),
        trusted=spec.on_trusted_miner,
        work_sha256=work_sha256(spec),
    )
    remember_s = settings.signature_past_s + settings.signature_future_s
    return Admitted(
        job=job,
        seconds=seconds_of(spec),
        signature=signature,
        remember_until_us=signature.timestamp_ns // 1000 + microseconds(remember_s),
        idempotency_key=_idempotency_key(headers),
        body_sha256=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest(),
        blobs=tuple(volume for volume in spec.volumes if isinstance(volume, BlobVolume)),
    )


def parse(body: bytes) -> dict[str, JsonValue]:
    """The JSON object in a body.

    Raises:
        BadRequest: the body is not UTF-8, not JSON, or not an object.
    """
    try:
        content = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return content  # pyright: ignore[reportUnknownVariableType]  # json.loads returns JSON values


def parse_spec(content: Mapping[str, JsonValue]) -> JobSpec:
    """The specification in the object of a body.

    Raises:
        BadRequest: it is wrong; `fields` says where.
    """
    try:
        return JobSpec.model_validate(content)
    except ValidationError as error:
        raise BadRequest("The job specification is wrong.", field_errors(error)) from error


def echo_of(spec: JobSpec) -> str:
    """What replies repeat of a request, as JSON: no secrets, no URLs, nothing that is large."""
    return pack({**spec.model_dump(mode="json", exclude=NOT_ECHOED), "env": spec.plain_env})


_WORK = {"executor_class", "args", "env", "artifacts_dir", "volumes"}
"""What a job's results may depend on. Of the image not the name counts but what it means, which shows later."""


def work_sha256(spec: JobSpec) -> bytes | None:
    """The same for jobs that do the same work; None for one whose work its user steers while it runs."""
    if spec.is_streaming:
        return None
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json", include=_WORK)).encode()).digest()


def queue_limit_s(spec: JobSpec, settings: Settings) -> float:
    """How long the job may wait for its first executor, in seconds.

    Raises:
        BadRequest: it asks for more than the operator grants.
    """
    if spec.queue_time_limit is None:
        return settings.queue_s
    if spec.queue_time_limit > settings.queue_s:
        raise BadRequest.field("queue_time_limit", f"jobs may wait for {settings.queue_s:g} s here at most")
    return spec.queue_time_limit


def attempt_budget_s(spec: JobSpec, settings: Settings) -> float:
    """The longest that an attempt may take, in seconds: the job's limits and the operator's together."""
    limits = settings.limits
    streaming = spec.streaming_start_time_limit if spec.is_streaming else 0
    return (
        limits.prepare_s
        + spec.download_time_limit
        + streaming
        + spec.execution_time_limit
        + limits.grace_s
        + limits.collect_s
        + spec.upload_time_limit
        + settings.lease_s
    )


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest.field(IDEMPOTENCY_HEADER, "must have 1 to 255 visible ASCII characters")
    return key


def check_signature(
    content: Mapping[str, JsonValue],
    headers: Mapping[str, str],
    owner: str,
    settings: Settings,
    now: Now,
    *,
    scope: Scope | None = None,
) -> RequestSignature:
    """The signature of a request, if its owner made it just now, over `scope` if one is given.

    Raises:
        BadRequest: it is missing or wrong, somebody else's, or too old or too new.
    """
    try:
        signature = RequestSignature.from_headers(headers)
        signing.verify_request(content, signature)
    except SignatureError as error:
        raise BadRequest(str(error)) from error
    if scope not in (None, signature.scope):
        raise BadRequest(f"X-CH-Signature-Scope must be {scope} for this request, not {signature.scope}")
    if signature.signatory != owner:
        raise BadRequest("X-CH-Signatory is not the hotkey that logged in; sign with the same hotkey")
    age_us = now.wall_us - signature.timestamp_ns // 1000
    if not -microseconds(settings.signature_future_s) <= age_us <= microseconds(settings.signature_past_s):
        raise BadRequest(
            f"X-CH-Timestamp-NS is {age_us / 1e6:.0f} s old; it must lie between {settings.signature_past_s} s "
            f"ago and {settings.signature_future_s} s ahead. Check this machine's clock."
        )
    return signature


def _check_available(spec: JobSpec) -> None:
    """Refuse what cannot be run yet, by the name of the field; it is never left out in silence."""
    fields: dict[str, list[str]] = {}
    if spec.streaming_details is not None:
        fields["streaming_details"] = ["streaming jobs are not available yet"]
    if fields:
        raise BadRequest("The job asks for what is not available yet.", fields)
