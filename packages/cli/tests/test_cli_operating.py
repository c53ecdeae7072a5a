"""Operators at the command line, and those whom they let in; a real facilitator, a real executor."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from horde_cli.errors import BadUsage
from horde_cli.hotkeys import open_or_make
from horde_cli.joining import unit_text
from horde_cli.up.client_config import client_config
from horde_cli.values import period
from processes import HORDE, Command, running

As = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A facilitator that knows one operator and nobody else."""
    hotkey = open_or_make(home / "wallets" / "horde" / "hotkeys" / "default").ss58_address
    start = ["facilitator", "--data", str(home / "data"), "--port", "0", "--admit", f"operator={hotkey}"]
    with running(Command(*start)) as facilitator:
        found = facilitator.wait_for_line("ready ")
        (home / "client.toml").write_text(client_config(found, hotkey))
        yield found


def horde(*words: str, config: Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(config), **({"XDG_CONFIG_HOME": str(home)} if home else {})}
    return subprocess.run([HORDE, *words], capture_output=True, text=True, check=False, env=env)


@pytest.fixture
def operator(url: str, home: Path) -> As:
    """Run a command as the operator; it must succeed."""

    def run(*words: str) -> str:
        done = horde(*words, config=home / "client.toml")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_colleague_comes_in_with_the_line_of_an_invitation(operator, tmp_path):
    """The line makes a hotkey and a configuration, may be run again, and is good for one hotkey."""
    line = operator("invite").split()
    assert line[:2] == ["horde", "login"]
    for _ in range(2):
        done = horde(*line[1:], config=tmp_path / "none", home=tmp_path / "me")
        assert done.returncode == 0, done.stderr
    mine = tmp_path / "me" / "compute-horde" / "client.toml"
    assert horde("jobs", "--json", config=mine).stdout == "[]\n"
    refused = horde("executors", config=mine)
    assert (refused.returncode, "403" in refused.stderr) == (1, True)
    second = horde(*line[1:], config=tmp_path / "none", home=tmp_path / "another")
    assert (second.returncode, "used up" in second.stderr) == (2, True)
    assert not (tmp_path / "another" / "compute-horde" / "client.toml").exists()
    elsewhere = horde("login", "http://127.0.0.1:9", "token", config=tmp_path / "none", home=tmp_path / "me")
    assert (elsewhere.returncode, "leads to" in elsewhere.stderr) == (2, True)


def test_what_pending_prints_lets_in(operator, url, tmp_path):
    """An executor that was refused is let in by the very command that is shown, and then serves."""
    join = ["executor", "run", "--data", str(tmp_path), "--facilitator", url]
    refused = Command(*join)
    assert refused.process.wait(60) == 1
    refused.stop()
    address = json.loads((tmp_path / "hotkey").read_text())["ss58Address"]
    lines = operator("hotkeys", "pending").splitlines()
    command = next(line for line in lines if f"add {address}" in line).split()
    assert command[-2:] == ["--role", "executor"]
    operator(*command[1:])
    assert address not in operator("hotkeys", "pending")
    assert address in operator("hotkeys", "list")
    with running(Command(*join)) as executor:
        executor.wait_for_line("ready ")
    operator("hotkeys", "remove", address)
    assert address not in operator("hotkeys", "list")


def test_a_machine_is_enrolled_cordoned_drained_and_removed(operator, tmp_path):
    """By one line, and again by the same one at its next start; by any beginning of its address after that."""
    line = operator("executor", "enroll", "--class", "always_on.test", "--expires", "1h").split()
    assert line[:3] == ["horde", "executor", "run"]
    for _ in range(2):
        with running(Command(*line[1:], "--data", str(tmp_path))) as executor:
            executor.wait_for_line("ready ")
            assert executor.stop(signal.SIGINT) == 0
    address = json.loads((tmp_path / "hotkey").read_text())["ss58Address"]

    def shown() -> dict | None:
        found = json.loads(operator("executors", "--json"))["executors"]
        return next((it for it in found if it["hotkey"] == address), None)

    seen = shown()
    assert seen
    assert (seen["classes"], seen["slots"], seen["cordoned"]) == (["always_on.test"], 1, None)
    operator("executors", "cordon", address[:8], "--why", "new disk")
    assert "new disk" in operator("executors")
    operator("executors", "uncordon", address[:8])
    assert operator("executors", "drain", address[:8], "--wait") == f"{address} is drained\n"
    operator("executors", "remove", address[:8])
    assert shown() is None


def test_an_installed_executor_needs_no_token_any_more(operator, tmp_path):
    """The token is redeemed at once; the unit holds the command and no secret, and the command serves."""
    line = operator("executor", "enroll").split()
    unit = tmp_path / "horde-executor.service"
    words = ["executor", "install", *line[3:], "--data", str(tmp_path / "data"), "--unit", str(unit)]
    inputs = ["--hf-endpoint", "http://127.0.0.1:9", "--cache-bytes", "1GiB"]
    done = horde(*words, *inputs, config=tmp_path)
    assert (done.returncode, "systemctl enable --now horde-executor" in done.stdout) == (0, True)
    text = unit.read_text()
    assert line[line.index("--token") + 1] not in text
    start = next(row for row in text.splitlines() if row.startswith("ExecStart=")).split()
    assert start[-4:] == inputs
    with running(Command(*start[3:])) as executor:
        executor.wait_for_line("ready ")


def test_a_unit_keeps_words_whole():
    """As systemd reads command lines."""
    text = unit_text(["--data", '/srv/a b"c', "100%", "$HOME"])
    assert 'run --data "/srv/a b\\"c" "100%%" "$$HOME"\n' in text


def test_periods_have_units():
    assert [period(text) for text in ("90", "2s", "30m", "12h", "7d")] == [90, 2, 1800, 43_200, 604_800]
    for text in ("", "0", "d", "7w", "-1d", "1.5h"):
        with pytest.raises(BadUsage, match="--expires"):
            period(text)
