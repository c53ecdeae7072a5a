"""Input and output volumes as users write them, and how they look on the wire."""

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr, field_serializer

from compute_horde_sdk.v1._content import INLINE_BYTES, Archive, Content, walk
from horde_core import paths, uploads, volumes

INPUT_PREFIX = f"{volumes.MOUNT}/"
OUTPUT_PREFIX = f"{uploads.MOUNT}/"
INLINE_TOTAL = 16 * 1024**2
"""Bytes of data that may travel inside one job: in base64 they leave room in a body of 32 MiB for the rest."""


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
    """Data of yours: it travels inside the job's description or, if it is large, is uploaded before it.

    Attributes:
        contents: base64. A zip archive is unpacked into the directory that the volume's key names; any other
            content becomes the file of that name.
        plain: make the file of that name of any content, also of a zip archive (``.npz`` and ``.whl`` are such).
    """

    model_config = ConfigDict(serialize_by_alias=True)

    encoded: str = Field(alias="contents", repr=False)
    """As it was given; empty where the content lies in a temporary file."""
    plain: bool = False
    _content: Content | None = PrivateAttr(None)

    @classmethod
    def from_bytes(cls, contents: bytes) -> Self:
        """One file: it becomes the file that the volume's key names, whatever it holds."""
        return cls._of(Content.of_bytes(contents, unpack=False))

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
        with Archive(compress) as archive:
            archive.add(filename, contents)
            return cls._of(archive.finish())

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], compress: bool = False) -> Self:
        """One local file, under its own name, with its permission to execute.

        Raises:
            OSError: the file cannot be read, or there is no room for a packed copy of it.
        """
        source = Path(path)
        with Archive(compress) as archive:
            archive.add_file(source.name, source)
            return cls._of(archive.finish())

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], compress: bool = False) -> Self:
        """Everything below a local directory, with empty directories and permissions to execute.

        A link to a file is read as that file. It is packed now: what changes afterwards does not matter. A packed
        copy of more than 4 MiB lies in a temporary file (``TMPDIR``, or ``/var/tmp``).

        Raises:
            ValueError: there is something below that is neither file nor directory, or a link to a directory.
            OSError: something cannot be read, or there is no room for the packed copy.
        """
        root = Path(path)
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is not a directory")
        with Archive(compress) as archive:
            for name, source in walk(root):
                if source.is_dir():
                    archive.add_directory(name)
                else:
                    archive.add_file(name, source)
            return cls._of(archive.finish())

    @classmethod
    def from_plain_file(cls, path: str | os.PathLike[str]) -> Self:
        """One local file as it is: it becomes the file that the volume's key names, also if it is a zip archive.

        A large one is read again when it is uploaded, so it must not change before `create_job` returns.

        Raises:
            OSError: the file cannot be read.
        """
        return cls._of(Content.of_file(Path(path)))

    @classmethod
    def _of(cls, content: Content) -> Self:
        if content.size <= INLINE_BYTES:
            with content.file:
                return cls(contents=_base64(content), plain=not content.unpack)
        volume = cls(contents="", plain=not content.unpack)
        volume._content = content
        return volume

    @property
    def contents(self) -> str:
        """The data in base64. Of what lies in a file it is made anew each time."""
        return _base64(self._content) if self._content else self.encoded

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return self._content.size if self._content else len(self.encoded) * 3 // 4

    @property
    def is_in_file(self) -> bool:
        """Whether the data lies in a file, and so will be uploaded."""
        return self._content is not None

    def content(self) -> Content:
        """The data as it is uploaded.

        Raises:
            ValueError: `contents` is not base64.
        """
        if self._content:
            return self._content
        data = volumes.decode_contents(self.encoded)
        return Content.of_bytes(data, unpack=not self.plain and data[:4] in (b"PK\x03\x04", b"PK\x05\x06"))

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        if self._content:
            return self._content.to_wire(relative_path)
        volume: dict[str, JsonValue] = {
            "volume_type": "inline",
            "contents": self.encoded,
            "relative_path": relative_path,
        }
        if self.plain:  # only where it says something: other facilitators do not know it
            volume["plain"] = True
        return volume

    @field_serializer("encoded")
    def _serialized(self, _: str) -> str:
        return self.contents


