"""Checks of the machine: whether it can run an executor."""

import ctypes
import errno
import os
import platform
import re
import shutil
from pathlib import Path

from horde_cli.doctor.report import Finding, fail, ok, warn

OLDEST_KERNEL = (5, 6)
SYS_OPENAT2 = 437  # the same number on every architecture
LOW_DISK = 10 * 1024**3
NO_DISK = 1024**3
GIB = 1024**3


def kernel(system: str | None = None, release: str | None = None) -> Finding:
    """Linux, and not too old for openat2 and pidfds."""
    system = system or platform.system()
    release = release or platform.release()
    if system != "Linux":
        return fail("kernel", f"{system} {release}", "executors run on Linux; use a virtual machine or WSL 2")
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        needed = ".".join(map(str, OLDEST_KERNEL))
        return fail("kernel", f"Linux {release}", f"upgrade to Linux {needed} or newer")
    return ok("kernel", f"Linux {release}")


def openat2() -> Finding:
    """Results of jobs are read with openat2, which some sandboxes forbid."""
    libc = ctypes.CDLL(None, use_errno=True)
    # A size of 0 is always invalid, so a kernel that knows the call answers EINVAL, and nothing is opened.
    libc.syscall(SYS_OPENAT2, -100, b"/", None, 0)
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.EFAULT):
        return ok("openat2", "available")
    remedy = "allow the system call in the sandbox or container in which this runs, or upgrade the kernel"
    return fail("openat2", f"not available ({os.strerror(number)})", remedy)


def cgroups(root: Path = Path("/sys/fs/cgroup")) -> Finding:
    """Limits of memory, processors and processes are kept by cgroups."""
    if (root / "cgroup.controllers").exists():
        controllers = set((root / "cgroup.controllers").read_text().split())
        version = "version 2"
    else:
        controllers = {entry.name for entry in root.iterdir()} if root.is_dir() else set[str]()
        version = "version 1"
    missing = sorted({"memory", "cpu", "pids"} - controllers)
    if missing:
        remedy = "mount them under /sys/fs/cgroup (on Debian: the kernel's cgroup_enable=memory, then reboot)"
        return fail("cgroups", f"{version}, without {', '.join(missing)}", remedy)
    return ok("cgroups", f"{version} with memory, cpu and pids")


def disk(directory: Path) -> Finding:
    """Room for images, inputs and results."""
    place = directory
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{free / GIB:.1f} GiB free for {directory}"
    if free < NO_DISK:
        return fail("disk", detail, "free some space, or choose another place with --data")
    if free < LOW_DISK:
        return warn("disk", detail, "large images or results may not fit; free some space")
    return ok("disk", detail)
