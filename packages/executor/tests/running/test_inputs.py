"""What containers do with inputs that come from the cache."""

import hashlib
import os

from horde_core.outcomes import Failed, Succeeded
from horde_executor.layers import available

SPOIL = """
cd /volume
echo spoiled > f; echo spoiled >> m/large; chmod 000 m/small; chown 5:5 d/f; : > d/g
ln d/h d/h2; echo spoiled > d/h2; mv m renamed; rm -rf renamed/sub; mkdir m; echo new > m/large; rm d/i
find . -type f | sort
"""


async def test_a_job_does_what_it_likes_with_its_inputs_and_spoils_nobody_elses(
    agent_with, claim_of, nginx, hub_server
):
    """It writes, renames, links and removes; the next job has them as they were, without a further transfer."""
    (nginx.root / "d").mkdir()
    paths = ["f", "d/f", "d/g", "d/h", "d/i"]
    for path in paths:
        (nginx.root / path).write_bytes(os.urandom(5000))
    files = {"large": os.urandom(20_000), "small": b"s", "sub/x": b"x"}
    hub_server.add("org/model", files)
    volumes = [
        {"volume_type": "huggingface_volume", "repo_id": "org/model", "relative_path": "m"},
        *({"volume_type": "single_file", "url": nginx.url(path), "relative_path": path} for path in paths),
    ]
    contents = {path: (nginx.root / path).read_bytes() for path in paths}
    contents |= {f"m/{path}": content for path, content in files.items()}
    egress = (f"127.0.0.1:{nginx.port}", *hub_server.addresses)
    async with agent_with(allow_egress=egress, hf_endpoint=hub_server.url) as agent:
        spoiling = await agent.do(claim_of(args=["sh", "-c", SPOIL], volumes=volumes))
        assert isinstance(spoiling.outcome.outcome, Succeeded), spoiling.outcome
        told = bytes(spoiling.logs["stdout"]).decode().split()
        renamed = ["./renamed/large", "./renamed/small"]
        assert told == ["./d/f", "./d/g", "./d/h", "./d/h2", "./f", "./m/large", *renamed]
        look = "cd /volume; find . -type f -exec sha256sum {} + ; find . -type f ! -perm 666"
        looking = await agent.do(claim_of(args=["sh", "-c", look], volumes=volumes))
    lines = [line.split() for line in bytes(looking.logs["stdout"]).decode().splitlines()]
    assert {path.removeprefix("./"): digest for digest, path in lines} == {
        path: hashlib.sha256(content).hexdigest() for path, content in contents.items()
    }
    assert sorted(nginx.statuses()) == [200] * 5 + [304] * 5
    assert (hub_server.downloads(), hub_server.downloads(store=False)) == (1, 2)


async def test_any_user_of_the_image_may_change_its_inputs(agent_with, claim_of, nginx, tmp_path):
    """Files of the cache belong to root; what the job sees is a layer above them, where this machine has such."""
    (nginx.root / "f").write_bytes(b"content\n")
    volumes = [{"volume_type": "single_file", "url": nginx.url("f"), "relative_path": "d/f"}]
    as_nobody = (
        "cd /volume/d; echo more >> f; mv f g; mkdir -p /volume/mine; cat g; grep -c overlay./volume /proc/mounts"
    )
    passwd = "nobody:x:65534:65534::/:/bin/sh"
    script = f"mkdir -p /etc; echo {passwd} > /etc/passwd; exec su -s /bin/sh nobody -c '{as_nobody}'"
    async with agent_with(allow_egress=(f"127.0.0.1:{nginx.port}",)) as agent:
        told = await agent.do(claim_of(args=["sh", "-c", script], volumes=volumes))
    layers = int(await available(tmp_path))
    assert bytes(told.logs["stdout"]).decode() == f"content\nmore\n{layers}\n", bytes(told.logs["stderr"])
    assert not await available(tmp_path / "a,b"), "the kernel would take the comma for the end of an option"
    assert not list(tmp_path.glob("try-layers"))


async def test_artifacts_may_lie_among_the_inputs(agent_with, claim_of, nginx):
    """They are read when the container is gone; inputs are copies then, and the cache's own stay as they are."""
    (nginx.root / "f").write_bytes(b"in")
    volumes = [{"volume_type": "single_file", "url": nginx.url("f"), "relative_path": "in/f"}]
    args = ["sh", "-c", "echo more >> /volume/in/f; cp /volume/in/f /volume/out/g"]
    async with agent_with(allow_egress=(f"127.0.0.1:{nginx.port}",)) as agent:
        for _ in range(2):
            told = await agent.do(claim_of(args=args, volumes=volumes, artifacts_dir="/volume/out"))
            assert told.artifacts == {"/volume/out/g": b"inmore\n"}
    assert nginx.statuses() == [200, 304]


async def test_the_limit_of_the_download_ends_a_question_to_the_hub(agent_with, claim_of, hub_server):
    """At once, with the process that asks; the hub never answers."""
    hub_server.add("org/model", {"f": bytes(10_000)})
    volumes = [{"volume_type": "huggingface_volume", "repo_id": "org/model"}]
    hub_server.silent = True
    async with agent_with(allow_egress=hub_server.addresses, hf_endpoint=hub_server.url) as agent:
        told = await agent.do(claim_of(volumes=volumes, download_time_limit=2))
    outcome = told.outcome.outcome
    assert isinstance(outcome, Failed)
    assert (outcome.stage, outcome.reason) == ("download", "timeout")
    assert 2 <= told.outcome.stage_seconds["download"] < 3
