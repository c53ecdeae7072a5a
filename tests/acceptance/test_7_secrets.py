"""Secrets: what a job needs to know and nobody else may.

`secret_env` is for what the job alone may see. What other parts of a job may hold (queries of URLs, ordinary
variables) is sealed in the records, wiped at the end, and shown to nobody but its owner, if at all.
"""

import base64
import hashlib
import os
import re
import subprocess
import uuid
from collections.abc import Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from bittensor_wallet import Keypair

from compute_horde_sdk.v1 import ComputeHordeClient, HTTPInputVolume
from processes import HORDE, containers, docker, wait_until

pytestmark = pytest.mark.usefixtures("clean_machine")


def secret() -> str:
    """A word that is nowhere yet, and that JSON, URLs and base64 spell differently."""
    return f'"{uuid.uuid4().hex}+/'


def holds(content: bytes, word: str) -> bool:
    """Whether the word is in there: its longest part that JSON and URLs leave alone, also within base64 or hex."""
    part = max(re.findall("[0-9A-Za-z]+", word), key=len).encode()
    aligned = (base64.b64encode(b" " * shift + part)[4:-4] for shift in range(3))
    return any(form in content for form in (part, part.hex().encode(), *aligned))


def found_in_files(word: str, places: Iterable[Path]) -> list[Path]:
    """The files below some directories that hold the word; what is removed meanwhile holds nothing."""
    files = [Path(at, name) for place in places for at, _, names in os.walk(place) for name in names]
    found: list[Path] = []
    for path in files:
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink() and holds(path.read_bytes(), word):
                found.append(path)
    return found


def found_in_processes(word: str) -> dict[str, set[int]]:
    """The processes of the whole machine that have the word on their command line or in their environment."""
    found: dict[str, set[int]] = {"cmdline": set(), "environ": set()}
    for process in Path("/proc").glob("[0-9]*"):
        for what, pids in found.items():
            try:
                content = (process / what).read_bytes()
            except OSError:  # it has ended
                continue
            if holds(content, word):
                pids.add(int(process.name))
    return found


def processes_of(container: str, *names: str) -> set[int]:
    """The ids of its processes, as soon as they are these."""
    rows = [line.split() for line in docker("top", container, "-eo", "pid,comm").splitlines()[1:]]
    return {int(pid) for pid, _ in rows} if sorted(name for _, name in rows) == sorted(names) else set()


def engine_files(container: str) -> list[Path]:
    """Where the engine and its runtime keep what they were told of a container."""
    shim = Path(f"/proc/{docker('inspect', '--format', '{{.State.Pid}}', container)}/stat").read_text().split()[3]
    root = Path(docker("info", "--format", "{{.DockerRootDir}}"))
    return [root / "containers" / container, Path(f"/proc/{shim}/cwd").resolve()]


def operate(horde, *args: str) -> str:
    """What a command prints to the operator."""
    env = {**os.environ, "COMPUTE_HORDE_CONFIG": str(horde.config)}
    return subprocess.run([HORDE, *args], check=True, capture_output=True, text=True, env=env).stdout


@pytest.fixture
def stranger(horde) -> Keypair:
    """The hotkey of another user of the same horde."""
    hotkey = Keypair.create_from_uri(f"//{uuid.uuid4().hex}")
    operate(horde, "hotkeys", "add", hotkey.ss58_address, "--role", "user")
    return hotkey


@pytest.fixture
async def other(horde, stranger):
    """The client of the other user."""
    async with ComputeHordeClient(stranger, stranger.ss58_address, facilitator_url=horde.url) as client:
        yield client


async def replies(client: ComputeHordeClient, job: str) -> bytes:
    """Everything that a user is answered about a job, as it comes over the line."""
    await client.authenticate()
    headers = {"Authorization": f"Bearer {client._transport._token}"}
    paths = ("", f"{job}/", f"{job}/?inline=0", f"{job}/logs/?follow=0", f"{job}/explain/")
    async with httpx2.AsyncClient(base_url=client.facilitator_url, headers=headers) as http:
        return b"\n".join([(await http.get(f"/api/v1/jobs/{path}")).content for path in paths])


