"""What a job will cost, did cost, and what is used."""

import pytest

from compute_horde_sdk.v1 import ComputeHordeError, blocking
from horde_core.outcomes import Failed, Reason, Stage, Succeeded


async def test_the_price_before_is_the_price_after(ours, executor, spec):
    """Reserved at creation, settled at a good end, released when nothing of the job had run."""
    wanted = spec(download_time_limit_sec=1, execution_time_limit_sec=2, upload_time_limit_sec=3)
    before = next(c for c in (await ours.usage()).classes if c.executor_class == wanted.executor_class)
    entry = next(c for c in await ours.classes() if c.name == wanted.executor_class)
    job = await ours.create_job(wanted)
    assert entry.weight == before.weight
    assert job.price == wanted.price(entry.weight / 1000) == 6
    assert job.payment == "reserved"
    await executor.run(Succeeded(exit_code=0))
    await job.wait(timeout=10)
    assert job.payment == "settled"
    other = await ours.create_job(wanted)
    await executor.run(Failed(stage=Stage.PREPARE, reason=Reason.IMAGE_NOT_FOUND, message="no such image"))
    await other.wait(timeout=10)
    assert (other.price, other.payment) == (6, "released")
    after = next(c for c in (await ours.usage()).classes if c.executor_class == wanted.executor_class)
    assert (after.settled - before.settled, after.jobs - before.jobs, after.allowance) == (6000, 1, None)


def test_the_vocabulary_tells_what_a_job_may_ask_for(url, hotkey, spec):
    """And a class that is not in it is refused with the names that are."""
    with blocking.ComputeHordeClient(hotkey, hotkey.ss58_address, facilitator_url=url) as client:
        found = {entry.name: entry for entry in client.classes()}
        assert {"spin_up-4min.gpu-24gb", "always_on.test"} <= set(found)
        assert (found["always_on.gpu-24gb"].gpus, found["always_on.test"].max_seconds) == (1, None)
        with pytest.raises(ComputeHordeError, match=r"'nosuch' is not known; the classes are .*always_on.test"):
            client.create_job(spec(executor_class="nosuch"))


def test_the_start_of_a_streaming_server_counts_for_streaming_jobs_only(spec):
    """And every second counts as much as the class weighs."""
    limits = {"download_time_limit_sec": 1, "execution_time_limit_sec": 2, "upload_time_limit_sec": 3}
    assert spec(**limits, streaming_start_time_limit_sec=50).price() == 6
    assert spec(**limits, streaming_start_time_limit_sec=50, streaming=True).price(2.5) == 140
