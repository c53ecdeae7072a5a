"""A minute of requests that nobody thought of; `scripts/fuzz` goes on for as long as one likes, with other seeds.

What is drawn here is the same each time, so that a change is judged by what it changed.
"""

import re
import subprocess

import pytest

from processes import ROOT


@pytest.mark.timeout(240)
def test_every_answer_is_one_that_the_description_knows():
    """No 5xx, no status, content type or body that is not described, none that takes 5 s, in any role."""
    command = [ROOT / "scripts" / "fuzz", "api", "--minutes", "1", "--seed", "20261125"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^(\d+) requests, (\d+) operations", done.stdout, re.MULTILINE)
    assert counted, done.stdout
    assert int(counted[1]) > 5 * int(counted[2])