def _base64(content: Content) -> str:
    return base64.b64encode(content.read(0, content.size)).decode("ascii")


class HTTPInputVolume(_Input):
    """One file, which the executor fetches from an http(s) URL; the volume's key is its path."""

    url: str

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        return {"volume_type": "single_file", "url": self.url, "relative_path": relative_path}


class HTTPZipInputVolume(_Input):
    """A zip archive, which the executor fetches from an http(s) URL and unpacks into the volume's key."""

    url: str

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it."""
        return {"volume_type": "zip_url", "contents": self.url, "relative_path": relative_path}


class HuggingfaceInputVolume(_Input):
    """A repository of Hugging Face; the volume's key is the directory that it will fill.

    Attributes:
        repo_id: owner and name, for example ``"openai/whisper-tiny"``.
        repo_type: ``"model"`` (what None means), ``"dataset"`` or ``"space"``.
        revision: a branch, tag or commit; None is the default branch.
        allow_patterns: take only the files that match one of these.
        token: for repositories that are private or gated. It travels signed with the job, and is used for this
            job alone.
    """

    repo_id: str
    repo_type: str | None = None
    revision: str | None = None
    allow_patterns: str | list[str] | None = None
    token: str | None = Field(default=None, repr=False)

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
            "token": self.token,
        }


class HTTPOutputVolume(_Value):
    """One file, which the executor sends to an http(s) URL after the job; the volume's key is its path.

    The keys ``/output/stdout.txt`` and ``/output/stderr.txt`` are the job's logs, unless it wrote files of these
    names; they are sent also when it fails.

    Attributes:
        http_method: PUT sends the bare file; POST sends a form whose last part is the file.
        url: where to; usually a presigned URL, which must still hold when the job has waited and run.
        form_fields: the parts of the form before the file (POST only).
        signed_headers: headers to send along, exactly these.
        when: ``"success"`` sends the file when the job succeeds or is stopped at its execution limit, ``"always"``
            also when it fails by itself or is cancelled while it runs.
    """

    http_method: Literal["POST", "PUT"]
    url: str
    form_fields: Mapping[str, str] | None = Field(default=None, repr=False)
    signed_headers: Mapping[str, str] | None = Field(default=None, repr=False)
    when: Literal["success", "always"] = "success"

    def to_wire(self, relative_path: str) -> dict[str, JsonValue]:
        """The volume as the facilitator takes it.

        Raises:
            ValueError: `form_fields` are given for a PUT, which has no form.
        """
        headers: JsonValue = None if self.signed_headers is None else {**self.signed_headers}
        fields: JsonValue = None if self.form_fields is None else {**self.form_fields}
        place: dict[str, JsonValue] = {"relative_path": relative_path, "signed_headers": headers}
        if self.when != "success":  # what published clients do not know is sent only where it matters
            place["when"] = self.when
        if self.http_method == "PUT":
            if fields is not None:
                raise ValueError("a PUT has no form_fields; use http_method='POST' or leave them out")
            return {"output_upload_type": "single_file_put", "url": self.url, **place}
        return {"output_upload_type": "single_file_post", "url": self.url, "form_fields": fields, **place}


class HttpOutputVolumeResponse(BaseModel):
    """What the server of an output volume answered, in the end.

    Attributes:
        headers: by name in lower case.
        body: its first 16 KiB as text; bytes that are no UTF-8 are replaced.
        status: the HTTP status, also of a refusal; None if the facilitator does not tell.
    """

    headers: dict[str, str]
    body: str
    status: int | None = None


InputVolume = InlineInputVolume | HuggingfaceInputVolume | HTTPInputVolume | HTTPZipInputVolume
OutputVolume = HTTPOutputVolume
