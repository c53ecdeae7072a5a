"""HTTPS at the command line: it works at once, others come in by a fingerprint, and nobody gets in between."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from horde_cli import trust
from horde_cli.doctor.report import State
from horde_cli.doctor.service import way
from horde_cli.encryption import Tls, wanted
from horde_cli.errors import BadUsage, ServiceError, Untrusted
from horde_cli.joining import log_in
from horde_core.trust import fingerprint_of
from horde_facilitator.tls.authority import issue, make_authority
from processes import HORDE, Command, Horde, running


@pytest.fixture(scope="module")
def up(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Horde]:
    """A `horde up` that other machines can reach."""
    with running(Horde(tmp_path_factory.mktemp("tls") / "data", "--host", "0.0.0.0")) as horde:
        yield horde.ready()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Somebody else's facilitator, as it would stand in between: HTTPS with a CA of its own."""
    data = tmp_path_factory.mktemp("other") / "data"
    start = Command("facilitator", "--data", str(data), "--port", "0", "--tls-name", "localhost")
    with running(start) as facilitator:
        yield facilitator.wait_for_line("ready ")


def horde(*words: str | Path, config: Path | str = "none", **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMPUTE_HORDE_CONFIG": str(config), **env}
    return subprocess.run([HORDE, *words], capture_output=True, text=True, check=False, env=environment)


def line_of(up: Horde, *words: str) -> list[str]:
    """The line that an operator's command prints, without its first word."""
    done = horde(*words, config=up.config)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1:]


def test_a_horde_that_others_can_reach_is_encrypted_at_once(up, image):
    """Its own executor and client trust its CA; a second `up` finds it; the doctor says how it is reached."""
    assert up.url.startswith("https://127.0.0.1:")
    assert json.loads((up.data / "up.json").read_text())["url"] == up.url
    again = horde("up", "--data", up.data)
    assert (again.returncode, again.stdout) == (0, f"ready {up.url}\n")
    done = horde("run", "-q", image, "echo", "hi", config=up.config)
    assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
    findings = {it["check"]: it for it in json.loads(horde("doctor", "--json", config=up.config).stdout)}
    assert "encrypted; its certificate ends on" in findings["facilitator"]["detail"]
    assert findings["login"]["state"] == "ok"


def test_who_knows_no_authority_is_told_at_once_what_to_do(up, image):
    """By the doctor and by every command; nothing is tried again."""
    hotkey = up.data / "wallets" / "horde" / "hotkeys" / "default"
    who = ["--facilitator", up.url, "--hotkey", str(hotkey)]
    done = horde("jobs", *who)
    assert (done.returncode, "--ca-fingerprint" in done.stderr, len(done.stderr.splitlines())) == (1, True, 1)
    findings = {it["check"]: it for it in json.loads(horde("doctor", *who, "--json").stdout)}
    assert (findings["facilitator"]["state"], findings["clock"]["state"]) == ("fail", "skip")
    assert "COMPUTE_HORDE_CA" in findings["facilitator"]["remedy"]
    authority = up.data / "facilitator" / "tls" / "ca.pem"
    assert horde("jobs", "--json", *who, COMPUTE_HORDE_CA=str(authority)).returncode == 0


def test_a_colleague_comes_in_by_the_fingerprint_and_past_nobody_else(up, other, tmp_path):
    """The CA lies beside the file; what has another fingerprint is refused, and leaves nothing."""
    login, url, token, *pin = line_of(up, "invite")
    assert (login, url) == ("login", up.url)
    assert pin == ["--ca-fingerprint", fingerprint_of((up.data / "facilitator" / "tls" / "ca.pem").read_text())]
    mine = tmp_path / "client.toml"

    with pytest.raises(Untrusted, match="somebody may be in between"):
        log_in(other, token, mine, pin[1])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ServiceError, match="--ca-fingerprint"):
        log_in(url, token, mine)
    with pytest.raises(BadUsage, match="goes with an https:// URL"):
        log_in(url.replace("https", "http"), token, mine, pin[1])

    done = horde("login", url, token, *pin, "--config", mine)
    assert done.returncode == 0, done.stderr
    log_in(url, token, mine, pin[1])
    assert horde("jobs", "--json", config=mine).stdout == "[]\n"
    assert 'facilitator_ca = "client.ca.pem"' in mine.read_text()
    with pytest.raises(Untrusted, match="ask the operator which one is right"):
        log_in(url, token, mine, f"sha256:{64 * '0'}")


