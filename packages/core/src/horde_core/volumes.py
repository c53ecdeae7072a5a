"""Input volumes as they travel on the wire, and how several of them share `/volume`."""

import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from horde_core import paths

MOUNT = "/volume"
MAX_URL = 8192
MAX_BLOB = 2**53


def checked_url(url: str) -> str:
    """An http(s) URL that is safe to hand on; where it may lead is judged when it is connected.

    Raises:
        ValueError: the URL is malformed, names no host, or carries credentials.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"the URL is {len(url)} characters long; the limit is {MAX_URL}")
    if any(c <= " " or c in "\x7f\\" for c in url):
        raise ValueError("the URL holds a space, backslash or control character; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL cannot be read; check its host and port") from None
    if "[" in parts.netloc and ":" not in (parts.hostname or ""):  # without its brackets it would be a name
        raise ValueError("the URL cannot be read; what stands in brackets is no IPv6 address")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the URL's scheme is {parts.scheme!r}; only http and https can be used")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL carries a user name or password; use a presigned URL instead")
    if not parts.hostname or port == 0:
        raise ValueError("the URL names no host, or port 0")
    return url


def without_query(url: str) -> str:
    """A URL as it may be shown: what follows the path may be a signature."""
    return re.split(r"[?#]", url, maxsplit=1)[0]


def _checked_path(path: str) -> str:
    return "/".join(paths.components(path))


def _checked_file_path(path: str) -> str:
    if path.endswith("/") or not path:
        raise ValueError("this volume is a single file, so its path must end with a file name")
    return _checked_path(path)


def _checked_base64(contents: str) -> str:
    decode_contents(contents)
    return contents


def decode_contents(contents: str) -> bytes:
    """The bytes of an inline volume.

    Raises:
        ValueError: the text is not standard base64 with padding.
    """
    try:
        return binascii.a2b_base64(contents, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not valid base64 ({error}); encode the bytes with base64.b64encode") from None


Url = Annotated[str, AfterValidator(checked_url)]
DirectoryPath = Annotated[str, AfterValidator(_checked_path)]
FilePath = Annotated[str, AfterValidator(_checked_file_path)]


class _Volume(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class InlineVolume(_Volume):
    """Bytes that travel in the request: a zip is unpacked into the directory, anything else is the file.

    `plain` makes any content the file, also one that is a zip by itself, as ``.npz`` and ``.whl`` are.
    """

    volume_type: Literal["inline"]
    contents: Annotated[str, AfterValidator(_checked_base64), Field(repr=False)]
    relative_path: DirectoryPath | None = None
    plain: bool = False

    @property
    def is_zip(self) -> bool:
        """Whether the content is to be unpacked (it begins as a zip; published clients always send one)."""
        return not self.plain and decode_contents(self.contents[:8])[:4] in (b"PK\x03\x04", b"PK\x05\x06")


class SingleFileVolume(_Volume):
    """One file, fetched by GET."""

    volume_type: Literal["single_file"]
    url: Annotated[Url, Field(repr=False)]
    relative_path: FilePath


class ZipUrlVolume(_Volume):
    """A zip archive, fetched by GET and unpacked. `contents` is the URL (so the wire has it)."""

    volume_type: Literal["zip_url"]
    contents: Annotated[Url, Field(repr=False)]
    relative_path: DirectoryPath | None = None


class HuggingfaceVolume(_Volume):
    """A snapshot of a Hugging Face repository."""

    volume_type: Literal["huggingface_volume"]
    repo_id: Annotated[str, Field(min_length=1, max_length=200)]
    repo_type: Literal["model", "dataset", "space"] | None = None
    revision: str | None = None
    relative_path: DirectoryPath | None = None
    allow_patterns: str | list[str] | None = None
    token: Annotated[str | None, Field(repr=False)] = None


class BlobVolume(_Volume):
    """Bytes that their owner uploaded before the job: see `horde_core.wire.blobs`.

    With `unpack` they are a zip archive that is unpacked into the directory, else they are the file itself.
    """

    volume_type: Literal["blob"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=MAX_BLOB)]
    relative_path: DirectoryPath | None = None
    unpack: bool = False


AnyVolume = InlineVolume | SingleFileVolume | ZipUrlVolume | HuggingfaceVolume | BlobVolume
Volume = Annotated[AnyVolume, Field(discriminator="volume_type")]


def is_file(volume: AnyVolume) -> bool:
    """Whether the volume becomes one file at its path, rather than the content of a directory."""
    match volume:
        case SingleFileVolume():
            return True
        case InlineVolume():
            return not volume.is_zip
        case BlobVolume():
            return not volume.unpack
        case _:
            return False


def check_together(volumes: Sequence[AnyVolume]) -> None:
    """Check that the volumes can share one tree: directories merge in order, a file holds nothing.

    Raises:
        ValueError: a volume that is a file has no file name, or a path lies inside another volume's file.
    """
    places = [paths.components(volume.relative_path or "") for volume in volumes]
    files = [place for volume, place in zip(volumes, places, strict=True) if is_file(volume)]
    if () in files:
        raise ValueError(
            "an inline volume or blob that is plain, or no zip, becomes a file, so its path must name one below"
            f" {MOUNT}/"
        )
    for place in places:
        for depth in range(1, len(place)):
            if place[:depth] in files:
                inner, outer = "/".join(place), "/".join(place[:depth])
                raise ValueError(f"{MOUNT}/{inner} lies inside {MOUNT}/{outer}, which is a file")
