"""Signatures: requests that published clients really sent are understood byte by byte, and nothing else passes."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from bittensor_wallet import Keypair
from hypothesis import given
from hypothesis import strategies as st

from horde_core.signing import (
    RequestSignature,
    Scope,
    SignatureError,
    digest,
    public_key,
    sign_request,
    signed_text,
    verify,
    verify_request,
)
from horde_core.spec import JobSpec

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded_requests.json").read_text())
GENUINE = [request for request in RECORDED if request["valid"]]
ALICE = Keypair.create_from_uri("//Alice")
BOB = Keypair.create_from_uri("//Bob")
SIGNED = (
    "executor_class", "docker_image", "args", "env", "use_gpu", "artifacts_dir", "on_trusted_miner",
    "download_time_limit", "execution_time_limit", "upload_time_limit", "streaming_start_time_limit",
    "streaming_details", "volumes", "uploads",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def named(request: dict[str, Any]) -> str:
    return str(request["id"])


@pytest.mark.parametrize("request_", GENUINE, ids=named)
def test_a_genuine_request_is_verified(request_: dict[str, Any]) -> None:
    """B2: As sent, pretty-printed, without the scope's header, with an unsigned field changed: it holds."""
    verify_request(json.loads(request_["body"]), RequestSignature.from_headers(request_["headers"]))


@pytest.mark.parametrize("request_", [r for r in RECORDED if r["inner_text"]], ids=named)
def test_what_a_published_client_signed_is_rebuilt_byte_by_byte(request_: dict[str, Any]) -> None:
    """B4: Inner text and digest equal what the client computed."""
    signature = RequestSignature.from_headers(request_["headers"])
    text = signed_text(json.loads(request_["body"]), signature.scope)
    assert text == request_["inner_text"]
    assert digest(text, signature.timestamp_ns).hex() == request_["digest"]


@pytest.mark.parametrize("request_", [r for r in RECORDED if not r["valid"]], ids=named)
def test_a_tampered_request_is_refused(request_: dict[str, Any]) -> None:
    """B7: One changed limit, one nanosecond, or the order of two variables: the signature no longer holds."""
    with pytest.raises(SignatureError):
        verify_request(json.loads(request_["body"]), RequestSignature.from_headers(request_["headers"]))


@pytest.mark.parametrize("field", SIGNED)
def test_every_signed_field_is_covered(field: str) -> None:
    """Changing any one of the signed fields of a genuine request breaks its signature."""
    request = next(r for r in GENUINE if r["id"].endswith("0.0.14/create_job_everything"))
    body, signature = json.loads(request["body"]), RequestSignature.from_headers(request["headers"])
    changed = copy.deepcopy(body)
    changed[field] = "something else"
    with pytest.raises(SignatureError):
        verify_request(changed, signature)


@pytest.mark.parametrize("request_", [r for r in RECORDED if r["target"] == "/api/v1/job-docker/"], ids=named)
def test_what_published_clients_send_is_a_job_spec(request_: dict[str, Any]) -> None:
    """No body that a published client produced is refused, and no plain field of it is read as something else."""
    body = json.loads(request_["body"])
    spec = JobSpec.model_validate(body)
    nested = {"streaming_details", "volumes", "uploads"}
    plain = {name: value for name, value in body.items() if name not in nested}
    if plain["artifacts_dir"]:
        plain["artifacts_dir"] = plain["artifacts_dir"].removesuffix("/")
    assert spec.model_dump(mode="json", include=set(plain)) == plain
    assert len(spec.volumes) == len(body.get("volumes", []))
    assert len(spec.uploads) == len(body.get("uploads", []))
    assert spec.is_streaming == ("streaming_details" in body)


