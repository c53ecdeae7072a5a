"""Fuzz what comes in headers: signatures of requests, and the heads of answers that servers of users give."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from fuzz.guided import Target, main
from horde_core.outcomes import Reason
from horde_core.signing import RequestSignature, Scope, SignatureError, signed_text, verify_request
from horde_core.wire.executor import ANSWER_BODY
from horde_executor.answers import advice, kept, s3_code
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import _Mismatch, _Part
from horde_executor.hop import _Get
from horde_executor.patience import Patience, pause, retry_after
from horde_executor.presigned import expiry, secrets_of
from horde_executor.room import Room
from horde_executor.urls import Target as Place

_RECORDED = Path(__file__).parents[2] / "packages" / "core" / "tests" / "recorded_requests.json"
_REQUESTS = [request for request in json.loads(_RECORDED.read_text()) if "X-CH-Signature" in request["headers"]]
_MADE = {
    (
        request["headers"]["X-CH-Signatory"],
        int(request["headers"]["X-CH-Timestamp-NS"]),
        signed_text(
            json.loads(request["body"]), Scope(request["headers"].get("X-CH-Signature-Scope", "SignedFields"))
        ),
    )
    for request in _REQUESTS
}
_NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_PLACE = Place("http", "a.example", 80, "/b", "")


def signature(data: bytes) -> None:
    """Lines of headers, an empty line, a body: the signature is refused with words, and never believed."""
    head, _, body = data.partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\n") if ": " in line)
    try:
        read = RequestSignature.from_headers(headers)
    except SignatureError:
        return
    assert RequestSignature.from_headers(read.headers()) == read
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(parsed, dict):
        return
    try:
        verify_request(parsed, read)
    except SignatureError:
        return
    made = (read.signatory, read.timestamp_ns, signed_text(parsed, read.scope))
    assert made in _MADE, "a signature is believed that nobody made"


def answer(data: bytes) -> None:
    """The lines of an answer, and then its content, go the way that libcurl sends them."""
    head, _, content = data.partition(b"\n\n")
    part = _Part(BytesIO(), "/volume/x", Room(1000))
    if content[:1] == b"+":  # a file of which a part is there
        part.size, part.total, part.etag = 4, 8, '"v1"'
    exchange = _Get(_PLACE, Egress(), part.consume)
    for line in (*head.split(b"\n"), b""):
        exchange.on_header(line + b"\r\n")
    exchange.on_body(content)
    if isinstance(exchange.error, JobFailure):
        assert exchange.error.reason is Reason.DOWNLOAD_FAILED
    elif exchange.error is not None and not isinstance(exchange.error, _Mismatch):
        raise exchange.error
    str(exchange.head)
    asked = retry_after(exchange.head.headers.get("retry-after", ""), _NOW)
    assert asked is None or asked >= 0
    wait = pause(1, asked, Patience(), 0.5)
    assert wait is None or 0 <= wait <= 200
    code = s3_code(content)
    assert advice(exchange.head.status, code, method="PUT", size=1, expiry=expiry(content.decode("latin-1"), {}))
    kept_answer = kept("a", exchange.head, content, secrets_of(head.decode("latin-1"), exchange.head.headers))
    assert len(kept_answer.body) <= ANSWER_BODY
    assert kept_answer.model_validate_json(kept_answer.model_dump_json()) == kept_answer
    try:
        place = _PLACE.redirected(exchange.head.headers.get("location", "").encode("latin-1"))
    except ValueError:
        return
    assert place.scheme in ("http", "https")


def _signatures() -> Iterator[bytes]:
    for request in _REQUESTS:
        yield _joined(request["headers"], request["body"].encode())
    empty = {
        "X-CH-Signature-Type": "bittensor",
        "X-CH-Signatory": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        "X-CH-Timestamp-NS": "1790000000000000000",
        "X-CH-Signature": base64.b64encode(bytes(64)).decode(),
        "X-CH-Signature-Scope": "FullRequest",
    }
    yield _joined(empty, b"{}")
    yield _joined(empty | {"X-CH-Signature-Scope": "SignedFields"}, b'{"streaming_details": {"public_key": "x"}}')
    yield _joined(empty | {"X-CH-Timestamp-NS": "9" * 30}, b"{}")


def _joined(headers: dict[str, str], body: bytes) -> bytes:
    return "\n".join(f"{name}: {value}" for name, value in headers.items()).encode() + b"\n\n" + body


def _answers() -> Iterator[bytes]:
    for lines in (
        'HTTP/1.1 200 OK\nContent-Length: 3\nETag: "v1"\n\nabc',
        "HTTP/1.1 206 Partial Content\nContent-Range: bytes 4-7/8\n\n+cde",
        "HTTP/1.1 206 Partial Content\nContent-Range: bytes 4-7/*\n\n+cde",
        "HTTP/1.1 302 Found\nLocation: https://other.example/x?y\n\n",
        "HTTP/1.1 503 X\nRetry-After: 17\n\n",
        "HTTP/1.1 429 X\nRetry-After: Sun, 01 Nov 2026 12:00:30 +0100\n\n",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n\nabc",
    ):  # fmt: skip
        yield lines.encode()


TARGETS = {
    "signature": Target(signature, _signatures, ("X-CH-Signature: ", "X-CH-Timestamp-NS: ", "FullRequest"), 8192),
    "answer": Target(
        answer,
        _answers,
        ("Content-Length: ", "Retry-After: ", "Content-Range: bytes ", "Location: ", "HTTP/1.1 ", "GMT", "+0000"),
        8192,
    ),
}

if __name__ == "__main__":
    sys.exit(main("headers", tuple(TARGETS), __doc__))
