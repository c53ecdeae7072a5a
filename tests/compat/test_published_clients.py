"""Clients from the package index work here when only their URL is changed, and can be upgraded to ours.

0.0.14 reads the title-case status, later ones the history. 0.0.15 is not on the index. From 0.0.17 on clients send
a namespace; what else changed is in the names of executor classes.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from processes import HORDE, ROOT, horde_json, make_hotkey

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(300)]
WHOLE = ("0.0.14", "0.0.16")
"""The two whose every call is tried; of the others, what differs."""
LATER = {"0.0.17": "always_on.test", "0.0.18": "always_on.cpu.8c.16gb", "0.0.19": "always_on.cpu.8c.16gb"}
LATEST = "0.0.19"
FAILURES = ("nonzero", "no_command", "no_input", "slow_input", "no_registry", "no_allowance")
SCENARIOS = ("job", *FAILURES, "at_the_limit", "retried", "given_up", "pages", "refusals", "too_large")
FROM_0_0_16 = ("callbacks",)


def spelled(version: str, status: str) -> str:
    return status.replace("_", " ").title() if version == "0.0.14" else status


@pytest.fixture(scope="session")
def penniless(horde) -> dict[str, dict[str, str]]:
    """For each version the names of hotkeys that may spend nothing: one that tries to, one that lists its jobs."""
    names = {version: {role: f"{role}-{version}" for role in ("poor", "lister")} for version in WHOLE}
    addresses = []
    for name in (name for both in names.values() for name in both.values()):
        hotkey = make_hotkey(horde.data / "wallets" / "horde" / "hotkeys" / name)
        addresses.append(hotkey.ss58_address)
    config = ["--config", str(horde.config)]
    subprocess.run([HORDE, "hotkeys", "add", *addresses, *config], check=True, capture_output=True)
    for address in addresses:
        terms = [address, "always_on.gpu-24gb", "--cap", "0"]
        subprocess.run([HORDE, "allowances", "set", *terms, *config], check=True, capture_output=True)
    return names


@pytest.fixture(scope="session")
def told(environment, given, penniless):
    """What all versions, side by side, got to see."""
    plans = {version: ({**given, **penniless[version]}, SCENARIOS) for version in WHOLE}
    plans["0.0.16"] = (plans["0.0.16"][0], (*SCENARIOS, *FROM_0_0_16))
    for version, name in LATER.items():  # these also with a slash at the end of the URL
        plans[version] = ({**given, "url": given["url"] + "/", "executor_class": name}, ("job", "refusals"))
    started = {}
    try:
        for version, (facts, scenarios) in plans.items():
            started[version] = environment(version).start(facts, *scenarios)
        yield {version: process.read() for version, process in started.items()}
    finally:
        for process in started.values():
            process.stop()


@pytest.mark.parametrize("version", [*WHOLE, *LATER])
def test_a_job_gives_back_what_it_was_for(told, version):
    """C12: Inputs in, artifacts and logs out, and the job is found again; nothing but the URL is ours."""
    done = told[version]["job"]
    assert (done["sdk"], done["status"]) == (version, spelled(version, "completed"))
    assert (done["stdout"], done["stderr"], done["artifacts"]) == ("hello", "z\n", {"/out/a/b": "y\n"})
    assert done["listed"]


@pytest.mark.parametrize("version", [*WHOLE, *LATER])
def test_the_namespace_is_kept_if_the_client_sends_it(told, horde, version):
    """It is no part of the signature; older clients ask for one and keep it to themselves."""
    uuid = told[version]["job"]["uuid"]
    (found,) = [job for job in horde_json("jobs", "--last", "200", config=horde.config) if job["uuid"] == uuid]
    assert found["job_namespace"] == ("SN123.0" if version in LATER else "")


DETAILS = {
    "nonzero": ("failed", "ComputeHordeJobFailure", "nonzero_return_code", "3"),
    "no_command": ("failed", "ComputeHordeJobFailure", "command_not_found", "no-such-command"),
    "no_input": ("failed", "ComputeHordeJobFailure", "download_failed", "404"),
    "slow_input": ("failed", "ComputeHordeJobFailure", "timeout", "limit"),
    "no_registry": ("horde_failed", "ComputeHordeHordeFailure", "image_unreachable", "127.0.0.1"),
    "no_allowance": ("rejected", "ComputeHordeJobRejection", "no_allowance", "allowance"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("version", WHOLE)
def test_each_kind_of_failure_is_understood(told, version, failure):
    """D4: 0.0.14 sees an end and what was written; later ones whose fault it was, why, and in which words."""
    job = told[version][failure]
    status, kind, reason, words = DETAILS[failure]
    if version == "0.0.14":
        assert job["status"] == ("Rejected" if status == "rejected" else "Failed")
        assert "error" not in job
    else:
        assert job["status"] == status
        assert (job["error"]["kind"], job["error"]["reason"]) == (kind, reason)
        assert words in job["error"]["message"]
        assert job["error"].get("reported_by") == ("executor" if status == "horde_failed" else None)
    wrote = {"nonzero": ("", "why\n", {"/out/x": "some\n"})}
    assert (job["stdout"], job["stderr"], job["artifacts"]) == wrote.get(failure, ("", "", {}))


@pytest.mark.parametrize("version", WHOLE)
def test_the_execution_limit_is_no_failure(told, version):
    """Stopped, not failed, with what was there until then."""
    job = told[version]["at_the_limit"]
    assert job["status"] == spelled(version, "completed")
    assert (job["stdout"], job["artifacts"]) == ("begun\n", {"/out/x": "some\n"})


@pytest.mark.parametrize("version", WHOLE)
def test_run_until_complete_tries_again_with_a_new_job(told, version):
    """The first one fails, the second one succeeds, and it is the one that is returned."""
    first, second = told[version]["retried"]["attempts"]
    assert (first["status"], first["stdout"]) == (spelled(version, "failed"), "first\n")
    assert (second["status"], second["stdout"]) == (spelled(version, "completed"), "second\n")
    assert first["uuid"] != second["uuid"]
    assert told[version]["retried"]["last"] == second


@pytest.mark.parametrize("version", WHOLE)
def test_run_until_complete_gives_up_after_its_attempts(told, version):
    """Two attempts are two jobs, and the last of them is returned as it failed."""
    given_up = told[version]["given_up"]
    assert len(set(given_up["attempts"])) == 2
    assert (given_up["last"]["uuid"], given_up["last"]["status"]) == (
        given_up["attempts"][-1],
        spelled(version, "failed"),
    )


@pytest.mark.parametrize("version", WHOLE)
def test_jobs_are_listed_newest_first_over_all_pages(told, version):
    """C6: Iterating goes on to the last page and ends there; a page beyond is not found."""
    pages = told[version]["pages"]
    newest_first = pages["created"][::-1]
    assert len(newest_first) == 23
    assert pages["iterated"] == newest_first
    assert pages["second_of_nine"] == newest_first[9:18]
    assert pages["beyond"]["kind"] == "ComputeHordeNotFoundError"


def test_every_step_is_told_once_and_in_order(told):
    """D7: The callback of 0.0.16 gets what the history holds."""
    seen = told["0.0.16"]["callbacks"]
    assert seen["told"] == seen["history"] == [
        "sent", "received", "accepted", "executor_ready", "volumes_ready", "execution_done", "completed"
    ]  # fmt: skip


@pytest.mark.parametrize("version", [*WHOLE, *LATER])
def test_what_is_refused_is_told_in_words(told, version):
    """The user reads which field is wrong; what does not exist has an error of its own."""
    refusals = told[version]["refusals"]
    for name, words in {
        "class": "executor_class",
        "limit": "execution_time_limit",
        "image": "docker_image",
        "base64": "volumes",
    }.items():
        assert refusals[name]["kind"] == "ComputeHordeError"
        assert "status code 400" in refusals[name]["text"]
        assert words in refusals[name]["text"]
    assert refusals["unknown"]["kind"] == refusals["malformed"]["kind"] == "ComputeHordeNotFoundError"


@pytest.mark.parametrize("version", WHOLE)
def test_a_request_above_the_cap_is_refused_once(told, version):
    """C11: The client hears of the limit, and does not send 33 MiB five times."""
    too_large = told[version]["too_large"]
    assert "status code 413" in too_large["raised"]["text"]
    assert too_large["sent"] == 1


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """The wheels that a user of the SDK would install."""
    directory = tmp_path_factory.mktemp("wheels")
    for member in ("core", "sdk"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
        subprocess.run(command, check=True, cwd=ROOT / "packages" / member, stdout=subprocess.DEVNULL)
    return directory


def test_an_environment_with_the_published_client_upgrades_to_ours(environment, given, wheels):
    """After the upgrade in place our client runs the job that the published one ran."""
    latest = environment(LATEST, "upgraded")
    latest.install("--upgrade", "--find-links", str(wheels), "compute-horde-sdk")
    done = latest.start(given, "job").read()["job"]
    assert (done["sdk"], done["status"]) == ("1.0.0", "Completed")
    assert (done["stdout"], done["stderr"], done["artifacts"]) == ("hello", "z\n", {"/out/a/b": "y\n"})
    assert done["listed"]
