"""Local files and directories as input volumes that travel inside the job."""

from collections.abc import Iterable
from pathlib import Path

from compute_horde_sdk.v1 import HTTPInputVolume, InlineInputVolume
from horde_cli.errors import BadUsage
from horde_cli.values import InputOption

MOUNT = "/volume/"
MIB = 1024**2
# A job's description may hold 32 MiB, with everything in base64; the rest of it needs some room too.
MAX_ENCODED = 31 * MIB
# What is larger than this does not shrink below that by being packed, so it is not even read.
MAX_LOCAL = 256 * MIB

Volume = InlineInputVolume | HTTPInputVolume


def volumes(options: Iterable[InputOption]) -> dict[str, Volume]:
    """The volumes for some `--input` options, reading what is local.

    A file becomes a file, whatever is in it; a directory becomes its content; a URL is fetched by the executor.

    Raises:
        BadUsage: a source cannot be read, is neither file nor directory, or all together are too large.
    """
    chosen = list(options)
    local = {option.target: Path(option.source).expanduser() for option in chosen if not option.is_url}
    _check_size(local.values())
    found: dict[str, Volume] = {}
    for option in chosen:
        try:
            if option.is_url:
                found[option.target] = HTTPInputVolume(url=option.source)
            elif local[option.target].is_dir():
                key = option.target if option.target != MOUNT.rstrip("/") else MOUNT
                found[key] = InlineInputVolume.from_directory(local[option.target], compress=True)
            else:
                data = _file(option.target, local[option.target])
                found[option.target] = InlineInputVolume.from_bytes(data)
        except (OSError, ValueError) as error:
            raise BadUsage(f"--input {option.target}: {error}") from error
    inline = (volume for volume in found.values() if isinstance(volume, InlineInputVolume))
    if sum(len(volume.contents) for volume in inline) > MAX_ENCODED:
        raise BadUsage(
            "--input: the local files are too large to travel in a job", "serve them at a URL and give that"
        )
    return found


def _check_size(sources: Iterable[Path]) -> None:
    files = [file for source in sources for file in (source.rglob("*") if source.is_dir() else [source])]
    if sum(file.stat().st_size for file in files if file.is_file()) > MAX_LOCAL:
        raise BadUsage(f"--input: the local files hold more than {MAX_LOCAL // MIB} MiB", "serve them at a URL")


def _file(target: str, source: Path) -> bytes:
    if not source.exists():
        raise BadUsage(f"--input: {source} does not exist", "name a file, a directory, or an http(s) URL")
    if not source.is_file():
        raise BadUsage(f"--input: {source} is neither a file nor a directory")
    if target == MOUNT.rstrip("/"):
        raise BadUsage(f"--input: {source} is a file, so it needs a name", f"write {MOUNT}{source.name}={source}")
    return source.read_bytes()
