"""Single uploads: what is sent, what is tried again, and what a refusal says."""

import asyncio
import os
import socket
import tempfile
import threading
import time
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP

import pytest

from horde_core.uploads import SingleFilePost, SingleFilePut
from horde_executor.egress import Egress
from horde_executor.patience import Patience
from horde_executor.presigned import expiry
from horde_executor.send import Sending, send

from .conftest import accept, cut_off, reply, take

HASTY = Patience(connect_s=5, stall_s=5, tries=3, pause_s=0.01)
SMALL = b"\x00\xff\r\n--x" * 100
LARGE = os.urandom(3_000_000)


def put(url: str, path: str = "dir/a.bin", **fields) -> SingleFilePut:
    return SingleFilePut(output_upload_type="single_file_put", url=url, relative_path=path, **fields)


def post(url: str, path: str = "dir/a.bin", **fields) -> SingleFilePost:
    return SingleFilePost(output_upload_type="single_file_post", url=url, relative_path=path, **fields)


async def sent(
    upload, content: bytes = SMALL, *, allow: tuple[str, ...], patience=HASTY, progress=None
) -> Sending:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return await send(
            upload, file.fileno(), len(content), egress=Egress.parse(allow), patience=patience, progress=progress
        )


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_a_put_carries_the_bytes_with_exactly_the_signed_headers(taker, content):
    """A length, no coding, and no header that a signature might not cover, not even a type of content."""
    signed = {"X-Amz-Meta-Job": "ż 42", "x-amz-acl": "private", "X-Empty": ""}
    result = await sent(
        put(taker.url("/b/a?X-Sig=a%2Fb+c"), signed_headers=signed), content, allow=(taker.address,)
    )
    assert result.problem is None
    assert (result.answer.path, result.answer.status) == ("dir/a.bin", 200)
    (asked,) = taker.asked
    assert asked.line == "PUT /b/a?X-Sig=a%2Fb+c HTTP/1.1"
    assert asked.body == content
    own = {name.lower(): value for name, value in asked.headers if name not in signed}
    assert {name: value for name, value in asked.headers if name in signed} == signed
    assert own.pop("content-length") == str(len(content))
    assert own.pop("expect", None) == ("100-continue" if content is LARGE else None)
    assert own == {"host": taker.address, "user-agent": "compute-horde-executor", "accept": "*/*"}


async def test_a_post_is_a_form_with_the_file_last(taker):
    """Fields in their order, whatever they hold, each in its own place; then the file under its base name."""
    fields = {"key": "a/${filename}", 'odd"name': "two\r\nlines", "ż": '"; filename="x', "empty": ""}
    result = await sent(post(taker.url("/b"), 'dir/ż "1".bin', form_fields=fields), LARGE, allow=(taker.address,))
    assert result.problem is None
    (asked,) = taker.asked
    assert asked.line == "POST /b HTTP/1.1"
    assert asked.header("content-length") == str(len(asked.body))
    head = f"Content-Type: {asked.header('content-type')}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=HTTP.clone(utf8=True)).parsebytes(head + asked.body)
    parts = list(message.iter_parts())
    names = [part.get("content-disposition").encode("utf-8", "surrogateescape").decode() for part in parts]
    assert names == [
        'form-data; name="key"',
        'form-data; name="odd%22name"',
        'form-data; name="ż"',
        'form-data; name="empty"',
        'form-data; name="file"; filename="ż %221%22.bin"',
    ]
    boundary = b"--" + asked.header("content-type").partition("boundary=")[2].encode()
    pieces = asked.body.split(boundary)
    values = [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces[1:-1]]
    assert values == [*(value.encode() for value in fields.values()), LARGE]
    assert pieces[-1] == b"--\r\n"


async def test_nginx_takes_a_file_and_answers(web):
    result = await sent(put(web.url("/deep/er/a.bin")), LARGE, allow=(web.address,))
    assert result.problem is None
    assert result.answer.status == 201
    assert result.answer.headers["server"].startswith("nginx")
    assert "201 Created" in result.answer.body or result.answer.body == ""
    assert (web.root / "deep" / "er" / "a.bin").read_bytes() == LARGE
    again = await sent(put(web.url("/deep/er/a.bin")), b"other", allow=(web.address,))
    assert (again.problem, again.answer.status) == (None, 204)
    assert (web.root / "deep" / "er" / "a.bin").read_bytes() == b"other"


