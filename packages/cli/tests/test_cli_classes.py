"""Classes on the command line of a horde whose user is its operator; its executor serves all that there are."""

import json

import pytest

from horde_cli.errors import BadUsage
from horde_cli.values import size
from horde_cli.vocabulary import changes
from processes import wait_until

BIG, SMALL = "lab.big", "lab.small"
NOTHING = dict.fromkeys(
    ("description", "weight", "max_seconds", "profile", "cpus", "memory", "shm", "gpus", "vram")
)


def test_a_class_is_defined_used_changed_and_removed(horde, image):
    """An executor that runs already takes its jobs, within its terms; what is not said of it stays."""
    words = ["--weight", "2.5", "--max-seconds", "5000", "--profile", "strict", "--cpus", "0.5"]
    made = horde("classes", "set", SMALL, *words, "--memory", "64MiB", "--description", "half a core", "--json")
    try:
        assert made.returncode == 0, made.stderr
        script = "nproc; grep CapEff /proc/self/status; cat /sys/fs/cgroup/memory*/memory.*limit_in_bytes"
        run = ["run", "--class", SMALL, "--quiet", "--json"]
        job = json.loads(horde(*run, image, "sh", "-c", f"{script} || cat /sys/fs/cgroup/memory.max").stdout)
        assert job["status"] == "completed", job
        assert "0000000000000000" in job["stdout"]
        assert str(64 * 2**20) in job["stdout"]
        assert horde("classes", "set", SMALL, "--max-seconds", "10").returncode == 0
        refused = horde(*run[:-1], image, "true")
        assert refused.returncode == 126
        assert "add up to 4800 s" in refused.stderr
        entry = next(e for e in json.loads(horde("classes", "--json").stdout)["classes"] if e["name"] == SMALL)
        assert entry == {**json.loads(made.stdout), "max_seconds": 10, "executors": 1}
        assert entry["weight"] == 2500
        row = next(line for line in horde("classes").stdout.splitlines() if line.startswith(SMALL))
        assert row.split()[1:4] == ["2.5", "10", "strict"]
        assert "0.5 cores, 64.0 MiB" in row
    finally:
        assert horde("classes", "remove", SMALL).stdout == f"{SMALL} is removed\n"
    gone = horde("classes", "remove", SMALL)
    assert (gone.returncode, f"no class '{SMALL}'" in gone.stderr) == (1, True)
    unknown = horde("run", "--class", SMALL, image, "true")
    assert unknown.returncode == 2
    assert "is not known; the classes are always_on.cpu.8c.16gb, always_on.gpu-24gb" in unknown.stderr


def test_a_class_that_is_too_large_for_the_machine_is_not_served_and_says_why(horde, up, image):
    """Its operator sees it, the executor's log has it, and a job that waits is explained by it."""
    assert horde("classes", "set", BIG, "--memory", "100TB").returncode == 0
    try:
        uuid = horde("run", "--class", BIG, "--quiet", "--detach", image, "true").stdout.strip()
        said = wait_until(
            "the executor to be told", lambda: (text := horde("executors").stdout) and BIG in text and text
        )
        assert "and the class promises 95367431.64 MiB of memory" in said
        assert "does not serve it: a job gets" in horde("explain", uuid).stdout
        assert "1 jobs wait for it" in horde("classes", "remove", BIG).stderr
        assert horde("cancel", uuid).returncode == 0
    finally:
        assert horde("classes", "remove", BIG, "--json").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weight", "-1"], "--weight"),
        (["--weight", "2000"], "--weight"),
        (["--max-seconds", "1h"], "--max-seconds"),
        (["--max-seconds", "0"], "--max-seconds"),
        (["--memory", "16"], "--memory '16' cannot be read; write it like 16GiB"),
        (["--memory", "1KiB"], "--memory"),
        (["--memory", "1GiB", "--shm", "2GiB"], "--shm"),
        (["--cpus", "none", "--vram", "lots"], "--vram"),
        (["--cpus", "0"], "--cpus"),
    ],
)
def test_what_a_class_cannot_be_names_the_option(horde, words, said):
    """Nothing is defined by it."""
    done = horde("classes", "set", "nosuch", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "nosuch" not in horde("classes").stdout


def test_sizes_have_units():
    """Powers of 1024 with an i, of 1000 without."""
    assert [size(text, "--memory") for text in ("1KiB", "1.5GB", "16GiB")] == [1024, 1_500_000_000, 16 * 2**30]
    for text in ("", "1", "GiB", "-1GiB", "1 GiB", "1gib", "nanGiB"):
        with pytest.raises(BadUsage, match="--memory"):
            size(text, "--memory")


def test_none_takes_a_promise_back():
    """And what is not said is no change."""
    assert changes(**NOTHING) == {}
    taken = changes(**{**NOTHING, "max_seconds": "none", "cpus": "none", "memory": "none"})
    assert taken == {"max_seconds": None, "cpus": None, "memory": None}
