"""What a request carries of a file: the bare bytes, or a form (RFC 7578) whose last part they are.

The length is always known before, because presigned requests take no other coding. The form is written here, not
by libcurl, so that what users name can be seen to stay within its place.
"""

import os
import secrets
from collections.abc import Mapping

from horde_core.uploads import FILE_FIELD

_BREAK = "\r\n"


class Content:
    """Bytes before the file, the file, bytes after it. Reading never moves the descriptor's own position."""

    def __init__(self, file: int, size: int, before: bytes = b"", after: bytes = b"") -> None:
        self.size = len(before) + size + len(after)
        self.at = 0
        self._file = file
        self._file_size = size
        self._before = before
        self._after = after

    @property
    def file_bytes(self) -> int:
        """How much of the file itself has been read."""
        return min(max(0, self.at - len(self._before)), self._file_size)

    @property
    def is_complete(self) -> bool:
        """Whether everything has been read."""
        return self.at == self.size

    def seek(self, place: int) -> None:
        """Go on reading from there."""
        self.at = place

    def read(self, count: int) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        data = self._next(count)
        self.at += len(data)
        return data

    def _next(self, count: int) -> bytes:
        place = self.at
        if place < len(self._before):
            return self._before[place : place + count]
        place -= len(self._before)
        if place < self._file_size:
            data = os.pread(self._file, min(count, self._file_size - place), place)
            if not data:
                raise OSError("the file has become shorter")
            return data
        place -= self._file_size
        return self._after[place : place + count]


def form(fields: Mapping[str, str], filename: str, file: int, size: int) -> tuple[str, Content]:
    """A form with these fields, then the file: its Content-Type and its content."""
    boundary = secrets.token_hex(24)
    parts = [
        f"--{boundary}{_BREAK}Content-Disposition: form-data; name={_quoted(name)}{_BREAK}{_BREAK}{value}{_BREAK}"
        for name, value in fields.items()
    ]
    place = f"form-data; name={_quoted(FILE_FIELD)}; filename={_quoted(filename)}"
    parts.append(
        f"--{boundary}{_BREAK}Content-Disposition: {place}{_BREAK}"
        f"Content-Type: application/octet-stream{_BREAK}{_BREAK}"
    )
    end = f"{_BREAK}--{boundary}--{_BREAK}"
    return f"multipart/form-data; boundary={boundary}", Content(file, size, "".join(parts).encode(), end.encode())


def _quoted(name: str) -> str:
    """As browsers do it (the HTML standard, "multipart/form-data encoding algorithm")."""
    escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return f'"{escaped}"'