@pytest.mark.parametrize(
    ("path", "says", "statuses"),
    [
        ("/refused/x", ["403 Forbidden", "sign the method PUT", "signed_headers"], [403]),
        ("/small/x", ["413 ", "2.9 MiB, which is more than the server takes"], [413]),
        ("/moved/x", ["307 Temporary Redirect", "follow no redirect"], [307]),
        ("/sick/x", ["503 Service Unavailable, 3 times", "run the job again"], [503] * 3),
    ],
)
async def test_a_refusal_by_nginx_is_heard_and_told(web, path, says, statuses):
    """Also of a large file, of which nothing is sent then; only what may pass is tried again."""
    result = await sent(put(web.url(f"{path}?X-Amz-Signature=SECRET-SECRET")), LARGE, allow=(web.address,))
    assert result.problem.startswith("/output/dir/a.bin ")
    assert [word for word in says if word not in result.problem] == []
    assert "SECRET" not in result.problem
    assert result.answer.status == statuses[-1]
    assert web.statuses(path, len(statuses)) == statuses


async def test_a_server_that_fails_once_has_the_file_in_the_end(web):
    result = await sent(put(web.url("/flaky/once.bin")), LARGE, allow=(web.address,))
    assert (result.problem, result.answer.status) == (None, 201)
    assert (web.root / "once.bin").read_bytes() == LARGE
    assert web.statuses("/flaky/once.bin", 2) == [500, 201]


def breaking(connection, asked, count):
    """The first time the connection breaks in the middle of the file."""
    if count == 1:
        take(connection, asked, len(LARGE) // 2)
        cut_off(connection)
    else:
        accept(connection, asked)


def first(status: str, *lines: str, body: bytes = b""):
    def answer(connection, asked, count):
        take(connection, asked)
        reply(connection, *((status, *lines) if count == 1 else ("200 OK",)), body=body if count == 1 else b"")

    return answer


def without_continue(connection, asked, count):
    """A server that has never heard of 100-continue refuses it once."""
    if count == 1:
        reply(connection, "417 Expectation Failed")
    else:
        accept(connection, asked)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (breaking, 2),
        (lambda c, a, n: cut_off(c) if n == 1 else accept(c, a), 2),
        (lambda c, a, n: None if n == 1 else accept(c, a), 2),
        (without_continue, 2),
        (first("408 Request Timeout"), 2),
        (first("425 Too Early"), 2),
        (first("429 Too Many Requests", "Retry-After: 0"), 2),
        (first("500 Internal Server Error"), 2),
        (first("502 Bad Gateway"), 2),
        (first("503 Slow Down", body=b"<Error><Code>SlowDown</Code></Error>"), 2),
        (first("400 Bad Request", body=b"<Error><Code>RequestTimeout</Code></Error>"), 2),
    ],
    ids=["reset", "reset-early", "hang-up", "417", "408", "425", "429", "500", "502", "s3-slow", "s3-timeout"],
)
async def test_what_may_pass_is_tried_again_from_the_first_byte(taker, answer, tries):
    taker.answers["/x"] = answer
    result = await sent(put(taker.url("/x")), LARGE, allow=(taker.address,))
    assert result.problem is None
    assert len(taker.asked) == tries
    assert taker.asked[-1].body == LARGE


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("400 Bad Request", b"<Error><Code>EntityTooLarge</Code></Error>", "400 Bad Request (EntityTooLarge)"),
        ("401 Unauthorized", b"", "sign the method PUT"),
        ("403 Forbidden", b"<Code>ExpiredToken</Code>", "(ExpiredToken). The URL has expired"),
        ("404 Not Found", b"<Code>NoSuchBucket</Code>", "(NoSuchBucket). Check the URL"),
        ("405 Method Not Allowed", b"", "takes no PUT there"),
        ("409 Conflict", b"", "409 Conflict"),
        ("412 Precondition Failed", b"", "412 Precondition Failed"),
        ("302 Found", b"", "follow no redirect"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(taker, status, body, says):
    taker.answers["/x"] = first(status, body=body)
    result = await sent(put(taker.url("/x")), allow=(taker.address,))
    assert says in result.problem
    assert result.answer.status == int(status[:3])
    assert len(taker.asked) == 1


async def test_a_server_that_does_not_read_is_given_up_after_its_tries(taker):
    def deaf(connection, asked, _count):
        take(connection, asked, 1000)
        taker.released.wait(20)

    taker.answers["/x"] = deaf
    patience = Patience(stall_s=0.3, tries=2, pause_s=0.01)
    result = await sent(put(taker.url("/x")), LARGE * 5, allow=(taker.address,), patience=patience)
    assert "the server took no more data for 0.3 s, 2 times" in result.problem
    assert result.answer is None


async def test_a_slow_server_is_borne_with_as_long_as_it_takes_anything(taker):
    """What counts is that bytes leave, however few: a slow line is no line that stands still."""

    def slow(connection, asked, _count):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        while len(asked.body) < int(asked.header("content-length")):
            take(connection, asked, len(asked.body) + 40_000)
            taker.released.wait(0.02)
        reply(connection, "200 OK")

    taker.answers["/x"] = slow
    patience = Patience(stall_s=0.25, tries=1)
    result = await sent(put(taker.url("/x")), LARGE, allow=(taker.address,), patience=patience)
    assert result.problem is None
    assert taker.asked[0].body == LARGE


async def test_an_answer_before_the_file_is_there_does_not_count(taker):
    """A 200 to half a file is no success, whatever the server thinks of it."""

    def hasty(connection, asked, _count):
        take(connection, asked, 1000)
        reply(connection, "200 OK")
        cut_off(connection)

    taker.answers["/x"] = hasty
    result = await sent(put(taker.url("/x")), LARGE * 5, allow=(taker.address,))
    assert "could not be sent" in result.problem


@pytest.mark.parametrize("kind", [put, post])
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_answers_are_kept_in_part_and_without_what_signed_the_request(taker, kind, status):
    """16 KiB of the body, as text; a server that quotes the signature does not bring it into the result."""
    quoted = b"you sent QUERY-SECRET%2F1 and QUERY-SECRET/1 with HEADER-SECRET \xff"
    taker.answers["/x"] = first(status, "X-Echo: HEADER-SECRET", "Set-Cookie: a=b", body=quoted + b"." * 100_000)
    upload = kind(taker.url("/x?sig=QUERY-SECRET%2F1"), signed_headers={"x-token": "HEADER-SECRET"})
    answer = (await sent(upload, allow=(taker.address,))).answer
    assert answer.body.startswith("you sent [hidden] and [hidden] with [hidden] \ufffd...")
    assert len(answer.body) <= 16 * 1024
    assert len(answer.body) > 16_000
    assert answer.headers["x-echo"] == "[hidden]"
    assert "SECRET" not in answer.model_dump_json()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://[::ffff:127.0.0.1]:{port}/x"]
)
async def test_a_forbidden_address_is_never_connected_to(taker, url):
    result = await sent(put(url.format(port=taker.port) + "?sig=SECRET"), allow=())
    assert f":{taker.port}" in result.problem
    assert "which jobs may not reach" in result.problem
    assert "--allow-egress" in result.problem
    assert "SECRET" not in result.problem
    assert taker.asked == []


