"""Outputs of clients from the package index."""

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(300)]


def test_a_published_client_uploads_by_put(environment, horde, image, web):
    """0.0.16 sends a file and the log, and reads the server's answers; what it does not know it leaves alone."""
    script = Path(__file__).with_name("upload.py")
    command = [
        environment("0.0.16").python,
        script,
        horde.url,
        horde.data / "wallets",
        image,
        web.url("/published"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["sdk"], told["status"]) == ("0.0.16", "completed")
    assert list(told["results"]) == ["/output/d/r", "/output/stdout.txt"]
    assert all("server" in headers for headers in told["results"].values())
    assert (web.root / "published" / "d" / "r").read_text() == "result\n"
    assert (web.root / "published" / "stdout.txt").read_text() == "out\n"