def test_an_executor_joins_by_the_fingerprint_and_trusts_nobody_else_from_then_on(up, other, tmp_path):
    """Also without the fingerprint, and also if somebody else answers at another start."""
    data = ["--data", str(tmp_path / "agent")]
    _, _, _, url, *rest = line_of(up, "executor", "enroll", "--class", "always_on.test")
    file = tmp_path / "agent" / trust.FILE
    fingerprint = rest[rest.index("--ca-fingerprint") + 1]
    with pytest.raises(Untrusted, match="somebody may be in between"):
        trust.authority(other, fingerprint, file)
    assert not file.exists()
    for words in (rest, ["--class", "always_on.test"]):
        with running(Command("executor", "run", "--facilitator", url, *words, *data)) as executor:
            assert executor.wait_for_line("ready ") == url
            assert executor.stop(signal.SIGINT) == 0
    later = horde("executor", "run", "--facilitator", other, *data)
    assert (later.returncode, "not issued by the CA in" in later.stderr) == (1, True)
    with pytest.raises(Untrusted, match="remove that file"):
        trust.authority(url, f"sha256:{64 * '0'}", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    unit = tmp_path / "unit.service"
    words = ["--facilitator", url, *rest, "--data", tmp_path / "installed", "--unit", unit]
    refused = horde("executor", "install", *words)
    assert (refused.returncode, "used up" in refused.stderr) == (2, True)  # it is trusted; the token was for one
    assert (tmp_path / "installed" / "facilitator-ca.pem").exists()


def test_a_given_certificate_with_its_root_works_at_once(image, tmp_path):
    """On loopback too; one that cannot be served is named in one line."""
    authority = make_authority(datetime.now(UTC))
    pair = issue(authority, ["localhost"], datetime.now(UTC))
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    key.touch(mode=0o600)
    chain.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    given = ["--tls-cert", str(chain), "--tls-key", str(key)]
    with running(Horde(tmp_path / "data", *given)) as up:
        assert up.ready().url.startswith("https://localhost:")
        done = horde("run", "-q", image, "echo", "hi", config=up.config)
        assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
        assert fingerprint_of(authority.certificate.decode()) in line_of(up, "invite")
    key.write_bytes(authority.key)
    broken = Horde(tmp_path / "data", *given)
    assert broken.process.wait(60) == 1
    broken.stop()
    assert len(broken.lines) == 1
    assert "does not match the certificate" in broken.text


def test_plain_http_off_loopback_is_asked_for_and_warned_of(tmp_path):
    """In one line, with what it means."""
    start = ["facilitator", "--data", str(tmp_path), "--port", "0", "--host", "0.0.0.0", "--plain-http"]
    with running(Command(*start)) as facilitator:
        assert facilitator.wait_for_line("ready ").startswith("http://0.0.0.0:")
        assert "can read and change jobs" in facilitator.wait_for_line("horde: --plain-http: ")
    assert [host for host in ("127.0.0.1", "::1", "10.0.0.1") if Tls(plain=True).warning(host)] == ["10.0.0.1"]


def test_options_that_contradict_each_other_are_refused_by_name():
    """Whatever is meant, it is not guessed."""
    file = Path("x")
    for options, names in (
        ((file, None, (), False), ("--tls-cert", "--tls-key")),
        ((None, file, (), False), ("--tls-key", "--tls-cert")),
        ((file, file, ("a",), False), ("--tls-name", "--tls-cert")),
        ((file, file, (), True), ("--plain-http", "--tls-cert")),
        ((None, None, ("a",), True), ("--plain-http", "--tls-name")),
        ((None, None, ("http://a",), False), ("--tls-name 'http://a'", "horde.example.com")),
    ):
        *first, plain = options
        with pytest.raises(BadUsage) as raised:
            wanted(*first, plain=plain)
        assert [name for name in names if name not in str(raised.value)] == []
    for options in (Tls(), Tls(file.absolute(), file.absolute()), Tls(names=("a", "1.2.3.4")), Tls(plain=True)):
        assert Tls.of(json.loads(json.dumps(options.as_json()))) == options


def test_the_doctor_warns_before_the_certificate_ends_and_of_a_way_without_one():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ends = [(way("https://h", now + timedelta(days=days), now).state, days) for days in (13, 15)]
    assert ends == [(State.WARN, 13), (State.OK, 15)]
    assert way("http://127.0.0.1:1", None, now).state is State.OK
    assert "--plain-http" in way("http://h", None, now).remedy
