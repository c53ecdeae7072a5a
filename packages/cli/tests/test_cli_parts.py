"""The parts of the command that need nothing running."""

import os
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from horde_cli.connection import Wanted, client_for
from horde_cli.doctor import machine
from horde_cli.doctor.engine import engine
from horde_cli.doctor.report import State
from horde_cli.doctor.service import clock
from horde_cli.errors import HotkeyError, NotConfigured
from horde_cli.hotkeys import open_hotkey, open_or_make
from horde_cli.up.client_config import client_config
from horde_cli.up.directory import Directory
from horde_cli.up.logfile import LogFile
from horde_cli.up.supervisor import own_url


def test_a_hotkey_is_made_once_and_for_its_owner_only(tmp_path):
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        made = open_or_make(tmp_path / "below" / "hotkey")
    finally:
        os.umask(before)
    assert open_or_make(tmp_path / "below" / "hotkey").ss58_address == made.ss58_address
    assert stat.S_IMODE((tmp_path / "below" / "hotkey").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["hotkey"]


def test_a_file_that_is_no_plain_hotkey_is_refused(tmp_path):
    """Garbage, and a key that would need a password."""
    (tmp_path / "garbage").write_text("{}")
    (tmp_path / "locked").write_bytes(b"$NACL" + bytes(100))  # as Bittensor marks what it encrypted
    with pytest.raises(HotkeyError, match="holds no hotkey"):
        open_hotkey(tmp_path / "garbage")
    with pytest.raises(HotkeyError, match="is encrypted"):
        open_hotkey(tmp_path / "locked")


def test_arguments_win_over_variables_and_these_over_the_file(tmp_path):
    """One by one: the URL may come from one place and the hotkey from another."""
    directory = Directory(tmp_path)
    directory.make()
    of_file, other = open_or_make(directory.user_hotkey), open_or_make(tmp_path / "other")
    directory.client_config.write_text(client_config("http://file:1", "5Validator"))
    variables = {
        "COMPUTE_HORDE_FACILITATOR_URL": "http://variable:2",
        "COMPUTE_HORDE_HOTKEY": str(tmp_path / "other"),
        "COMPUTE_HORDE_CONFIG": str(directory.client_config),
        "COMPUTE_HORDE_VALIDATOR_HOTKEY": "",
    }

    def found(facilitator: str | None, hotkey: Path | None, names: list[str]) -> tuple[str, str, str]:
        wanted = Wanted.of(facilitator, hotkey, None, {name: variables[name] for name in names})
        client = client_for(wanted)
        return client.facilitator_url, client.hotkey.ss58_address, client.compute_horde_validator_hotkey

    names = list(variables)
    assert found(None, None, names[2:]) == ("http://file:1", of_file.ss58_address, "5Validator")
    assert found(None, None, names[1:]) == ("http://file:1", other.ss58_address, "5Validator")
    assert found(None, None, names) == ("http://variable:2", other.ss58_address, other.ss58_address)
    assert found("http://argument:3", directory.user_hotkey, names)[:2] == (
        "http://argument:3",
        of_file.ss58_address,
    )
    with pytest.raises(NotConfigured, match="horde up"):
        client_for(Wanted(config=tmp_path / "missing"))


def test_the_config_is_toml_whatever_the_url_is():
    """Quotes and backslashes included."""
    url = 'http://h:1/"\\x'
    assert tomllib.loads(client_config(url, "5V"))["facilitator_url"] == url
    assert own_url("http://0.0.0.0:87") == "http://127.0.0.1:87"
    assert own_url("http://[::]:87") == "http://[::1]:87"


def test_a_directory_is_held_until_every_copy_of_its_lock_is_closed(tmp_path):
    """So children that outlive their supervisor keep the next one out."""
    directory = Directory(tmp_path)
    lock = directory.take_lock()
    assert lock is not None
    copy = os.dup(lock)
    os.close(lock)
    assert directory.take_lock() is None
    os.close(copy)
    again = directory.take_lock()
    assert again is not None
    os.close(again)


def test_who_runs_is_told_only_while_that_process_lives(tmp_path):
    """A file that was left over by a crash is no answer."""
    directory = Directory(tmp_path)
    assert directory.running() is None
    directory.say_running("http://x:1")
    assert directory.running() == ("http://x:1", os.getpid())
    (tmp_path / "up.json").write_text('{"url": "http://x:1", "pid": 4194305}')  # above the largest pid of Linux
    assert directory.running() is None
    directory.say_ended()
    directory.say_ended()


def test_a_log_keeps_what_is_new_within_its_size(tmp_path):
    """At most two files of the limit; the last line is remembered for the message about a crash."""
    log = LogFile(tmp_path / "log", limit=1000)
    for number in range(100):
        log.write(f"line {number:03} {'x' * 40}\n".encode())
    log.write(b"last words\n\n")
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"log", "log.1"}
    assert max(sizes.values()) <= 1000
    assert (tmp_path / "log").read_text().endswith("last words\n\n")
    assert log.last_line == "last words"


def test_the_doctor_judges_and_always_has_a_remedy():
    """For what cannot be set up on one machine the values are given."""
    now = datetime.now(UTC)
    assert clock(format_datetime(now - timedelta(seconds=10)), now).state is State.OK
    ill = [
        clock(format_datetime(now - timedelta(seconds=120)), now),
        clock(format_datetime(now + timedelta(seconds=600)), now),
        machine.kernel("Linux", "4.19.0"),
        machine.kernel("Darwin", "25.0"),
        machine.cgroups(Path("/nowhere")),
        engine("unix:///nowhere")[0],
        engine("ssh://nowhere")[0],
    ]
    assert {finding.state for finding in ill} == {State.FAIL}
    assert all(finding.remedy for finding in ill)