@pytest.mark.parametrize("when", ["asked", "body", "pause"])
async def test_cancelling_ends_the_upload_within_a_moment(taker, when):
    def answer(connection, asked, _count):
        if when == "pause":
            take(connection, asked)
            reply(connection, "503 Later", "Retry-After: 60")
        elif when == "body":
            take(connection, asked, 1000)
            taker.arrived.release()
        taker.released.wait(20)

    taker.answers["/x"] = answer
    task = asyncio.ensure_future(sent(put(taker.url("/x")), LARGE * 5, allow=(taker.address,)))
    for _ in range(2 if when == "body" else 1):
        assert await asyncio.to_thread(taker.arrived.acquire, timeout=10)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.5
    assert not [t for t in threading.enumerate() if t.name.startswith("send ") and _lingers(t)]


def _lingers(thread: threading.Thread) -> bool:
    thread.join(1)
    return thread.is_alive()


async def test_progress_is_told_in_bytes_of_the_file(taker):
    told = []

    def slow(connection, asked, _count):
        take(connection, asked, len(LARGE) // 2)
        taker.released.wait(0.5)
        take(connection, asked)
        reply(connection, "200 OK")

    taker.answers["/x"] = slow
    await sent(
        post(taker.url("/x"), form_fields={"a": "b" * 1000}), LARGE, allow=(taker.address,), progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == len(LARGE)


@pytest.mark.parametrize(
    ("query", "fields", "when"),
    [
        ("X-Amz-Date=20261101T120000Z&X-Amz-Expires=60&X-Amz-Signature=a", {}, "2026-11-01T12:01:00+00:00"),
        ("x-goog-date=20261101T120000Z&x-goog-expires=60", {}, "2026-11-01T12:01:00+00:00"),
        ("AWSAccessKeyId=a&Expires=1793534460&Signature=b", {}, "2026-11-01T12:01:00+00:00"),
        ("sv=2024&se=2026-11-01T12%3A01%3A00Z&sig=x", {}, "2026-11-01T12:01:00+00:00"),
        ("", {"Policy": "eyJleHBpcmF0aW9uIjogIjIwMjYtMTEtMDFUMTI6MDE6MDBaIn0="}, "2026-11-01T12:01:00+00:00"),
        ("a=b", {"policy": "e30="}, None),
        ("Expires=soon", {"policy": "?"}, None),
        ("X-Amz-Date=today&X-Amz-Expires=60", {}, None),
        ("Expires=99999999999999999999", {}, None),
    ],
)
def test_a_presigned_request_says_until_when_it_holds(query, fields, when):
    found = expiry(query, fields)
    assert (found.isoformat() if found else None) == when
