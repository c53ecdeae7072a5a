"""Clients from the package index run here when only their URL is changed, and can be upgraded to ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from processes import ROOT, Horde, running

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(300)]
UV = str(Path(sys.executable).with_name("uv"))


class Environment:
    """A virtual environment of its own."""

    def __init__(self, directory: Path, *requirements: str) -> None:
        self.python = directory / "bin" / "python"
        subprocess.run([UV, "venv", "-q", "--python", sys.executable, directory], check=True)
        self.install(*requirements)

    def install(self, *arguments: str) -> None:
        subprocess.run([UV, "pip", "install", "-q", "--python", self.python, *arguments], check=True)

    def try_job(self, horde, image: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a job by the client that is installed here."""
        script = Path(__file__).with_name("job.py")
        command = [self.python, script, horde.url, horde.data / "wallets", image]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})

    def run_job(self, horde, image: str, **env: str) -> dict:
        """What became of a job run by the client that is installed here."""
        done = self.try_job(horde, image, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """The wheels that a user of the SDK would install."""
    directory = tmp_path_factory.mktemp("wheels")
    for member in ("core", "sdk"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
        subprocess.run(command, check=True, cwd=ROOT / "packages" / member, stdout=subprocess.DEVNULL)
    return directory


def expected(version: str, status: str) -> dict:
    return {
        "sdk": version,
        "status": status,
        "stdout": "hello",
        "stderr": "z\n",
        "artifacts": {"/out/a/b": "y\n"},
        "listed": True,
    }


@pytest.mark.parametrize(("version", "status"), [("0.0.14", "Completed"), ("0.0.16", "completed")])
def test_a_published_client_runs_a_job(tmp_path, horde, image, version, status):
    """Inputs in, artifacts and logs out, and the job is found again; nothing but the URL is ours."""
    environment = Environment(tmp_path / "env", f"compute-horde-sdk=={version}")
    assert environment.run_job(horde, image) == expected(version, status)


def test_an_environment_with_the_published_client_upgrades_to_ours(tmp_path, horde, image, wheels):
    """0.0.18 runs a job; after the upgrade in place so does ours, in the same environment."""
    environment = Environment(tmp_path / "env", "compute-horde-sdk==0.0.18")
    assert environment.run_job(horde, image) == expected("0.0.18", "completed")
    environment.install("--upgrade", "--find-links", str(wheels), "compute-horde-sdk")
    assert environment.run_job(horde, image) == expected("1.0.0", "Completed")


def test_a_published_client_needs_an_authority_that_it_trusts(tmp_path, image):
    """Against a horde with a CA of its own, `SSL_CERT_FILE` names it; without, the client refuses to connect."""
    environment = Environment(tmp_path / "env", "compute-horde-sdk==0.0.16")
    with running(Horde(tmp_path / "data", "--host", "0.0.0.0")) as up:
        up.ready()
        ca = up.data / "facilitator" / "tls" / "ca.pem"
        assert environment.run_job(up, image, SSL_CERT_FILE=str(ca)) == expected("0.0.16", "completed")
        refused = environment.try_job(up, image)
        assert (refused.returncode, "CERTIFICATE_VERIFY_FAILED" in refused.stderr) == (1, True)
