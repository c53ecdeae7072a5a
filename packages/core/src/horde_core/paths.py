"""Normal form of the paths that a user names inside a container.

One rule for every mount key, relative path and artifact name, so that no part of the system has to guess what
an odd path means: a path is what it says, or it is refused.
"""

import unicodedata

MAX_BYTES = 1024
MAX_DEPTH = 32
MAX_COMPONENT_BYTES = 255

# Places whose content belongs to the image, the kernel, the engine (/.dockerenv) and the executor (/.horde); a
# mount there would break or bend the container.
SYSTEM = (
    "/.dockerenv", "/.horde", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run",
    "/sbin", "/sys", "/usr", "/var/run",
)  # fmt: skip


def components(relative: str) -> tuple[str, ...]:
    """Split a relative path into its components; `""` is the root itself.

    Raises:
        ValueError: the path is absolute, not in normal form, or too long.
    """
    if not relative:
        return ()
    if relative.startswith("/"):
        raise ValueError(f"{relative!r} must not start with '/'")
    path = relative.removesuffix("/")
    _check_text(path)
    parts = tuple(path.split("/"))
    if len(parts) > MAX_DEPTH:
        raise ValueError(f"{path!r} is deeper than {MAX_DEPTH} directories")
    for part in parts:
        if part in ("", ".", ".."):
            raise ValueError(f"{path!r} must not hold empty components, '.' or '..'")
        if len(part.encode()) > MAX_COMPONENT_BYTES:
            raise ValueError(f"a component of {path!r} is longer than {MAX_COMPONENT_BYTES} bytes")
    return parts


def _check_text(path: str) -> None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{path!r} is not valid Unicode") from None
    if size > MAX_BYTES:
        raise ValueError(f"the path is {size} bytes long; the limit is {MAX_BYTES}")
    if "\\" in path or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in path):
        raise ValueError(f"{path!r} holds a backslash, control or invisible character")
    if unicodedata.normalize("NFC", path) != path:
        raise ValueError(f"{path!r} is not in Unicode normal form NFC")


def absolute(path: str) -> str:
    """The normal form of an absolute directory inside the container (no trailing slash).

    Raises:
        ValueError: the path is relative, `/` itself, not in normal form, or belongs to the system.
    """
    if not path.startswith("/"):
        raise ValueError(f"{path!r} must be an absolute path, starting with '/'")
    parts = components(path[1:])
    if not parts:
        raise ValueError("'/' cannot be used; name a directory below it")
    normal = "/" + "/".join(parts)
    if any(normal == s or normal.startswith(s + "/") for s in SYSTEM):
        raise ValueError(f"{normal!r} belongs to the system of the container; use another directory")
    return normal
