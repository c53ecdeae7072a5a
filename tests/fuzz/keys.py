"""Fuzz what users write: paths, image names, URLs, the operator's openings, whole requests for a job."""

import ipaddress
import json
import posixpath
import re
import string
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from evil.keys import DIRECTORIES, RELATIVE, TOGETHER, put
from evil.urls import URLS, filled
from fuzz.guided import Target, main
from horde_core import paths
from horde_core.images import MAX_LENGTH, parse_image
from horde_core.spec import JobSpec
from horde_executor.egress import Egress, special
from horde_executor.urls import Target as Place
from horde_facilitator.admission import echo_of, parse, parse_spec, work_sha256
from horde_facilitator.errors import BadRequest

_GOLDEN = Path(__file__).parents[2] / "packages" / "core" / "tests" / "golden" / "spec.JobSpec.json"
_MINIMAL = {"executor_class": "always_on.test", "docker_image": "busybox:1"}


def _text(data: bytes) -> str:
    """Any text, lone surrogates included, as JSON can bring it."""
    return data.decode(errors="surrogateescape")


def path(data: bytes) -> None:
    """A path that is taken stays below its root, whoever reads it, and comes out as it went in."""
    text = _text(data)
    try:
        parts = paths.components(text)
    except ValueError:
        parts = None
    if parts is not None:
        joined = "/".join(("/root", *parts))
        assert posixpath.normpath(joined) == joined
        assert text in ("/".join(parts), "/".join(parts) + "/")
        assert all(0 < len(part.encode()) <= 255 and not set(part) & set("\0\n\r\x1b\\\u202e") for part in parts)
        assert unicodedata.normalize("NFC", text) == text
        assert len(parts) <= 32
        assert paths.components("/".join(parts)) == parts
    try:
        directory = paths.absolute(text)
    except ValueError:
        return
    assert directory == posixpath.normpath(text)
    assert paths.absolute(directory) == directory
    assert directory.split("/")[1] not in (
        "bin",
        "dev",
        "etc",
        "lib",
        "proc",
        "run",
        "sbin",
        "sys",
        "usr",
        ".horde",
    )


# As https://github.com/distribution/reference has it, in one expression.
_IMAGE = re.compile(
    r"(?:(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][\w.-]{0,127}|@sha256:[0-9a-f]{64})",
    re.ASCII,
)


def image(data: bytes) -> None:
    """An image name that is taken is one by the published grammar, and reads the same again."""
    try:
        name = parse_image(_text(data))
    except ValueError:
        return
    assert _IMAGE.fullmatch(str(name))
    if len(str(name)) > MAX_LENGTH:  # with the tag that was left out
        return
    again = parse_image(str(name))
    assert (again.registry, again.repository, again.digest) == (name.registry, name.repository, name.digest)


def url(data: bytes) -> None:
    """What libcurl gets has one reading: no other host can be found in it."""
    text = _text(data)
    try:
        place = Place.parse(text)
    except ValueError:
        place = Place("http", "a.example", 80, "/b/c", "")
    else:
        _judge(place)
    try:
        place = place.redirected(data)
    except ValueError:
        return
    _judge(place)


def _judge(place: Place) -> None:
    allowed = set(string.ascii_letters + string.digits + string.punctuation) - {"\\"}
    assert set(place.url) <= allowed, place.url
    scheme, _, rest = place.url.partition("://")
    assert scheme in ("http", "https")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    assert "@" not in authority
    host, _, port = (
        authority.rpartition(":") if not authority.endswith("]") and ":" in authority else (authority, "", "")
    )
    assert host.strip("[]") == place.host
    assert int(port or {"http": 80, "https": 443}[scheme]) == place.port
    assert 0 < place.port < 65536
    if ":" in place.host:
        assert str(ipaddress.IPv6Address(place.host)) == place.host
        special(place.host)
    else:
        assert set(place.host) <= set(string.ascii_lowercase + string.digits + "-._"), place.host
    assert Place.parse(place.url) == place
    assert "?" not in place.shown
    assert "#" not in place.url


