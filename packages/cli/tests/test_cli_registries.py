"""Private registries on the command line: a password goes in by a pipe and never comes out."""

import json
import os
import subprocess

from processes import HORDE

HOST = "registry.example.com:5000"


def test_a_registry_is_set_listed_and_removed(up, horde):
    """The list has the user, not the password; a missing password and a wrong host are told with the remedy."""
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(up.config)}
    command = [HORDE, "registries", "set", HOST, "--username", "team"]
    for password in (b"first\n", b"s3cret\n"):
        done = subprocess.run(command, input=password, capture_output=True, env=env, check=True)
        assert done.stdout.decode() == f"images of {HOST} are pulled as team from now on\n"
    empty = subprocess.run(command, input=b"\n", capture_output=True, env=env, check=False)
    assert (empty.returncode, b"there is no password; pipe it in" in empty.stderr) == (2, True)
    listed = horde("registries")
    assert listed.stdout.splitlines()[1].split()[:2] == [HOST, "team"]
    printed = horde("registries", "--json").stdout
    assert [entry["username"] for entry in json.loads(printed)["registries"]] == ["team"]
    assert "s3cret" not in listed.stdout + printed
    assert horde("registries", "remove", HOST).stdout == f"the credentials for {HOST} are forgotten\n"
    gone = horde("registries", "remove", HOST)
    assert (gone.returncode, "there are no credentials for" in gone.stderr) == (1, True)
    wrong = horde("registries", "remove", "https://host")
    assert (wrong.returncode, "is no registry" in wrong.stderr) == (2, True)
