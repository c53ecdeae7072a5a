"""`horde up`: one command, one directory, and nothing left but that."""

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from horde_cli.hotkeys import open_or_make
from processes import HORDE, Command, Horde, descendants, running, wait_until

pytestmark = pytest.mark.usefixtures("image")
CHILDREN = ("facilitator", "executor")


def pids(up: Horde) -> dict[str, int]:
    """The processes of a horde by what they are."""
    found = {"supervisor": up.process.pid}
    for pid in descendants(up.process.pid)[1:]:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        found.update({role: pid for role in CHILDREN if role in words})
    return found


def horde(up: Horde, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(up.config)}
    return subprocess.run([HORDE, *args], capture_output=True, text=True, check=False, env=env)


def test_ready_means_that_a_published_clients_wallet_opens_and_secrets_are_the_owners(up):
    """The config leads to a hotkey that Bittensor's own library opens; nobody else may read it."""
    import bittensor_wallet

    wallet = bittensor_wallet.Wallet(name="horde", hotkey="default", path=str(up.data / "wallets"))
    doctor = json.loads(horde(up, "doctor", "--json").stdout)
    login = next(finding for finding in doctor if finding["check"] == "login")
    assert (login["state"], wallet.hotkey.ss58_address in login["detail"]) == ("ok", True)
    hotkeys = [up.data / "wallets" / "horde" / "hotkeys" / "default", up.data / "executor" / "hotkey"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in hotkeys} == {0o600}
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700


def test_a_second_up_on_the_same_directory_finds_the_first(up):
    """It prints the running URL and ends well; stdout holds nothing else."""
    done = subprocess.run(
        [HORDE, "up", "--data", up.data], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, f"ready {up.url}\n")


def test_a_directory_outlives_crashes_and_ctrl_c(image, tmp_path, containers_of):
    """A child that dies is started again; Ctrl-C puts a running job back; the next `up` runs it to its end."""
    with running(Horde(tmp_path / "data")) as first:
        first.ready()
        for role in CHILDREN:
            old = pids(first)[role]
            os.kill(old, signal.SIGKILL)
            assert "starting it again" in first.wait_for_line(f"horde: the {role} was killed by SIGKILL")
            wait_until(f"a new {role}", lambda role=role, old=old: pids(first).get(role, old) != old)
        wait_until("the facilitator to be back", lambda: horde(first, "jobs").returncode == 0)
        uuid = horde(first, "run", "-d", image, "sh", "-c", "echo up; sleep 3").stdout.strip()
        assert uuid
        wait_until("the job to run", lambda: horde(first, "logs", uuid).stdout == "up\n", timeout=60)
        processes = descendants(first.process.pid)
        assert first.stop(signal.SIGINT) == 0
    assert not containers_of(first)
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not (first.data / "up.json").exists()

    with running(Horde(first.data)) as second:
        second.ready()
        assert horde(second, "logs", "-f", uuid).stdout == "up\n"
        shown = json.loads(horde(second, "show", uuid, "--json").stdout)
        assert (shown["status"], shown["exit_code"]) == ("completed", 0)

        children = [pids(second)[role] for role in CHILDREN]
        second.process.kill()
        wait_until("the children to end", lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])
        wait_until("the containers to be gone", lambda: not containers_of(second))


def test_what_cannot_start_says_why_in_one_line(tmp_path, up):
    """A port that is taken, a directory that cannot be made."""
    port = up.url.rsplit(":", 1)[1]
    taken = Horde(tmp_path / "data", port=int(port))
    assert taken.process.wait(60) == 1
    taken.stop()
    assert len(taken.lines) == 1
    assert port in taken.text
    (tmp_path / "file").touch()
    done = subprocess.run(
        [HORDE, "up", "--data", tmp_path / "file" / "x"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, len(done.stderr.splitlines()), "--data" in done.stderr) == (1, 1, True)


def test_facilitator_and_executor_start_apart(image, tmp_path):
    """The executor makes its own hotkey and prints what lets it in; then it serves."""
    join = ["executor", "run", "--data", str(tmp_path / "executor"), "--class", "always_on.test", "--facilitator"]
    stranger = Command(*join, "http://127.0.0.1:9")
    admit = stranger.wait_for_line("horde: this executor is let in by: horde facilitator ").split()
    stranger.stop(signal.SIGINT)

    user = open_or_make(tmp_path / "hotkey").ss58_address
    serve = ["facilitator", "--data", str(tmp_path / "facilitator"), "--port", "0"]
    with running(Command(*serve, *admit, "--admit", f"user={user}")) as facilitator:
        url = facilitator.wait_for_line("ready ")
        with running(Command(*join, url)) as executor:
            assert executor.wait_for_line("ready ") == url
            run = [HORDE, "run", "-q", "--facilitator", url, "--hotkey", tmp_path / "hotkey", image, "echo", "hi"]
            done = subprocess.run(run, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr


def test_a_refused_executor_says_so(up, tmp_path):
    """In one line, with the reason."""
    join = ["executor", "run", "--data", str(tmp_path), "--facilitator", up.url]
    refused = Command(*join)
    assert refused.process.wait(60) == 1
    refused.stop()
    assert refused.lines[-1].startswith("horde: ")
    assert "Hotkey not allowed" in refused.text
