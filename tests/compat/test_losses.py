"""What published clients see when something of the horde's dies while they wait: the result, only later."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from processes import Command, Horde, child, docker, make_hotkey, running, wait_until

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(180)]
FACILITATOR = """
import asyncio, sys
from pathlib import Path
from horde_facilitator.serve import serve
from horde_facilitator.settings import Settings
data, user, *executors = sys.argv[1:]
admit = {"user": frozenset([user]), "executor": frozenset(executors)}
settings = Settings(Path(data), port=0, admit=admit, lease_s=5)
asyncio.run(serve(settings, ready=lambda url: print(f"ready {url}", flush=True)))
"""
"""A facilitator as `horde facilitator` starts it, but with short leases: here they are waited for."""


def at_work(count: int, *, besides: set[str] = frozenset()) -> set[str]:
    """Wait until so many jobs wait for their file, besides those in some containers; returns their containers."""

    def find() -> set[str]:
        ids = docker("ps", "-q", "--no-trunc", "--filter", "label=org.computehorde.job").split()
        found = {c for c in set(ids) - besides if has_begun(c)}
        return found if len(found) == count else set()

    return wait_until(f"{count} jobs at work", find, timeout=60)


def has_begun(container: str) -> bool:
    command = ["docker", "exec", container, "test", "-e", "/output/up"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def release(found: set[str]) -> None:
    """Give the jobs in these containers the file that they wait for."""
    for container in found:
        docker("exec", container, "touch", "/output/go")


def is_served(url: str) -> bool:
    """Whether somebody listens there."""
    place = urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((place.hostname, place.port), timeout=5):
        return True
    return False


def test_a_client_gets_its_result_although_its_token_became_worthless(environment, tmp_path, image):
    """A8: The facilitator comes back with another key while 0.0.14 waits; client and executor log in again."""
    with running(Horde(tmp_path / "data")) as up:
        up.ready()
        facts = {"url": up.url, "wallets": str(up.data / "wallets"), "image": image}
        client = environment("0.0.14").start(facts, "waited")
        try:
            found = at_work(1)
            keys = up.data / "facilitator" / "keys" / "tokens"
            before = keys.read_text()
            keys.unlink()
            # It asks five times within some 8 s before it gives up; how long a start takes is not the question.
            with client.held():
                os.kill(child(up, "facilitator"), signal.SIGKILL)
                wait_until("another key", lambda: keys.exists() and keys.read_text() not in ("", before))
                wait_until("the facilitator", lambda: is_served(up.url), timeout=60)
            release(found)
            told = client.read()["waited"]
        finally:
            client.stop()
    assert (told["status"], told["stdout"]) == ("Completed", "up\ndone\n")
    assert told["logins"] == 2


def test_a_job_whose_executor_was_killed_ends_on_another(environment, tmp_path, image):
    """D6: Both clients get the result of the second attempt; 0.0.16 sees both attempts in the history."""
    wallets = tmp_path / "wallets"
    places = (wallets / "horde" / "hotkeys" / "default", tmp_path / "first/hotkey", tmp_path / "second/hotkey")
    addresses = [make_hotkey(place).ss58_address for place in places]

    def executor(name: str) -> Command:
        place = str(tmp_path / name)
        options = ["--data", place, "--hotkey", f"{place}/hotkey", "--slots", "2"]
        return Command("executor", "run", "--facilitator", url, *options)

    with ExitStack() as stack:
        program = [sys.executable, "-c", FACILITATOR]
        facilitator = Command(str(tmp_path / "f"), *addresses, program=program)
        url = stack.enter_context(running(facilitator)).wait_for_line("ready ")
        first = stack.enter_context(running(executor("first")))
        first.wait_for_line("ready ")
        facts = {"url": url, "wallets": str(wallets), "image": image}
        clients = {version: environment(version).start(facts, "waited") for version in ("0.0.14", "0.0.16")}
        for client in clients.values():
            stack.callback(client.stop)
        lost = at_work(2)
        stack.enter_context(running(executor("second"))).wait_for_line("ready ")
        first.signal_tree(signal.SIGKILL)
        release(at_work(2, besides=lost))
        told = {version: client.read()["waited"] for version, client in clients.items()}
        stack.enter_context(running(executor("first"))).wait_for_line("ready ")  # which removes what it left
    assert (told["0.0.14"]["status"], told["0.0.14"]["stdout"]) == ("Completed", "up\ndone\n")
    assert (told["0.0.16"]["status"], told["0.0.16"]["stdout"]) == ("completed", "up\ndone\n")
    history = told["0.0.16"]["history"]
    assert history[:3] == ["sent", "received", "accepted"]
    assert history[-6:] == [
        "received", "accepted", "executor_ready", "volumes_ready", "execution_done", "completed"
    ]  # fmt: skip
    assert (history.count("received"), history.count("accepted"), history.count("completed")) == (2, 2, 1)