def opening(data: bytes) -> None:
    """An entry of the allow-list is read or refused; what it opens is no more than it says."""
    text = _text(data)
    try:
        egress = Egress.parse([text])
    except ValueError:
        return
    assert len(egress.networks) + len(egress.names) == 1
    host, _, port = text.strip().lower().rpartition(":")
    for network, opened in egress.networks:
        assert opened == int(port)
        assert ipaddress.ip_network(host.strip("[]").removesuffix("."), strict=True) == network
        for address in (str(network[0]), str(network[-1])):
            if getattr(ipaddress.ip_address(address), "ipv4_mapped", None):
                continue  # an address of version 4, which a network of version 6 does not open
            assert egress.refusal(address, opened, "a.example", is_own=_nobody) is None
            assert egress.refusal(address, opened ^ 1, "a.example", is_own=_nobody) == special(address)
    for name, opened in egress.names:
        assert (name, opened) == (host.removesuffix("."), int(port))
        assert egress.refusal("127.0.0.1", opened, f"x{name}", is_own=_nobody) == special("127.0.0.1")


def _nobody(_address: str) -> bool:
    return False


def spec(data: bytes) -> None:
    """The body of a request is taken whole, and reads the same again, or every mistake has its field and words."""
    try:
        taken = parse_spec(parse(data))
    except BadRequest as error:
        refusal = error
    else:
        _reads_again(taken, data)
        return
    assert str(refusal)
    for messages in (refusal.fields or {}).values():
        assert all(message.strip() for message in messages)


def _reads_again(taken: JobSpec, data: bytes) -> None:
    assert JobSpec.model_validate_json(taken.model_dump_json()) == taken
    assert JobSpec.model_validate(json.loads(data)) == taken
    echo_of(taken).encode()
    work_sha256(taken)
    for volume in taken.volumes:
        path((volume.relative_path or "").encode())


def _paths() -> Iterator[bytes]:
    for text, _ in (*RELATIVE, *DIRECTORIES):
        yield text.encode(errors="surrogatepass")


def _images() -> Iterator[bytes]:
    digest = "sha256:" + "0123456789abcdef" * 4
    for text in (
        "busybox", "user/image:tag", "host:5000/name", "localhost/name:1", "[::1]:5000/x:1", "image:",
        "a.b/c/d__e--f:V1.2_3-x", f"user/image@{digest}", f"user/image:tag@{digest}", "User/image", "http://host/image",
    ):  # fmt: skip
        yield text.encode()


def _urls() -> Iterator[bytes]:
    for text, _ in URLS:
        yield filled(text, 8081).encode(errors="surrogateescape")
    yield from (
        b"https://example.com/a/b?c=d%20e#f",
        b"//other.example/x",
        b"../x?y",
        b"?q",
        b"https://b\xc3\xbccher.example/",
    )


def _openings() -> Iterator[bytes]:
    for text in (
        "10.0.0.5:9000",
        "10.1.0.0/16:443",
        "[fd00::/8]:443",
        "minio.internal:9000",
        "MinIO.:1",
        "010.0.0.1:80",
    ):
        yield text.encode()


def _specs() -> Iterator[bytes]:
    golden = json.loads(_GOLDEN.read_text())
    yield json.dumps(golden).encode()
    yield json.dumps(_MINIMAL).encode()
    for name, value in golden.items():
        yield json.dumps(_MINIMAL | {name: value}).encode()
    for volumes, _ in TOGETHER:
        yield json.dumps(_MINIMAL | {"volumes": volumes}).encode()
    yield json.dumps(_MINIMAL | {"uploads": [put("a")]}).encode()


_WORDS = (
    *(f'"{name}"' for name in JobSpec.model_fields),
    *(f'"{name}"' for name in ("volume_type", "contents", "relative_path", "url", "public_key")),
    '"output_upload_type"',
    *(f'"{kind}"' for kind in ("inline", "single_file", "zip_url", "huggingface_volume", "single_file_put")),
    "null", "true", "[[", "{}", "1e999", "\\ud800",
)  # fmt: skip

TARGETS = {
    "path": Target(path, _paths, ("..", "/", "\\", "\u0301", "\u202e", "/etc")),
    "image": Target(image, _images, ("@sha256:", "localhost/", ":", "__"), 300),
    "url": Target(
        url, _urls, ("http://", "https://", "@", "//", "\\", "[::1]", "%2f", "。", "127.0.0.1", "#", "?")
    ),
    "opening": Target(opening, _openings, (":80", "/16", "[", "]", "0x", "."), 100),
    "spec": Target(spec, _specs, _WORDS, 4096),
}

if __name__ == "__main__":
    sys.exit(main("keys", tuple(TARGETS), __doc__))
