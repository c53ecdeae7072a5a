"""The configuration file: where it is looked for, and how its mistakes are named."""

import pytest
from bittensor_wallet import Wallet

from compute_horde_sdk.v1 import ComputeHordeClient, ComputeHordeError, blocking

GOOD = """
facilitator_url = "http://127.0.0.1:8700/"
validator_hotkey = "5CDYBwxDZwXnYSp7E39Vy92MVbCMtcK2i953oRxDm9Veko7M"

[wallet]
path = "wallets"
name = "horde"
hotkey = "default"
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A configuration with a real wallet beside it."""
    directory = tmp_path_factory.mktemp("data")
    wallet = Wallet(name="horde", hotkey="default", path=str(directory / "wallets"))
    wallet.create_new_hotkey(use_password=False, suppress=True)
    (directory / "client.toml").write_text(GOOD)
    return directory


@pytest.mark.parametrize("make", [ComputeHordeClient.from_config, blocking.ComputeHordeClient.from_config])
def test_argument_then_variable_then_the_users_own_place_then_what_horde_up_wrote(
    directory, tmp_path, monkeypatch, make
):
    """Each wins over the next; relative wallets are meant from where the file is."""
    other = tmp_path / "compute-horde" / "client.toml"
    other.parent.mkdir()
    other.write_text(GOOD.replace("8700", "1").replace('"wallets"', f'"{directory}/wallets"'))
    written = tmp_path / "data" / "compute-horde" / "client.toml"
    written.parent.mkdir(parents=True)
    written.write_text(other.read_text().replace(":1/", ":2/"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for variable in ("COMPUTE_HORDE_CONFIG", "COMPUTE_HORDE_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert make().facilitator_url == "http://127.0.0.1:2/"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert make().facilitator_url == "http://127.0.0.1:1/"
    monkeypatch.setenv("COMPUTE_HORDE_CONFIG", str(directory / "client.toml"))
    assert make().facilitator_url == "http://127.0.0.1:8700/"
    client = make(other)
    assert client.facilitator_url == "http://127.0.0.1:1/"
    assert client.compute_horde_validator_hotkey.startswith("5CDY")
    hotkey = Wallet(name="horde", hotkey="default", path=str(directory / "wallets")).hotkey
    assert client.hotkey.ss58_address == hotkey.ss58_address


@pytest.mark.parametrize("make", [ComputeHordeClient.from_config, blocking.ComputeHordeClient.from_config])
def test_the_authority_is_meant_from_where_the_file_is_and_the_variable_wins(directory, monkeypatch, make):
    """A constructor takes it too; without any, the usual authorities are trusted."""
    monkeypatch.delenv("COMPUTE_HORDE_CA", raising=False)
    (directory / "ca.pem").touch()
    file = directory / "with-ca.toml"
    file.write_text(f'facilitator_ca = "ca.pem"{GOOD}')
    assert make(file).facilitator_ca == directory / "ca.pem"
    assert make(directory / "client.toml").facilitator_ca is None
    monkeypatch.setenv("COMPUTE_HORDE_CA", "/other.pem")
    found = make(file)
    assert str(found.facilitator_ca) == "/other.pem"
    explicit = type(found)(found.hotkey, "v", facilitator_url="https://h/", facilitator_ca="/mine.pem")
    assert str(explicit.facilitator_ca) == "/mine.pem"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('facilitator_url = "http://127.0.0.1:8700/"', "", "facilitator_url is missing"),
        ('"5CDYBwxDZwXnYSp7E39Vy92MVbCMtcK2i953oRxDm9Veko7M"', "5", "validator_hotkey must be a text"),
        ("[wallet]", "[purse]", r"the table \[wallet\] is missing"),
        ('name = "horde"', "", r"wallet\.name is missing"),
        ('"default"', '"other"', "names the hotkey .*/wallets/horde/hotkeys/other, which does not exist"),
        ('"default"', '"broken"', "hotkeys/broken cannot be opened"),
        ("[wallet]", "[wallet", "is not valid TOML"),
        ("http://", "", "facilitator_url must be an http"),
        (
            "[wallet]",
            'facilitator_ca = "no.pem"\n[wallet]',
            "facilitator_ca names .*/no.pem, which does not exist",
        ),
    ],
)
def test_mistakes_name_the_file_and_the_key(directory, old, new, message):
    """So that one knows what to write where."""
    (directory / "wallets" / "horde" / "hotkeys" / "broken").write_text("no key")
    bad = directory / "bad.toml"
    bad.write_text(GOOD.replace(old, new))
    with pytest.raises(ComputeHordeError, match=message) as raised:
        ComputeHordeClient.from_config(bad)
    assert "facilitator_url must be" in message or "bad.toml" in str(raised.value)


def test_without_a_file_it_is_said_how_to_get_one(tmp_path):
    """The first thing that a new user may see."""
    with pytest.raises(ComputeHordeError, match=r"there is no .*missing\.toml; `horde up` writes one"):
        ComputeHordeClient.from_config(tmp_path / "missing.toml")
