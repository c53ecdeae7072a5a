"""Published clients report a forged result, each in its own form; what they signed is read, and kept once.

The one executor of this horde is a trusted one, so nothing is ever found in a report here.
"""

import pytest

pytestmark = [pytest.mark.usefixtures("clean_machine"), pytest.mark.timeout(300)]
ALONE = ("0.0.14", "0.0.16")
"""They name the reported job and nothing else."""
COMPARED = ("0.0.17", "0.0.18", "0.0.19")
"""They name a job on a trusted executor beside it, and say more if they like."""


@pytest.fixture(scope="module")
def told(environment, given):
    """What all versions, side by side, got to see."""
    started = {version: environment(version).start(given, "reported") for version in (*ALONE, *COMPARED)}
    try:
        yield {version: process.read()["reported"] for version, process in started.items()}
    finally:
        for process in started.values():
            process.stop()


@pytest.mark.parametrize("version", ALONE)
def test_a_report_that_names_one_job_is_taken(told, version):
    """I1: The form before 0.0.17, with the trusted job left unset; a repeat gets the same answer."""
    (job,) = told[version]["jobs"]
    first, again = told[version]["answers"]
    assert (first["job_uuid"], first["trusted_job_uuid"], first["state"]) == (job, None, "unfounded")
    assert again == first


@pytest.mark.parametrize("version", COMPARED)
def test_a_report_that_names_a_trusted_job_too_is_taken(told, version):
    """I2: Its details may be any JSON, and all of it is signed; a repeat gets the same answer."""
    job, trusted = told[version]["jobs"]
    first, again = told[version]["answers"]
    assert (first["job_uuid"], first["trusted_job_uuid"], first["state"]) == (job, trusted, "unfounded")
    assert again == first


@pytest.mark.parametrize("version", [*ALONE, *COMPARED])
def test_what_is_not_there_cannot_be_reported(told, version):
    """I3: It has the error that clients have for what they do not find."""
    assert told[version]["unknown"]["kind"] == "ComputeHordeNotFoundError"
