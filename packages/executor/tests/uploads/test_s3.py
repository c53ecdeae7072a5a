"""Presigned uploads as boto3 makes them, against a server that checks every signature."""

import os
import tempfile
import time
from datetime import UTC, datetime, timedelta

import botocore.auth
import botocore.signers
import pytest

from horde_core.uploads import SingleFilePost, SingleFilePut
from horde_executor.egress import Egress
from horde_executor.send import send

CONTENT = os.urandom(5_000_000)


async def sent(s3, upload):
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        return await send(upload, file.fileno(), len(CONTENT), egress=Egress.parse([s3[0].address]))


def stored(s3, key: str) -> bytes | None:
    served, client = s3
    found = client.list_objects_v2(Bucket=served.bucket, Prefix=key).get("Contents", [])
    if not found:
        return None
    return client.get_object(Bucket=served.bucket, Key=key)["Body"].read()


def put(s3, key: str, expires: int = 60, headers: dict[str, str] | None = None, **signed) -> SingleFilePut:
    served, client = s3
    params = {"Bucket": served.bucket, "Key": key, **signed}
    url = client.generate_presigned_url("put_object", Params=params, ExpiresIn=expires)
    return SingleFilePut(
        output_upload_type="single_file_put", url=url, relative_path="out.bin", signed_headers=headers
    )


def post(s3, key: str, expires: int = 60, fields: dict[str, str] | None = None, conditions=()) -> SingleFilePost:
    served, client = s3
    form = client.generate_presigned_post(
        served.bucket, key, Fields=fields, Conditions=list(conditions), ExpiresIn=expires
    )
    return SingleFilePost(
        output_upload_type="single_file_post",
        url=form["url"],
        form_fields=form["fields"],
        relative_path="out.bin",
    )


def changed(upload, **fields):
    return type(upload).model_validate({**upload.model_dump(), **fields})


async def test_a_presigned_put_arrives(s3):
    """With and without headers that belong to the signature."""
    bare = await sent(s3, put(s3, "put/bare ż.bin"))
    assert (bare.problem, bare.answer.status) == (None, 200)
    assert bare.answer.headers["etag"]
    headers = {"x-amz-meta-job": "42", "content-type": "application/x-results"}
    signed = put(
        s3, "put/signed.bin", headers=headers, Metadata={"job": "42"}, ContentType="application/x-results"
    )
    assert (await sent(s3, signed)).problem is None
    assert stored(s3, "put/bare ż.bin") == stored(s3, "put/signed.bin") == CONTENT
    head = s3[1].head_object(Bucket=s3[0].bucket, Key="put/signed.bin")
    assert (head["ContentType"], head["Metadata"]) == ("application/x-results", {"job": "42"})


async def test_a_presigned_post_arrives(s3):
    """Policy, fields and file in one form; the server tells where it put the file."""
    upload = post(
        s3,
        "post/${filename}",
        fields={"success_action_status": "201"},
        conditions=[{"success_action_status": "201"}, ["content-length-range", 1, 10_000_000]],
    )
    result = await sent(s3, upload)
    assert (result.problem, result.answer.status) == (None, 201)
    assert "out.bin" in result.answer.body
    assert stored(s3, "post/out.bin") == CONTENT


@pytest.mark.parametrize("kind", ["put-signature", "put-path", "put-header", "post-signature", "post-size"])
async def test_a_request_that_was_not_signed_so_is_refused_and_told(s3, kind):
    """Nothing is stored, nothing is tried again, and what signed the request shows nowhere."""
    key = f"bad/{kind}"
    match kind:
        case "put-signature":
            good = put(s3, key)
            upload = changed(good, url=good.url[:-4] + ("0000" if good.url[-4:] != "0000" else "1111"))
        case "put-path":
            upload = put(s3, "bad/other")
            upload = changed(upload, url=upload.url.replace("bad/other", key))
        case "put-header":
            upload = put(s3, key, headers={"x-amz-meta-job": "43"}, Metadata={"job": "42"})
        case "post-signature":
            upload = post(s3, key)
            upload = changed(upload, form_fields={**upload.form_fields, "x-amz-signature": "0" * 64})
        case _:
            upload = post(s3, key, conditions=[["content-length-range", 1, 1000]])
    began = time.monotonic()
    result = await sent(s3, upload)
    assert result.problem.startswith(f"/output/out.bin was refused by {s3[0].url}/")
    assert "expired" not in result.problem
    assert 400 <= result.answer.status < 500
    assert stored(s3, key) is None
    assert time.monotonic() - began < 3
    told = f"{result.problem} {result.answer.model_dump_json()}"
    hidden = [upload.url.partition("X-Amz-Signature=")[2], *(getattr(upload, "form_fields", None) or {}).values()]
    assert [secret for secret in hidden if len(secret) > 40 and secret in told] == []


@pytest.mark.parametrize("kind", [put, post])
async def test_what_expired_before_it_was_used_says_so(s3, kind, monkeypatch):
    """A real signature of two hours ago that held for one."""
    now = datetime.now(UTC)
    for module in (botocore.auth, botocore.signers):
        monkeypatch.setattr(
            module, "get_current_datetime", lambda **_: (now - timedelta(hours=2)).replace(tzinfo=None)
        )
    upload = kind(s3, "late/x", expires=3600)
    monkeypatch.undo()
    result = await sent(s3, upload)
    assert f"The URL has expired at {now - timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC: sign it" in result.problem
    assert "403 Forbidden" in result.problem
    assert stored(s3, "late/x") is None