async def test_a_planted_secret_is_found_nowhere_but_in_its_container(horde, client, other, job_spec, files):
    """While the job runs and when it has ended, in all files, on all command lines and in all replies."""
    directory, address = files
    (directory / "input").write_text("input")
    secrets = {name: secret() for name in ("marked", "query", "plain")}
    visible = secret()[1:-2]
    spec = job_spec(
        'printf %s "$MARKED" | sha256sum; printf %s "$PLAIN" | sha256sum; sleep 300',
        job_namespace=visible,
        env={"PLAIN": secrets["plain"]},
        secret_env={"MARKED": secrets["marked"]},
        input_volumes={"/volume/in": HTTPInputVolume(url=f"http://{address}/input?s={quote(secrets['query'])}")},
    )
    assert secrets["marked"] not in repr(spec)
    job = await client.create_job(spec)
    hashes: list[str] = []
    async with aclosing(job.logs()) as lines:
        while len(hashes) < 2:
            hashes.append((await anext(lines)).text.split()[0])
    assert hashes == [hashlib.sha256(secrets[name].encode()).hexdigest() for name in ("marked", "plain")]

    # The job runs. It has its secrets, and nobody else has.
    (container,) = containers(f"org.computehorde.job={job.uuid}")
    inside = wait_until("the script to sleep", lambda: processes_of(container, "init", "sleep"))
    first = min(inside)
    marked = found_in_processes(secrets["marked"])
    assert marked["cmdline"] == set()
    assert marked["environ"] == inside - {first}
    told = engine_files(container)
    assert not holds(docker("inspect", container).encode(), secrets["marked"])
    assert found_in_files(secrets["marked"], told) == []
    # That the search would have found it: an ordinary variable is known to the engine, and to the first process.
    assert {path.name for path in found_in_files(secrets["plain"], told)} >= {"config.v2.json", "config.json"}
    assert found_in_processes(secrets["plain"]) == {"cmdline": set(), "environ": inside}
    assert found_in_processes(secrets["query"]) == {"cmdline": set(), "environ": set()}

    # Nor is anything told, now and afterwards; but its owner is told what an ordinary variable was.
    secrets |= {"login": client._transport._token, "invitation": operate(horde, "invite").split()[-1]}
    for _ in ("while it runs", "when it has ended"):
        assert found_in_files(visible, [horde.data])
        assert {name for name, word in secrets.items() if found_in_files(word, [horde.data])} == set()
        mine, others = await replies(client, job.uuid), await replies(other, job.uuid)
        assert {name for name, word in secrets.items() if holds(mine, word)} == {"plain"}
        assert not [word for word in (*secrets.values(), visible) if holds(others, word)]
        assert not [word for word in secrets.values() if holds(horde.text.encode(), word)]
        await job.cancel()
        await job.wait(timeout=30)


def test_the_search_finds_what_is_there(tmp_path):
    """In every spelling, in a file and on a command line: what the test above says is worth something."""
    word = secret()
    spelled = [
        word.encode(),
        quote(word).encode(),
        base64.b64encode(f"x{word}".encode()),
        base64.b64encode(f"Bearer {word} and more".encode()),
        f'{{"env":{{"A":"\\{word}"}}}}'.encode(),
    ]
    for number, content in enumerate(spelled):
        (tmp_path / str(number)).write_bytes(b"\0" + content + b"\0")
    (tmp_path / "other").write_text(secret())
    assert len(found_in_files(word, [tmp_path])) == len(spelled)
    with_variable = subprocess.Popen(["sleep", "60"], env={"A": word})
    with_argument = subprocess.Popen(["sh", "-c", "read line", word], stdin=subprocess.PIPE)
    try:
        expected = {"cmdline": {with_argument.pid}, "environ": {with_variable.pid}}
        # A process has begun a moment before the kernel shows with what.
        wait_until("both processes to be found", lambda: found_in_processes(word) == expected)
    finally:
        with_variable.kill()
        with_variable.wait()
        with_argument.communicate()
