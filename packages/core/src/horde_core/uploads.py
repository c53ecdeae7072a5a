"""Output uploads as they travel on the wire.

What a user gives for a request (headers, fields of a form) is checked here once, so that whoever sends it cannot
be made to send another request than the one that was described.
"""

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from horde_core.volumes import FilePath, Url

MOUNT = "/output"
LOGS: dict[str, Literal["stdout", "stderr"]] = {"stdout.txt": "stdout", "stderr.txt": "stderr"}
"""Outputs that are the job's logs, unless the job itself wrote files of these names."""

MAX_UPLOADS = 256
MAX_HEADERS = 64
MAX_HEADERS_BYTES = 8 * 1024  # what S3 takes, and the usual limit of servers
MAX_FIELDS = 100
MAX_FIELDS_BYTES = 64 * 1024  # S3 takes 20 KB
FILE_FIELD = "file"

When = Literal["success", "always"]
"""Whether an output goes up after a success only, or after every end of the container that is the job's own."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110, section 5.6.2: token
# What frames the request, says where it goes, or asks for another connection, is the sender's to set.
_SENDERS_OWN = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    _check_size("headers", headers, MAX_HEADERS, MAX_HEADERS_BYTES)
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if lower in _SENDERS_OWN or lower.startswith("proxy-"):
            raise ValueError(f"{name!r} is set by the executor; leave it out (and sign no other value of it)")
        if lower in seen:
            raise ValueError(f"{name!r} is given twice; names of headers differ by more than upper and lower case")
        if _has_control(value):
            raise ValueError(f"the value of {name!r} holds a line break or another control character")
        seen.add(lower)
    return headers


def _checked_fields(fields: dict[str, str]) -> dict[str, str]:
    _check_size("fields", fields, MAX_FIELDS, MAX_FIELDS_BYTES)
    for name, value in fields.items():
        if not name or _has_control(name):
            raise ValueError(f"{name!r} is no name of a form field: it is empty or holds a control character")
        if name == FILE_FIELD:
            raise ValueError(
                f"{FILE_FIELD!r} is the field of the file itself, which the executor adds as the last"
            )
        if not _is_text(value):
            raise ValueError(f"the value of {name!r} is not valid Unicode")
    return fields


def _check_size(what: str, given: dict[str, str], most: int, most_bytes: int) -> None:
    if len(given) > most:
        raise ValueError(f"there are {len(given)} {what}; the limit is {most}")
    size = sum(len(text.encode(errors="surrogatepass")) for item in given.items() for text in item)
    if size > most_bytes:
        raise ValueError(f"the {what} hold {size} bytes together; the limit is {most_bytes}")


def _has_control(text: str) -> bool:
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _checked_post_headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if name.lower() == "content-type":
            raise ValueError(f"{name!r} of a form is set by the executor; for the file's type use a form field")
    return headers


Headers = Annotated[dict[str, str], AfterValidator(_checked_headers)]
PostHeaders = Annotated[Headers, AfterValidator(_checked_post_headers)]
Fields = Annotated[dict[str, str], AfterValidator(_checked_fields)]


class _Upload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    url: Annotated[Url, Field(repr=False)]
    relative_path: FilePath


class SingleFilePut(_Upload):
    """One file, sent as the body of a PUT."""

    output_upload_type: Literal["single_file_put"]
    signed_headers: Annotated[Headers | None, Field(repr=False)] = None
    when: When = "success"


class SingleFilePost(_Upload):
    """One file, sent as the last part of a multipart form."""

    output_upload_type: Literal["single_file_post"]
    form_fields: Annotated[Fields | None, Field(repr=False)] = None
    signed_headers: Annotated[PostHeaders | None, Field(repr=False)] = None
    when: When = "success"


AnyUpload = SingleFilePut | SingleFilePost
Upload = Annotated[AnyUpload, Field(discriminator="output_upload_type")]


def logs_of(upload: AnyUpload) -> Literal["stdout", "stderr"] | None:
    """The log that this output is, if the job wrote no file of that name."""
    return LOGS.get(upload.relative_path)


def goes_up_after_failure(upload: AnyUpload) -> bool:
    """Whether the output is sent also when the job itself failed."""
    return upload.when == "always" or upload.relative_path in LOGS
