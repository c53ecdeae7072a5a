"""`scripts/engine` finds or starts a Docker engine, hands signals and exit codes on, and leaves nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import IMAGE, ROOT, wait_until

ENGINE = [sys.executable, str(ROOT / "scripts" / "engine")]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="starting an engine needs root")

# A machine without an engine: own mounts and network, an empty /run, an empty place for the engine's data.
ELSEWHERE = """
    mount --make-rprivate / && mount -t tmpfs none /run && mount --bind "$0" /var/lib/docker || exit 99
    before=$(cut -d" " -f5 /proc/self/mountinfo)
    "$@"; code=$?
    [ "$before" = "$(cut -d" " -f5 /proc/self/mountinfo)" ] && echo "the mounts are as before"
    exit $code
"""


def elsewhere(data: Path, *command: str) -> list[str]:
    """The command as it would run on a machine of its own."""
    Path("/var/lib/docker").mkdir(parents=True, exist_ok=True)
    apart = ["unshare", "--mount", "--net", "sh", "-c", ELSEWHERE, str(data)]
    return ["env", "--unset", "DOCKER_HOST", *apart, *command]


def test_an_engine_that_works_is_used_and_the_exit_code_handed_on():
    """The wrapper adds a line and nothing else."""
    done = subprocess.run([*ENGINE, "sh", "-c", "exit 7"], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "is used as it is" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_exactly_once_and_its_answer_counts(tmp_path, number):
    """Ctrl-C is for the command; the wrapper ends when the command has ended."""
    heard = tmp_path / "heard"
    script = f"trap 'echo x >> {heard}' INT TERM; echo on; until [ -s {heard} ]; do sleep 0.01; done; exit 5"
    with subprocess.Popen([*ENGINE, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line == "on\n" for line in process.stdout)
        process.send_signal(number)
        assert process.wait(20) == 5
    assert heard.read_text() == "x\n"


def test_an_engine_that_was_asked_for_and_is_not_there_is_an_error():
    """No other engine is put in its place."""
    env = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = subprocess.run([*ENGINE, "true"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "DOCKER_HOST=unix:///nowhere/docker.sock" in done.stderr


@NEEDS_ROOT
def test_where_no_engine_answers_one_is_started_and_stopped_again(tmp_path):
    """It runs a container, the command's code is handed on, and neither process nor mount is left."""
    script = f"{ROOT}/scripts/busybox-image {IMAGE} && docker run --rm --network none {IMAGE} echo inside; exit 4"
    command = elsewhere(tmp_path, *ENGINE, "sh", "-c", script)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    started, *_, inside, mounts = done.stdout.splitlines()
    assert started.startswith("engine: started Docker")
    assert inside == "inside"
    assert mounts == "the mounts are as before"
    wait_until("dockerd to be gone", lambda: not using(tmp_path))


@NEEDS_ROOT
def test_a_started_engine_is_stopped_after_ctrl_c_too(tmp_path):
    """Also when the command ends because it was interrupted."""
    command = elsewhere(tmp_path, *ENGINE, "sleep", "1000")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("engine: started Docker")
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    wait_until("dockerd to be gone", lambda: not using(tmp_path))


def using(place: Path) -> list[str]:
    """The processes that have the directory mounted."""
    found: list[str] = []
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if str(place) in mounts.read_text():
                found.append(mounts.parent.name)
        except OSError:
            continue
    return found
