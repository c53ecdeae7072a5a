"""What jobs cost, on the command line of a horde whose user is its operator."""

import json

import pytest

from horde_cli.errors import BadUsage
from horde_cli.payment import amount

CLASS = "always_on.test"


@pytest.mark.parametrize(("text", "value"), [("90", 90_000), ("0.5", 500), ("-1.250", -1250), (".001", 1)])
def test_amounts_are_read_to_the_thousandth(text, value):
    """As people write executor-seconds."""
    assert amount(text, "--cap") == value


@pytest.mark.parametrize("text", ["", "1h", "1e3", "0.0001", "nan", "1 000", "٣", "9" * 30])
def test_an_amount_that_is_none_is_named(text):
    """Nothing is rounded or guessed."""
    with pytest.raises(BadUsage, match="--cap"):
        amount(text, "--cap")


def test_usage_allowances_and_the_ledger_from_the_command_line(horde, up, image):
    """A job is used and paid for; an allowance stops the next one; the ledger adds up."""
    uuid = horde("run", "--quiet", "--detach", image, "true").stdout.strip()
    horde("logs", "-f", uuid)
    owner = json.loads((up.data / "wallets" / "horde" / "hotkeys" / "default").read_text())["ss58Address"]

    used = json.loads(horde("usage", "--json").stdout)["classes"]
    line = next(line for line in used if line["executor_class"] == CLASS)
    assert line["settled"] + line["reserved"] > 0
    assert CLASS in horde("usage").stdout
    by = json.loads(horde("usage", "--by", "hotkey", "--json").stdout)["lines"]
    assert owner in {line["name"] for line in by}

    try:
        assert horde("allowances", "set", owner, CLASS, "--cap", "1.5", "--refill", "0").returncode == 0
        assert "1.5 of 1.5" in horde("allowances", "list").stdout
        refused = horde("run", image, "true")
        assert refused.returncode == 126
        assert "missing" in refused.stderr
        granted = horde("allowances", "grant", owner, CLASS, "--", "-0.5")
        assert granted.stdout == "1 executor-seconds are available now\n"
    finally:
        assert horde("allowances", "remove", owner, CLASS).returncode == 0
    try:
        assert horde("allowances", "default", "2", "--refill", "0.5").returncode == 0
        shown = horde("allowances", "list").stderr
        assert "for each class, where nothing else was given: 2, refilled by 0.5 an hour" in shown
    finally:
        assert horde("allowances", "default", "none").returncode == 0
    gone = horde("allowances", "remove", owner, CLASS)
    assert gone.returncode == 1
    assert "no allowance" in gone.stderr
    proved = horde("ledger", "check")
    assert proved.returncode == 0
    assert proved.stdout.startswith("the ledger adds up: ")
