"""Memory of an idle `horde up`: proportional set size of all its processes.

python tests/bench/memory.py
"""

import tempfile
from pathlib import Path

from processes import Horde, descendants, running, wait_until


def pss_kib(pid: int) -> int:
    """Proportional set size of a process in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def main() -> None:
    """Start it, let it settle, print."""
    with tempfile.TemporaryDirectory() as data, running(Horde(Path(data) / "horde")) as up:
        up.ready()
        sizes: list[int] = []

        def settled() -> bool:
            sizes.append(sum(pss_kib(pid) for pid in descendants(up.process.pid)))
            return len(sizes) > 100 and max(sizes[-100:]) - min(sizes[-100:]) < 1024

        wait_until("the memory to settle", settled, timeout=60)
        for pid in descendants(up.process.pid):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            print(f"{pss_kib(pid) / 1024:7.1f} MiB  {' '.join(words[1:5])}")
        print(f"{sizes[-1] / 1024:7.1f} MiB  together")


if __name__ == "__main__":
    main()
