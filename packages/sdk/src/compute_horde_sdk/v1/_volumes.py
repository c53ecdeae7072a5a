"""Input and output volumes as users write them, and how they look on the wire."""

import base64
import io
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from horde_core import paths, uploads, volumes

INPUT_PREFIX = f"{volumes.MOUNT}/"
OUTPUT_PREFIX = f"{uploads.MOUNT}/"

# A fixed time (the earliest that zip knows) makes equal content equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, volumes.without_query(value) if name == "url" else value


class _Input(_Value, ABC):
    @abstractmethod
    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it, at a path below `/volume/`."""


class InlineInputVolume(_Input):
    """Data that travels inside the job's description, so the whole must stay below 32 MiB.

    Attributes:
        contents: base64. A zip archive is unpacked into the directory that the volume's key names; any other
            content becomes the file of that name.
    """

    contents: str = Field(repr=False)

    @classmethod
    def from_file_contents(cls, filename: str, contents: bytes, compress: bool = False) -> Self:
        """One file: it will be found as `filename` in the directory that the volume's key names.

        Args:
            filename: the file's name, or its path below the directory.
            contents: the file's bytes.
            compress: send it deflated.

        Raises:
            ValueError: `filename` is no relative path in plain form (no ``..``, no leading ``/``).
        """
        if not paths.components(filename) or filename.endswith("/"):
            raise ValueError(f"{filename!r} is no name of a file")
        archive = _Archive(compress)
        archive.add(filename, contents)
        return cls(contents=archive.base64())

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], compress: bool = False) -> Self:
        """One local file, under its own name, with its permission to execute.

        Raises:
            OSError: the file cannot be read.
        """
        source = Path(path)
        archive = _Archive(compress)
        archive.add(source.name, source.read_bytes(), source.stat().st_mode)
        return cls(contents=archive.base64())

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], compress: bool = False) -> Self:
        """Everything below a local directory, with empty directories and permissions to execute.

        A link to a file is read as that file.

        Raises:
            ValueError: there is something below that is neither file nor directory, or a link to a directory.
            OSError: something cannot be read.
        """
        root = Path(path)
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is not a directory")
        archive = _Archive(compress)
        for name, source in _walk(root):
            if source.is_dir():
                archive.add_directory(name)
            else:
                archive.add(name, source.read_bytes(), source.stat().st_mode)
        return cls(contents=archive.base64())

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        return {"volume_type": "inline", "contents": self.contents, "relative_path": relative_path}


class HTTPInputVolume(_Input):
    """One file, which the executor fetches from an http(s) URL; the volume's key is its path."""

    url: str

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        return {"volume_type": "single_file", "url": self.url, "relative_path": relative_path}


class HuggingfaceInputVolume(_Input):
    """A repository of Hugging Face; the volume's key is the directory that it will fill.

    Attributes:
        repo_id: owner and name, for example ``"openai/whisper-tiny"``.
        repo_type: ``"model"`` (what None means), ``"dataset"`` or ``"space"``.
        revision: a branch, tag or commit; None is the default branch.
        allow_patterns: take only the files that match one of these.
    """

    repo_id: str
    repo_type: str | None = None
    revision: str | None = None
    allow_patterns: str | list[str] | None = None

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        patterns = self.allow_patterns
        return {
            "volume_type": "huggingface_volume",
            "repo_id": self.repo_id,
            "repo_type": self.repo_type,
            "revision": self.revision,
            "relative_path": relative_path,
            "allow_patterns": [*patterns] if isinstance(patterns, list) else patterns,
            "token": None,
        }


class HTTPOutputVolume(_Value):
    """One file, which the executor sends to an http(s) URL after the job; the volume's key is its path.

    Attributes:
        http_method: PUT sends the bare file; POST sends a form whose last part is the file.
        url: where to; usually a presigned URL.
        form_fields: the parts of the form before the file (POST only).
        signed_headers: headers to send along, exactly these.
    """

    http_method: Literal["POST", "PUT"]
    url: str
    form_fields: Mapping[str, str] | None = Field(default=None, repr=False)
    signed_headers: Mapping[str, str] | None = Field(default=None, repr=False)

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it.

        Raises:
            ValueError: `form_fields` are given for a PUT, which has no form.
        """
        headers: JsonValue = None if self.signed_headers is None else {**self.signed_headers}
        fields: JsonValue = None if self.form_fields is None else {**self.form_fields}
        place: dict[str, JsonValue] = {"relative_path": relative_path, "signed_headers": headers}
        if self.http_method == "PUT":
            if fields is not None:
                raise ValueError("a PUT has no form_fields; use http_method='POST' or leave them out")
            return {"output_upload_type": "single_file_put", "url": self.url, **place}
        return {"output_upload_type": "single_file_post", "url": self.url, "form_fields": fields, **place}


class HttpOutputVolumeResponse(BaseModel):
    """What the server of an output volume answered. Names of headers are in lower case."""

    headers: dict[str, str]
    body: str


InputVolume = InlineInputVolume | HuggingfaceInputVolume | HTTPInputVolume
OutputVolume = HTTPOutputVolume


class _Archive:
    """A zip archive in the making."""

    def __init__(self, compress: bool) -> None:
        self._buffer = io.BytesIO()
        self._method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        self._zip = zipfile.ZipFile(self._buffer, "w")

    def add(self, name: str, contents: bytes, mode: int = 0o644) -> None:
        member = zipfile.ZipInfo(name, _ZIP_TIME)
        member.external_attr = (stat.S_IFREG | stat.S_IMODE(mode)) << 16
        self._zip.writestr(member, contents, self._method)

    def add_directory(self, name: str) -> None:
        member = zipfile.ZipInfo(f"{name}/", _ZIP_TIME)
        member.external_attr = (stat.S_IFDIR | 0o755) << 16
        self._zip.writestr(member, b"")

    def base64(self) -> str:
        self._zip.close()
        return base64.b64encode(self._buffer.getbuffer()).decode("ascii")


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """What is below a directory, in a stable order, each with its name relative to the directory."""
    for directory, inner, files in os.walk(root, onerror=_raise):
        inner.sort()
        for name in sorted([*inner, *files]):
            source = Path(directory, name)
            if name in inner and source.is_symlink():
                raise ValueError(f"{source} is a link to a directory; name that directory as a volume of its own")
            if name in files and not source.is_file():
                raise ValueError(f"{source} is neither a file nor a directory")
            yield source.relative_to(root).as_posix(), source


def _raise(error: OSError) -> None:
    raise error
