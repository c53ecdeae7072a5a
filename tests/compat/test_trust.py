"""HTTPS with clients from the package index."""

import pytest

from processes import Horde, running

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(300)]


def test_a_published_client_needs_an_authority_that_it_trusts(tmp_path, environment, given):
    """Against a horde with a CA of its own, `SSL_CERT_FILE` names it; without, the client refuses to connect."""
    client = environment("0.0.16")
    with running(Horde(tmp_path / "data", "--host", "0.0.0.0")) as up:
        there = {**given, "url": up.ready().url, "wallets": str(up.data / "wallets")}
        ca = up.data / "facilitator" / "tls" / "ca.pem"
        trusting, refusing = client.start(there, "job", SSL_CERT_FILE=str(ca)), client.start(there, "job")
        assert trusting.read()["job"]["status"] == "completed"
        with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
            refusing.read()
