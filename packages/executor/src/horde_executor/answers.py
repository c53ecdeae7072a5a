"""What servers answer to uploads: what is kept of it, and what to advise when it is no."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus

from horde_core.wire.executor import ANSWER_BODY, UploadAnswer
from horde_executor.hop import Head
from horde_executor.patience import is_for_later
from horde_executor.presigned import without
from horde_executor.room import readable

_HEADERS = 64
_HEADERS_BYTES = 8 * 1024
_S3_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_S3_LATER = ("SlowDown", "RequestTimeout", "InternalError")

_ADVICE = {
    HTTPStatus.METHOD_NOT_ALLOWED: "The server takes no {method} there; check the URL and http_method.",
    HTTPStatus.NOT_FOUND: "Check the URL; of a bucket, that it is there.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The file has {size}, which is more than the server takes.",
}
_UNSIGNED = (
    "Its signature does not allow this request: sign the method {method}, this path, and exactly the headers that"
    " are given as signed_headers."
)
_REDIRECTS = "Uploads follow no redirect; give the URL that it leads to."
_EXPIRED = "The URL has expired{when}: sign it for as long as the job may wait and run."
_OTHER = "The rest of the answer is in upload_results."


def s3_code(body: bytes) -> str:
    """The code of an error as S3 and its kin write it; empty if there is none."""
    found = _S3_CODE.search(body)
    return found[1].decode() if found else ""


def is_passing(head: Head, code: str) -> bool:
    """Whether the same request may succeed another time."""
    return is_for_later(head.status) or code in _S3_LATER


def advice(status: int, code: str, *, method: str, size: int, expiry: datetime | None) -> str:
    """What to do about a refusal. `expiry` is until when the URL says that it holds."""
    if expiry is not None and expiry <= datetime.now(UTC):
        return _EXPIRED.format(when=expiry.astimezone(UTC).strftime(" at %Y-%m-%d %H:%M:%S UTC"))
    if "expired" in code.lower():
        return _EXPIRED.format(when="")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return _REDIRECTS
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _UNSIGNED.format(method=method)
    words = next((words for known, words in _ADVICE.items() if known == status), _OTHER)
    return words.format(method=method, size=readable(size))


def kept(path: str, head: Head, body: bytes, secrets: Iterable[str]) -> UploadAnswer:
    """The part of an answer that goes into the job's result, without what signed the request."""
    headers: dict[str, str] = {}
    room = _HEADERS_BYTES
    for name, value in list(head.headers.items())[:_HEADERS]:
        room -= len(name) + len(value)
        if room < 0:
            break
        headers[name] = without(secrets, value)
    text = without(secrets, body.decode(errors="replace"))[:ANSWER_BODY]
    return UploadAnswer(path=path, status=head.status, headers=headers, body=text)
