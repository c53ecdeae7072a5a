"""`horde run` and what shows its jobs afterwards, with real containers."""

import hashlib
import json
import os
import pty
import signal
import subprocess

import pytest

from processes import HORDE, Command, wait_until


@pytest.fixture(autouse=True)
def clean_machine(up, containers_of):
    """No command leaves a container, once its job has ended."""
    yield
    wait_until("the containers to be gone", lambda: not containers_of(up))


def test_output_passes_through_untouched_and_the_exit_code_is_the_containers(horde, image):
    """stdout holds the job's bytes alone, so a pipe gets what `docker run` would give it."""
    done = horde("run", image, "sh", "-c", r"printf 'a\rb\nno end'; echo oops >&2")
    assert (done.returncode, done.stdout) == (0, "a\rb\nno end")
    assert "oops\n" in done.stderr
    assert [line.removeprefix("horde: ") for line in done.stderr.splitlines() if line.startswith("horde: ")][
        1:
    ] == [
        "sent",
        "queued",
        "preparing the image",
        "fetching inputs",
        "running",
        "storing results",
    ]
    done = horde("run", "--quiet", image, "sh", "-c", "echo why >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "why\n")


def test_a_job_whose_reader_goes_away_is_stopped(up, image):
    """As `yes | head -1` stops a program that runs here."""
    command = f"{HORDE} run -q {image} sh -c 'while :; do echo y; done' | head -1; exit ${{PIPESTATUS[0]}}"
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(up.config)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout) == (130, "y\n"), done.stderr


def test_everything_after_the_image_goes_to_the_container(horde, image):
    """Also what looks like an option of ours, an empty argument and a lone `--`."""
    args = ["--help", "-d", "--", "", "--json", "a b", "-e", "X=$Y"]
    done = horde("run", "-q", image, "sh", "-c", 'for arg; do echo "<$arg>"; done', "sh", *args)
    assert done.stdout.splitlines() == [f"<{arg}>" for arg in args]


def test_exit_codes_tell_a_limit_a_missing_command_and_a_rejection(horde, image):
    """124 as `timeout`, 127 as shells, 1 where no container had a code, 2 for what cannot be asked."""
    limit = horde("run", "-q", "--limit", "execution=1", image, "sleep", "60")
    assert (limit.returncode, "execution limit" in limit.stderr) == (124, True)
    missing = horde("run", "-q", image, "no-such-command")
    assert (missing.returncode, "no-such-command" in missing.stderr) == (127, True)
    closed = horde("run", "-q", "--input", "/volume/x=http://127.0.0.1:1/x", image, "true")
    assert (closed.returncode, "--allow-egress" in closed.stderr) == (1, True)
    for args in (["--class", "no.such.class", image], ["--limit", "execution=soon", image], ["UPPER"], []):
        wrong = horde("run", *args)
        assert wrong.returncode == 2, wrong
        assert wrong.stderr.startswith("horde: ")
        assert len(wrong.stderr.splitlines()) == 1


def test_inputs_env_and_artifacts_make_the_round_trip(horde, image, files, tmp_path):
    """A file, a directory and a URL go in; a tree of artifacts comes back."""
    (tmp_path / "one").write_text("file\n")
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "leaf").write_text("leaf\n")
    (files[0] / "served").write_text("url\n")
    script = 'cat /volume/a /volume/d/below/leaf /volume/u; mkdir -p /out/x; printf "$A$B" > /out/x/y'
    done = horde(
        *("run", "-q", "--input", f"/volume/a={tmp_path}/one", "--input", f"/volume/d={tmp_path}/tree"),
        *("--input", f"/volume/u=http://{files[1]}/served", "--env", "A=1", "-e", "B=2"),
        *("--artifacts", tmp_path / "saved", "--artifacts-dir", "/out", image, "sh", "-c", script),
    )
    assert (done.returncode, done.stdout) == (0, "file\nleaf\nurl\n"), done.stderr
    assert (tmp_path / "saved" / "x" / "y").read_text() == "12"


def test_a_secret_comes_from_the_environment_and_is_not_shown(up, horde, image, monkeypatch):
    """`--secret-env NAME` keeps the value off every command line; the job has it, its record does not."""
    monkeypatch.setenv("HIDDEN_WORD", "sesame")
    done = horde("run", "-q", "--secret-env", "HIDDEN_WORD", image, "sh", "-c", "echo $HIDDEN_WORD | rev")
    assert (done.returncode, done.stdout) == (0, "emases\n"), done.stderr
    uuid = json.loads(horde("jobs", "--last", "1", "--json").stdout)[0]["uuid"]
    assert "sesame" not in horde("show", uuid, "--json").stdout


def test_a_large_directory_and_file_are_inputs_like_any(horde, image, tmp_path):
    """They go up before the job, the second time from what is there already; the executor fetches them."""
    (tmp_path / "src" / "deep").mkdir(parents=True)
    data = os.urandom(40 * 1024**2)
    (tmp_path / "src" / "deep" / "data").write_bytes(data)
    (tmp_path / "src" / "run.sh").write_text("#!/bin/sh\nsha256sum /volume/src/deep/data /volume/file\n")
    (tmp_path / "src" / "run.sh").chmod(0o755)
    (tmp_path / "file").write_bytes(data[: 5 * 1024**2])
    command = ("run", "--input", f"/volume/src={tmp_path}/src", "--input", f"/volume/file={tmp_path}/file")
    for _ in range(2):
        done = horde(*command, "--limit", "download=30", image, "/volume/src/run.sh")
        assert done.returncode == 0, done.stderr
        hashes = [hashlib.sha256(piece).hexdigest() for piece in (data, data[: 5 * 1024**2])]
        assert done.stdout.split()[::2] == hashes


