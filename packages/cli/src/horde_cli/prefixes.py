"""Jobs named by the first characters of their UUID."""

import re
from collections.abc import Iterable
from uuid import UUID

from horde_cli.errors import BadUsage, NoSuchJob

SHORTEST = 4
SHOWN = 5
_PREFIX = re.compile(r"[0-9a-f-]{4,36}")


def full(text: str) -> str | None:
    """The UUID in its usual form if the text is a whole one."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def checked(text: str) -> str:
    """A text that may begin a UUID, in lower case.

    Raises:
        BadUsage: it is too short, or has other characters than a UUID.
    """
    prefix = text.lower()
    if not _PREFIX.fullmatch(prefix):
        raise BadUsage(f"{text!r} begins no UUID", f"give {SHORTEST} or more of its characters, as in: horde jobs")
    return prefix


def choose(text: str, uuids: Iterable[str]) -> str:
    """The one UUID that begins with the text.

    Raises:
        BadUsage: the text can begin no UUID.
        NoSuchJob: no UUID begins with it, or more than one; then the message lists them.
    """
    prefix = checked(text)
    found = [uuid for uuid in uuids if uuid.startswith(prefix)]
    if not found:
        raise NoSuchJob(f"no job begins with {prefix!r}", "horde jobs lists yours")
    if len(found) > 1:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = ", ".join(found[:SHOWN])
        raise NoSuchJob(f"{len(found)} jobs begin with {prefix!r}: {listed}{more}", "give more characters")
    return found[0]
