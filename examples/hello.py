"""A first job: run a container and print what it said.

usage: python examples/hello.py        while `horde up` runs in another terminal
"""

import os
import sys

from compute_horde_sdk.v1 import ComputeHordeJobSpec, ExecutorClass
from compute_horde_sdk.v1.blocking import ComputeHordeClient

spec = ComputeHordeJobSpec(
    executor_class=ExecutorClass.always_on__test,  # the class of machine; `horde up` serves all of them
    job_namespace="EXAMPLES.1",  # where the job comes from; you choose it
    docker_image=os.environ.get("EXAMPLE_IMAGE", "busybox:1"),
    args=["sh", "-c", 'echo "hello $NAME, this is $(uname -sm)"'],
    env={"NAME": sys.argv[1] if len(sys.argv) > 1 else "world"},
    download_time_limit_sec=10,  # each stage has a limit of its own, in seconds
    execution_time_limit_sec=30,
    upload_time_limit_sec=10,
)

# The address of the horde and your key come from the file that `horde up` wrote (or COMPUTE_HORDE_CONFIG names).
with ComputeHordeClient.from_config() as client:
    job = client.create_job(spec)
    job.wait(timeout=120)

if job.result and job.status.is_successful():
    print(job.result.stdout, end="")
else:
    sys.exit(f"{job.status.value}: {job.error.message if job.error else ''}")
