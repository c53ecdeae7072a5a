"""A minute of coverage-guided fuzzing, from one seed; `scripts/fuzz` goes on as long as one likes, from others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.guided import is_here
from processes import ROOT

needs_atheris = pytest.mark.skipif(
    not is_here(), reason=f"atheris has no release for Python {sys.version_info.major}.{sys.version_info.minor}"
)


@needs_atheris
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("what", "targets", "seconds"), [("archives", 2, 12), ("keys", 5, 20), ("headers", 2, 6)])
def test_no_input_breaks_what_reads_it(what: str, targets: int, seconds: int) -> None:
    """Each target takes whatever it is given or refuses it as it should, and none hangs or grows."""
    command = [ROOT / "scripts" / "fuzz", what, "--minutes", str(seconds / 60), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    executions = [int(count) for count in re.findall(r": (\d+) executions", done.stdout)]
    assert len(executions) == targets, done.stdout
    assert min(executions) > 100, done.stdout


BROKEN = """
import sys
from fuzz.guided import Target, main

def fragile(data):
    if data[:2] == b"PK" and data[2:3] == b"!":
        raise KeyError("broken")

TARGETS = {"fragile": Target(fragile, lambda: [b"PQ"])}
if __name__ == "__main__":
    sys.exit(main("broken", tuple(TARGETS), None))
"""


@needs_atheris
def test_an_input_that_breaks_a_target_is_found_and_shown(tmp_path: Path) -> None:
    """A target with a mistake is worth nothing if nobody hears of it."""
    (tmp_path / "fuzz").mkdir()
    (tmp_path / "fuzz" / "broken.py").write_text(BROKEN)
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{tmp_path}"}
    command = [sys.executable, "-m", "fuzz.broken", "--minutes", "1", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken fragile is broken by crash-" in done.stdout
    assert "\nb'PK!" in done.stdout
