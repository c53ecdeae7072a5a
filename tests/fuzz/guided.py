"""Coverage-guided fuzzing by atheris (libFuzzer): each target in a process of its own, for a share of the time.

A target is a function of bytes that raises nothing whatever it is given; what it checks itself it checks with
`assert`. It starts from examples of our own tests. The first input that breaks it is shown, as Python writes it.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
INSTRUMENTED = ("horde_core", "horde_executor", "horde_facilitator.admission", "zipfile")
SLOW_S = 20
"""An input that takes longer is a finding: something hangs."""
MEMORY_MB = 1024

_EXECUTIONS = re.compile(r"^stat::number_of_executed_units: +(\d+)", re.MULTILINE)
_PLACES = re.compile(r"\bcov: (\d+)")


@dataclass(frozen=True)
class Target:
    """What is given to whom: examples to start from, words that matter, the longest input in bytes."""

    run: Callable[[bytes], object]
    examples: Callable[[], Iterable[bytes]]
    words: tuple[str, ...] = ()
    longest: int = 1024
    mutate: Callable[[bytes, int, int], bytes] | None = None


def is_here() -> bool:
    """Whether this Python has atheris, which is built for a few versions of it only."""
    return importlib.util.find_spec("atheris") is not None


def main(module: str, names: tuple[str, ...], description: str | None) -> int:
    """Fuzz the targets of a module, each for an equal share of the minutes."""
    options = argparse.ArgumentParser(prog=f"scripts/fuzz {module}", description=description)
    options.add_argument("--minutes", type=float, default=1)
    options.add_argument("--target", choices=names, action="append", help="only this one; repeat for more")
    options.add_argument("--seed", type=int, default=0, help="libFuzzer's; 0 takes a new one each time")
    given = options.parse_args()
    if not is_here():
        print(f"atheris has no release for Python {sys.version.partition(' ')[0]}; use one from 3.11 to 3.13")
        return 2
    chosen = tuple(given.target or names)
    good = [fuzz(module, name, given.minutes * 60 / len(chosen), given.seed) for name in chosen]
    return 0 if all(good) else 1


def fuzz(module: str, name: str, seconds: float, seed: int) -> bool:
    """Run one target; say what was done, and what was found. Whether nothing was."""
    with tempfile.TemporaryDirectory(prefix="horde-fuzz-") as room:
        limits = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MB}"]
        where = [f"-artifact_prefix={room}/", "-print_final_stats=1", f"-seed={seed}"]
        command = [sys.executable, "-m", "fuzz.child", module, name, room, *limits, *where]
        began = time.monotonic()
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, errors="replace", check=False)
        said = done.stdout + done.stderr
        took = time.monotonic() - began
        executions, places = (
            found[-1] if found else "?" for found in (_EXECUTIONS.findall(said), _PLACES.findall(said))
        )
        print(f"{module} {name}: {executions} executions in {took:.0f} s, {places} places reached", flush=True)
        if done.returncode == 0:
            return True
        print(said)
        for found in Path(room).glob("*-*"):
            if found.is_file():
                print(f"{module} {name} is broken by {found.name}:\n{found.read_bytes()!r}")
        return False


def start(target: Target, room: Path, arguments: list[str]) -> None:
    """Hand this process over to libFuzzer. It does not come back."""
    import atheris

    corpus = room / "corpus"
    corpus.mkdir()
    for index, example in enumerate(target.examples()):
        (corpus / f"{index:04}").write_bytes(example[: target.longest])
    if target.words:
        dictionary = room / "words"
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        arguments = [*arguments, f"-dict={dictionary}"]
    options: Mapping[str, object] = {"custom_mutator": target.mutate} if target.mutate else {}
    atheris.Setup([sys.argv[0], *arguments, f"-max_len={target.longest}", str(corpus)], target.run, **options)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(chr(b) if 0x20 < b < 0x7F and b not in b'\\"' else f"\\x{b:02x}" for b in word.encode())