def test_a_job_is_found_again_by_a_prefix_and_read_by_programs(horde, image, tmp_path):
    """jobs, show, logs, get and cancel agree on it, as JSON with stable keys."""
    uuid = horde("run", "-d", image, "sh", "-c", "echo hi; echo x > /artifacts/x; exit 4").stdout.strip()
    assert horde("logs", "-f", uuid[:13]).stdout == "hi\n"
    shown = json.loads(horde("show", uuid[:13], "--json").stdout)
    assert (shown["uuid"], shown["status"], shown["exit_code"]) == (uuid, "failed", 4)
    assert (shown["error"]["reason"], shown["error"]["fault"]) == ("nonzero_return_code", "job")
    assert shown["artifacts"] == [{"path": "/artifacts/x", "size": 2}]
    assert shown["history"][-1]["status"] == "failed"
    assert json.loads(horde("jobs", "--json", "-n", "1").stdout) == [shown]
    assert uuid in [job["uuid"] for job in json.loads(horde("jobs", "--status", "failed", "--json").stdout)]
    assert json.loads(horde("logs", uuid, "--json").stdout) == {"stream": "stdout", "text": "hi", "attempt": 1}
    assert horde("get", uuid, tmp_path / "got").stdout == f"{tmp_path}/got/x\n"
    assert json.loads(horde("cancel", uuid, "--json").stdout)["status"] == "failed"
    assert "nonzero_return_code 4" in horde("jobs").stdout
    assert "exited with 4" in horde("show", uuid).stdout
    unknown = horde("show", "0000")
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)


def test_jobs_are_searched_and_explained(horde, image):
    """By namespace, image, status and time, in any combination."""
    done = json.loads(horde("run", "--json", "--namespace", "SN7", "--priority", "3", image, "true").stdout)
    listed = [job["uuid"] for job in json.loads(horde("jobs", "--json", "--namespace", "SN7").stdout)]
    assert listed == [done["uuid"]]
    name = image.rpartition(":")[0]
    found = horde("jobs", "--json", "--image", name, "--status", "completed", "--since", "1h", "-n", "1")
    assert [job["uuid"] for job in json.loads(found.stdout)] == [done["uuid"]]
    assert json.loads(horde("jobs", "--json", "--namespace", "SN7", "--status", "failed").stdout) == []
    assert horde("explain", done["uuid"]).stdout == "It completed: the container ended by itself.\n"
    assert json.loads(horde("explain", "--json", done["uuid"]).stdout)["state"] == "ended"
    assert horde("jobs", "--since", "soon").returncode == 2


def test_run_as_json_prints_one_object(horde, image):
    """The output of the job is inside of it."""
    done = horde("run", "--json", "-q", image, "sh", "-c", "echo hi; echo oops >&2")
    assert json.loads(done.stdout)["status"] == "completed"
    assert (json.loads(done.stdout)["stdout"], json.loads(done.stdout)["stderr"]) == ("hi\n", "oops\n")


def test_ctrl_c_stops_the_job_and_waits_for_its_end(up, image, horde):
    """What it wrote by then has been shown, and its record says cancelled."""
    run = Command("run", image, "sh", "-c", "echo up; sleep 60", env={"COMPUTE_HORDE_CONFIG": str(up.config)})
    uuid = run.wait_for_line("horde: job ")
    run.wait_for_line("up")
    assert run.stop(signal.SIGINT) == 130, run.text
    assert json.loads(horde("show", uuid, "--json").stdout)["error"]["reason"] == "cancelled"


def test_a_terminal_shows_one_line_that_makes_way_for_the_output(up, image):
    """The stages are seen, and wiped out before the job's own line."""
    leader, follower = pty.openpty()
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(up.config), "TERM": "xterm"}
    command = [HORDE, "run", image, "sh", "-c", "echo from-the-job"]
    run = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    seen = b""
    try:
        while piece := os.read(leader, 65536):
            seen += piece
    except OSError:  # Linux says EIO when the last writer of a terminal is gone
        pass
    os.close(leader)
    assert run.wait(30) == 0
    text = seen.decode()
    assert "preparing the image" in text or "queued" in text
    assert "\nfrom-the-job\r\n" in text.replace("\x1b[2K", "\n"), "it stands on a line of its own"


def test_the_doctor_finds_this_machine_fit_and_an_unknown_horde_not(horde, tmp_path):
    """Every finding that is bad says what to do."""
    well = horde("doctor", "--json")
    states = {finding["check"]: finding["state"] for finding in json.loads(well.stdout)}
    assert {states[check] for check in ("docker", "config", "facilitator", "login", "clock")} == {"ok"}
    assert well.returncode == 0, well.stdout
    ill = horde("doctor", "--facilitator", "http://127.0.0.1:9/", "--json")
    bad = [finding for finding in json.loads(ill.stdout) if finding["state"] == "fail"]
    assert (ill.returncode, [finding["check"] for finding in bad]) == (1, ["facilitator"])
    assert bad[0]["remedy"]
    stranger = horde("doctor", "--hotkey", tmp_path / "none")
    assert (stranger.returncode, "there is no hotkey" in stranger.stdout) == (1, True)