def test_the_digest_of_a_constructed_example() -> None:
    """A known answer: field order, defaults, escapes and the double encoding in one."""
    body = {
        "uploads": [], "executor_class": "always_on.test", "docker_image": "a/b:1", "args": ["x"],
        "env": {"K": "ż"}, "use_gpu": True, "artifacts_dir": None, "download_time_limit": 1,
        "execution_time_limit": 2, "upload_time_limit": 3, "streaming_start_time_limit": 5, "tag": "unsigned",
    }  # fmt: skip
    assert digest(signed_text(body, Scope.SIGNED_FIELDS), 1700000000000000000).hex() == (
        "606ea49bc1da8d980ecbecdebc996ccb6f4599908a39211436f134d83887d9ae"
        "91422c43f3c43bc6a0848ff7ab0ff248c5e61ceeba7ef4189ea82a51d285cdd9"
    )


def test_a_whole_body_is_printed_as_agreed() -> None:
    """B6: Keys sorted at every level, blanks after comma and colon, ASCII only, numbers as Python prints them."""
    body = json.loads('{"b":[1e16,2.50,1E-7,{"z":null,"a":"ż\\ud83d\\ude00/\\n"}],"a":true}')
    printed = '{"a": true, "b": [1e+16, 2.5, 1e-07, {"a": "\\u017c\\ud83d\\ude00/\\n", "z": null}]}'
    assert signed_text(body, Scope.FULL_REQUEST) == printed


@given(body=st.dictionaries(st.sampled_from(SIGNED) | st.text(), JSON), scope=st.sampled_from(Scope))
def test_what_we_sign_we_verify_also_after_the_headers(body: dict[str, Any], scope: Scope) -> None:
    """Any JSON body, signed and sent as headers, verifies; with another signatory it does not."""
    signature = sign_request(body, scope, ALICE, 1_700_000_000_000_000_000)
    received = RequestSignature.from_headers(signature.headers())
    assert received == signature
    verify_request(json.loads(json.dumps(body)), received)
    stolen = RequestSignature(BOB.ss58_address, received.timestamp_ns, received.signature, scope)
    with pytest.raises(SignatureError):
        verify_request(body, stolen)


def test_a_signature_over_wrapped_bytes_is_not_one_over_the_bytes() -> None:
    """Wallets sign `<Bytes>…</Bytes>` for web pages; such a signature must not log anybody in."""
    nonce = b"nonce"
    verify(nonce, ALICE.sign(nonce), ALICE.ss58_address)
    with pytest.raises(SignatureError):
        verify(nonce, ALICE.sign(b"<Bytes>nonce</Bytes>"), ALICE.ss58_address)


@pytest.mark.parametrize("address", ["", "5DUy", "x" * 48, ALICE.ss58_address[:-1] + "1", "0x" + "00" * 32])
def test_what_is_no_address_is_refused(address: str) -> None:
    """A wrong checksum or a foreign format is a signature error, never a crash."""
    with pytest.raises(SignatureError):
        public_key(address)
    with pytest.raises(SignatureError):
        verify(b"message", ALICE.sign(b"message"), address)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-CH-Signature-Type", None),
        ("X-CH-Signature-Type", "ed25519"),
        ("X-CH-Signatory", None),
        ("X-CH-Timestamp-NS", None),
        ("X-CH-Timestamp-NS", "-1"),
        ("X-CH-Timestamp-NS", "1.5"),
        ("X-CH-Timestamp-NS", "١٢"),
        ("X-CH-Timestamp-NS", str(2**64)),
        ("X-CH-Signature", None),
        ("X-CH-Signature", "not base64!"),
        ("X-CH-Signature", base64.b64encode(b"x" * 63).decode()),
        ("X-CH-Signature-Scope", "Everything"),
    ],
)
def test_a_missing_or_malformed_header_is_named(header: str, value: str | None) -> None:
    """B1: The error tells which header to mend."""
    headers = dict(GENUINE[0]["headers"])
    headers.pop(header)
    if value is not None:
        headers[header] = value
    with pytest.raises(SignatureError, match=header):
        RequestSignature.from_headers(headers)
