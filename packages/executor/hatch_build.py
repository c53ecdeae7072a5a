"""Builds the first process of a job's container (`init.c`) into the package, as one static executable.

With tcc and musl, which are small packages on Debian, or with the C compiler that is there (`CC`, `cc`).
"""

import os
import platform
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("src/horde_executor")
MISSING = "no C compiler can link a static program; on Debian and Ubuntu: apt-get install tcc musl-dev"


class InitBuild(BuildHookInterface[Any]):
    """Compiles before the wheel is packed, also for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile, and name the platform that the wheel is then for."""
        if self.target_name != "wheel":
            return
        package = Path(self.root) / PACKAGE
        compile_init(package / "init.c", package / "_init")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_init(source: Path, target: Path) -> None:
    """Compile by the first command that can.

    Raises:
        RuntimeError: none can; the message has what each said.
    """
    said: list[str] = []
    for command in commands(source, target):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            said.append(f"{command[0]}: {error.strerror}")
            continue
        if done.returncode == 0:
            target.chmod(0o755)
            return
        said.append(f"{command[0]}: {done.stderr.strip()}")
    raise RuntimeError("\n".join([MISSING, *said]))


def commands(source: Path, target: Path) -> list[list[str]]:
    """What may be tried, in this order."""
    musl = f"{platform.machine()}-linux-musl"
    library = Path("/usr/lib") / musl
    with_musl = [
        *["tcc", "-static", "-nostdinc", f"-I/usr/include/{musl}", "-nostdlib", "-o", str(target)],
        *[str(library / name) for name in ("crt1.o", "crti.o")],
        *[str(source), str(library / "libc.a"), str(library / "crtn.o")],
    ]
    compiler = os.environ.get("CC", "cc").split()
    return [with_musl, [*compiler, "-O2", "-static", "-s", "-o", str(target), str(source)]]
