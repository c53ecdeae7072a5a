"""Local files and directories as input volumes."""

from collections.abc import Iterable
from pathlib import Path

from compute_horde_sdk.v1 import HTTPInputVolume, InlineInputVolume
from horde_cli.errors import BadUsage
from horde_cli.values import InputOption

MOUNT = "/volume/"

Volume = InlineInputVolume | HTTPInputVolume


def volumes(options: Iterable[InputOption]) -> dict[str, Volume]:
    """The volumes for some `--input` options; what is local is read, and what is large kept in temporary files.

    A file becomes a file, whatever is in it; a directory becomes its content; a URL is fetched by the executor.

    Raises:
        BadUsage: a source cannot be read, or is neither file nor directory.
    """
    found: dict[str, Volume] = {}
    for option in options:
        source = Path(option.source).expanduser()
        try:
            if option.is_url:
                found[option.target] = HTTPInputVolume(url=option.source)
            elif source.is_dir():
                key = option.target if option.target != MOUNT.rstrip("/") else MOUNT
                # Not compressed, so that equal content has equal bytes everywhere and is not sent again.
                found[key] = InlineInputVolume.from_directory(source)
            else:
                found[option.target] = _file(option.target, source)
        except (OSError, ValueError) as error:
            raise BadUsage(f"--input {option.target}: {error}") from error
    return found


def _file(target: str, source: Path) -> InlineInputVolume:
    if not source.exists():
        raise BadUsage(f"--input: {source} does not exist", "name a file, a directory, or an http(s) URL")
    if not source.is_file():
        raise BadUsage(f"--input: {source} is neither a file nor a directory")
    if target == MOUNT.rstrip("/"):
        raise BadUsage(f"--input: {source} is a file, so it needs a name", f"write {MOUNT}{source.name}={source}")
    return InlineInputVolume.from_plain_file(source)
