"""Names of container images, read as the Docker distribution does."""

import re
from dataclasses import dataclass

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
DEFAULT_REGISTRY = "docker.io"
HUB_HOST = "registry-1.docker.io"
"""Where images of the default registry really come from."""
MAX_LENGTH = 255
_HUB_NAMES = (DEFAULT_REGISTRY, "index.docker.io", HUB_HOST)


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image name in its parts. `registry` may hold a port; exactly one of `tag`, `digest` decides."""

    registry: str
    repository: str
    tag: str
    digest: str | None

    def __str__(self) -> str:
        """The name that the engine is asked for."""
        name = self.repository if self.registry == DEFAULT_REGISTRY else f"{self.registry}/{self.repository}"
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"

    @property
    def home(self) -> tuple[str, str]:
        """Registry and repository; Docker's own registry has several names for itself and for its library."""
        registry = _known_as(self.registry)
        if registry == DEFAULT_REGISTRY:
            return registry, self.repository.removeprefix("library/")
        return registry, self.repository

    @property
    def key(self) -> str:
        """The same for all spellings of the name."""
        return "/".join(self.home) + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse_image(text: str) -> ImageName:
    """Read an image name; without tag and digest the tag is ``latest``.

    The first component is a registry when it holds a dot or a colon or is ``localhost``, so
    ``host:5000/name`` has no tag.

    Raises:
        ValueError: the text is no image name; the message says which part is wrong.
    """
    if not text or len(text) > MAX_LENGTH:
        raise ValueError(f"an image name has 1 to {MAX_LENGTH} characters, for example 'user/image:tag'")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no image digest; it must be 'sha256:' and 64 hexadecimal digits")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, remainder
        if not _DOMAIN.fullmatch(registry):
            raise ValueError(f"{registry!r} is no registry; it must be a host name, with ':port' if needed")
    else:
        registry = DEFAULT_REGISTRY
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no image tag; use up to 128 letters, digits, '_', '.' and '-'")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"{repository!r} is no image name; use lower-case letters, digits, '.', '_', '-', '/'")
    return ImageName(registry, repository, tag if colon else "latest", digest if at else None)


def parse_registry(text: str) -> str:
    """The one name of a registry, from a host with ``:port`` if it needs one.

    Hosts are compared in lower case, and all names of Docker's own registry are ``docker.io``.

    Raises:
        ValueError: the text is no host.
    """
    host = _known_as(text)
    if len(text) > MAX_LENGTH or not _DOMAIN.fullmatch(host):
        raise ValueError(f"{text!r} is no registry; it must be a host name, with ':port' if needed")
    return host


def _known_as(registry: str) -> str:
    host = registry.lower()
    return DEFAULT_REGISTRY if host in _HUB_NAMES else host
