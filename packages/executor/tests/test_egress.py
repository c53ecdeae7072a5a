"""The egress rules, as values."""

import shutil
import subprocess
import sys

import pytest

from horde_executor.egress import Egress, is_own_address, special

SHUT = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
OPEN = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


def nobody(_address: str) -> bool:
    return False


@pytest.mark.parametrize("address", SHUT)
def test_addresses_that_belong_to_somebodys_inside_are_shut_and_named(address: str) -> None:
    why = Egress().refusal(address, 443, "data.example.org", is_own=nobody)
    assert why is not None
    assert why == special(address)
    assert "RFC" in why or "Azure" in why


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open_on_any_port(address: str) -> None:
    for port in (80, 443, 8080):
        assert Egress().refusal(address, port, "data.example.org", is_own=nobody) is None


def test_a_public_address_that_this_machine_holds_is_shut_until_opened() -> None:
    why = Egress().refusal("8.8.8.8", 80, "a.example", is_own=lambda address: address == "8.8.8.8")
    assert why == "an address of the executor's own machine"
    assert Egress.parse(["8.8.8.8:80"]).refusal("8.8.8.8", 80, "a.example", is_own=lambda _: True) is None


def test_own_addresses_are_known_from_the_kernel_also_public_ones() -> None:
    """In a network namespace of its own a public address is given to the machine; another one is not its own."""
    assert is_own_address("127.0.0.1")
    assert not is_own_address("192.0.2.77")
    script = (
        "import subprocess\n"
        "from horde_executor.egress import is_own_address as own\n"
        "for words in ('link set lo up', 'addr add 8.8.4.4/24 dev lo', 'addr add 2606:4700::1/64 dev lo nodad'):\n"
        "    subprocess.run(['ip', *words.split()], check=True)\n"
        "assert own('8.8.4.4') and own('2606:4700::1')\n"
        "assert not own('8.8.8.8') and not own('2606:4700::2'), 'a neighbour is taken for our own'\n"
    )
    _in_namespace(script)


def _in_namespace(script: str) -> None:
    if shutil.which("ip") is None:
        pytest.skip("this machine has no iproute2")
    inside = ["unshare", "--net", "--mount"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        inside = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
            pytest.skip("this machine gives no namespaces to this user")
    done = subprocess.run(
        [*inside, sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("entry", "address", "port", "host", "passes"),
    [
        ("10.0.0.5:9000", "10.0.0.5", 9000, "minio.internal", True),
        ("10.0.0.5:9000", "10.0.0.5", 9001, "minio.internal", False),
        ("10.0.0.5:9000", "10.0.0.6", 9000, "minio.internal", False),
        ("10.0.0.5:9000", "::ffff:10.0.0.5", 9000, "x", True),
        ("10.1.0.0/16:443", "10.1.255.1", 443, "x", True),
        ("10.1.0.0/16:443", "10.2.0.1", 443, "x", False),
        ("[fd00::/8]:443", "fd12::1", 443, "x", True),
        ("[fd00::1]:443", "fd00::2", 443, "x", False),
        ("[64:ff9b::/96]:443", "64:ff9b::a00:1", 443, "x", True),
        ("minio.internal:9000", "10.0.0.5", 9000, "minio.internal", True),
        ("MinIO.Internal.:9000", "10.0.0.5", 9000, "minio.internal.", True),
        ("minio.internal:9000", "10.0.0.5", 9001, "minio.internal", False),
        ("minio.internal:9000", "10.0.0.5", 9000, "evil.example", False),
        ("minio.internal:9000", "10.0.0.5", 9000, "sub.minio.internal", False),
        ("localhost:8000", "127.0.0.1", 8000, "localhost", True),
        ("localhost:8000", "127.0.0.1", 8000, "rebound.example", False),
    ],
)
def test_what_the_operator_opened_is_open_and_no_more(
    entry: str, address: str, port: int, host: str, passes: bool
) -> None:
    refusal = Egress.parse([entry]).refusal(address, port, host, is_own=nobody)
    assert (refusal is None) is passes


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("", "add the port"),
        ("data.internal", "add the port"),
        ("10.0.0.5", "add the port"),
        (":80", "no host name"),
        ("data.internal:", "add the port"),
        ("data.internal:http", "add the port"),
        ("data.internal:0", "between 1 and 65535"),
        ("data.internal:65536", "between 1 and 65535"),
        ("[fe80::1%eth0]:443", "zone"),
        ("fd00::1:443", "brackets"),
        ("[fd00::1]", "brackets"),
        ("[data.internal]:80", "--allow-egress"),
        ("http://data.internal:80", "without a scheme"),
        ("10.0.0.5/8:80", "host bits"),
        ("10.0.0.0/33:80", "33"),
        ("10.0.0.256:80", "256"),
        ("010.0.0.1:80", "zero"),
        ("127.1:80", "4 octets"),
        ("2130706433:80", "4 octets"),
        ("0x7f000001:80", "4 octets"),
        ("data internal:80", "no host name"),
        ("bücher.example:80", "xn--"),
        ("*:80", "no host name"),
        ("*.internal:80", "no host name"),
        ("-a.internal:80", "no host name"),
        ("a..b:80", "no host name"),
        ("user@host:80", "no host name"),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_with_the_reason(entry: str, says: str) -> None:
    with pytest.raises(ValueError, match="--allow-egress") as refusal:
        Egress.parse([entry])
    assert says in str(refusal.value)
    assert repr(entry) in str(refusal.value)
