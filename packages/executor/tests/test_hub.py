"""Hugging Face volumes, through the real `huggingface_hub`, from a hub on loopback."""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from horde_core.outcomes import Reason, Stage
from horde_core.volumes import HuggingfaceVolume
from horde_executor.cache import Cache
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.hub import Hub
from horde_executor.meter import Moved
from horde_executor.patience import Patience
from horde_executor.volumes import Caps, Supply, place
from hub_server import HubServer

PATIENCE = Patience(connect_s=5, stall_s=5, tries=2, pause_s=0.01)
LARGE = os.urandom(100_000)
FILES = {
    "config.json": b"{}",
    "sub/words.json": b"[1]",
    "sub/deep/model.safetensors": LARGE,
    "README.md": b"#",
}


def no_blobs(sha256: str, start: int):
    raise AssertionError("nothing here was uploaded to a facilitator")


def volume(repo_id: str = "org/model", **fields) -> HuggingfaceVolume:
    return HuggingfaceVolume(volume_type="huggingface_volume", repo_id=repo_id, **{"relative_path": "m", **fields})


class Executor:
    """What fetches for jobs, from a hub that the operator allowed as far as `addresses` say."""

    def __init__(self, tmp_path: Path, server: HubServer, cache: Cache, addresses: list[str]) -> None:
        self.moved: list[Moved] = []
        self.cache = cache
        self._place = tmp_path
        self._hub = Hub(server.url, Egress.parse(addresses), PATIENCE, cache.tmp)
        self._count = 0

    async def __call__(
        self, *volumes: HuggingfaceVolume, owner: str = "anna", caps: Caps | None = None
    ) -> dict[str, bytes]:
        """The files that a job gets."""
        self._count += 1
        root = self._place / f"job{self._count}"
        root.mkdir()
        supply = Supply(self.cache, self._hub, no_blobs, owner)
        await place(volumes, root, supply=supply, caps=caps, linked=True, progress=self.moved.append)
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    async def failing(self, *volumes: HuggingfaceVolume, owner: str = "anna") -> JobFailure:
        with pytest.raises(JobFailure) as failed:
            await self(*volumes, owner=owner)
        assert failed.value.stage is Stage.DOWNLOAD
        return failed.value


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, server: HubServer, addresses: list[str] | None = None) -> AsyncIterator[Executor]:
    allowed = server.addresses if addresses is None else addresses
    async with Cache.opened(tmp_path / "cache", egress=Egress.parse(allowed), patience=PATIENCE) as cache:
        yield Executor(tmp_path, server, cache, allowed)
        assert list(cache.tmp.iterdir()) == [], "the hub's library wrote something, or a transfer was left"


@pytest.fixture
async def executor(tmp_path: Path, hub_server: HubServer) -> AsyncIterator[Executor]:
    async with opened(tmp_path, hub_server) as executor:
        yield executor


def below_m(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"m/{path}": content for path, content in files.items()}


async def test_a_repository_arrives_as_it_is_laid_out(executor: Executor, hub_server: HubServer) -> None:
    """Models, datasets and spaces, at the root of /volume too; large files come from another host."""
    hub_server.add("org/model", FILES)
    hub_server.add("org/data", {"d.csv": b"1,2"}, kind="dataset")
    hub_server.add("org/app", {"app.py": b"print()"}, kind="space")
    found = await executor(
        volume(), volume("org/data", repo_type="dataset", relative_path=None),
        volume("org/app", repo_type="space", relative_path="m/sub"),
    )  # fmt: skip
    assert found == below_m(FILES) | {"d.csv": b"1,2", "m/sub/app.py": b"print()"}
    assert (hub_server.downloads(), hub_server.downloads(store=False)) == (1, 5)
    total = sum(len(content) for content in found.values())
    assert (executor.moved[-1].done, executor.moved[-1].total) == (total, total)


async def test_a_revision_and_patterns_choose(executor: Executor, hub_server: HubServer) -> None:
    """A branch, or a commit that no branch names any more; one pattern or several, over directories."""
    old = hub_server.add("org/model", {"a.txt": b"old"})
    hub_server.add("org/model", FILES)
    hub_server.add("org/model", {"a.txt": b"side"}, branch="refs/pr/1")
    assert await executor(volume(revision=old)) == {"m/a.txt": b"old"}
    assert await executor(volume(revision="refs/pr/1")) == {"m/a.txt": b"side"}
    assert set(await executor(volume(allow_patterns="*.json"))) == {"m/config.json", "m/sub/words.json"}
    assert set(await executor(volume(allow_patterns=["README*", "sub/deep/*"]))) == {
        "m/README.md", "m/sub/deep/model.safetensors",
    }  # fmt: skip


async def test_a_long_listing_is_read_to_its_end(executor: Executor, hub_server: HubServer) -> None:
    files = {f"{index:04}": bytes([index % 10]) for index in range(1100)}
    hub_server.add("org/many", files)
    assert await executor(volume("org/many")) == below_m(files)


WRONG = [
    ({"repo_id": "org/none"}, "the model 'org/none' is not on http://.*, or not public. Check repo_id"),
    ({"repo_id": "org/none", "token": "hf_t"}, "or the volume's token may not read it"),
    ({"repo_id": "org/model", "repo_type": "dataset"}, "the dataset 'org/model' is not on"),
    ({"repo_id": "org/private"}, "or not public.*give the volume a token that may read it"),
    ({"repo_id": "org/private", "token": "hf_t"}, "or the volume's token may not read it"),
    ({"repo_id": "org/gated"}, "is gated. Ask for access at http://.*/org/gated, and give the volume a token"),
    ({"repo_id": "org/gated", "token": "hf_t"}, "is gated, and the account of the volume's token was not"),
    ({"repo_id": "org/model", "token": "hf_invalid"}, "does not accept the volume's token"),
    ({"repo_id": "org/model", "revision": "v9"}, "the model 'org/model' has no revision 'v9'"),
    ({"repo_id": "org/model", "allow_patterns": "*.bin"}, "no file of 'org/model' matches allow_patterns"),
    ({"repo_id": "no/such/name"}, "'no/such/name' is no name of a repository"),
]


async def test_what_is_wrong_is_said_in_the_users_words(executor: Executor, hub_server: HubServer) -> None:
    """Each names what is to be changed; a token is in none of them, and nothing is sent."""
    hub_server.add("org/model", FILES)
    hub_server.add("org/private", FILES, tokens={"good"})
    hub_server.add("org/gated", FILES, tokens={"good"}, gated=True)
    failures = await asyncio.gather(*(executor.failing(volume(**fields)) for fields, _ in WRONG))
    for failed, (fields, says) in zip(failures, WRONG, strict=True):
        assert failed.reason is Reason.DOWNLOAD_FAILED, fields
        assert re.match(f"/volume/m cannot be fetched: .*{says}", failed.message), failed.message
        assert "hf_" not in failed.message
    assert hub_server.downloads() == hub_server.downloads(store=False) == 0


async def test_a_hub_that_cannot_be_reached_is_tried_again(tmp_path: Path) -> None:
    server = HubServer()
    with server.serving():
        address = server.addresses
    async with opened(tmp_path, server, address) as executor:
        failed = await executor.failing(volume())
    assert failed.reason is Reason.DOWNLOAD_UNREACHABLE
    assert "cannot be reached" in failed.message
    assert ", 2 times" in failed.message


@pytest.mark.parametrize("opened_to", ["nothing", "the hub alone"])
async def test_every_connection_is_judged(tmp_path: Path, hub_server: HubServer, opened_to: str) -> None:
    """Those of the hub's library, and those to the host that large files are redirected to."""
    hub_server.add("org/model", FILES)
    addresses = hub_server.addresses[:1] if opened_to == "the hub alone" else []
    async with opened(tmp_path, hub_server, addresses) as executor:
        failed = await executor.failing(volume())
    assert failed.reason is Reason.DOWNLOAD_FAILED
    assert "this machine (loopback, RFC 1122)" in failed.message
    assert "--allow-egress" in failed.message
    assert (not hub_server.requests) is (opened_to == "nothing")
    assert not any(request.store for request in hub_server.requests)


async def test_a_token_goes_to_the_hub_alone_and_no_other_is_used(
    executor: Executor, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the environment's nor one in the home of the machine's user."""
    monkeypatch.setenv("HF_TOKEN", "ambient")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.cache/huggingface").mkdir(parents=True)
    (tmp_path / "home/.cache/huggingface/token").write_text("ambient")
    hub_server.add("org/model", FILES)
    await executor(volume())
    assert {request.token for request in hub_server.requests} == {None}
    hub_server.requests.clear()
    hub_server.add("org/private", {"large": LARGE * 2, "small": b"s"}, tokens={"good"})
    assert await executor(volume("org/private", token="good")) == {"m/large": LARGE * 2, "m/small": b"s"}
    assert {request.token for request in hub_server.requests if not request.store} == {"good"}
    assert {request.token for request in hub_server.requests if request.store} == {None}


async def test_private_files_stay_with_their_owner_and_each_job_proves_its_right(
    executor: Executor, hub_server: HubServer
) -> None:
    """Although they are there: not for another owner, and not for the same one when the token is worth nothing."""
    hub_server.add("org/private", {"large": LARGE}, tokens={"good"})
    await executor(volume("org/private", token="good"))
    await executor(volume("org/private", token="good"))
    assert hub_server.downloads() == 1
    await executor(volume("org/private", token="good"), owner="ben")
    assert hub_server.downloads() == 2
    hub_server.repositories["model", "org/private"].tokens = {"new"}
    for owner, token in (("anna", "good"), ("anna", None), ("ben", "good"), ("eve", "new")):
        before = hub_server.downloads()
        if token == "new":
            assert await executor(volume("org/private", token=token), owner=owner) == {"m/large": LARGE}
            assert hub_server.downloads() == before + 1
        else:
            await executor.failing(volume("org/private", token=token), owner=owner)
            assert hub_server.downloads() == before


async def test_ten_jobs_at_once_are_one_download(executor: Executor, hub_server: HubServer) -> None:
    """Also of another revision, as far as it holds the same files."""
    content = {"weights": os.urandom(32 * 1024**2), "config.json": b"{}"}
    hub_server.add("org/model", content)
    hub_server.add("org/model", content | {"config.json": b"{ }"}, branch="next")
    hub_server.hold = threading.Event()
    tasks = [asyncio.ensure_future(executor(volume(revision=("main", "next")[n % 2]))) for n in range(10)]
    assert await asyncio.to_thread(hub_server.asked.acquire, timeout=30)
    hub_server.hold.set()
    found = await asyncio.gather(*tasks)
    assert all(files["m/weights"] == content["weights"] for files in found)
    assert (hub_server.downloads(), hub_server.downloads(store=False)) == (1, 2)


async def test_cancelling_ends_everything_at_once(executor: Executor, hub_server: HubServer) -> None:
    """While the hub is asked, and while a file comes; no process is left."""
    hub_server.add("org/model", FILES)
    hub_server.hold, before = threading.Event(), _children()
    task = asyncio.ensure_future(executor(volume()))
    assert await asyncio.to_thread(hub_server.asked.acquire, timeout=30)
    await _ends_at_once(task)
    task = asyncio.ensure_future(executor(volume()))
    async with asyncio.timeout(10):
        while not (children := _children() - before):  # noqa: ASYNC110 - a process that appears tells nobody
            await asyncio.sleep(0)
    await _ends_at_once(task)
    assert not children & _children()


async def _ends_at_once(task: asyncio.Future) -> None:
    task.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([task])
    assert task.cancelled()


def _children() -> set[str]:
    found = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(children.read_text().split())
    return found


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_file_that_is_not_what_the_hub_promised_is_refused(
    executor: Executor, hub_server: HubServer, size: int
) -> None:
    """Small files are named by git's hash, large ones by their sha256. Nothing wrong is kept."""
    promised, sent = b"f" * size, b"g" * size
    hub_server.add("org/model", {"f": promised})
    hub_server.instead[promised] = sent
    failed = await executor.failing(volume())
    assert failed.reason is Reason.DOWNLOAD_FAILED
    assert failed.message.startswith("/volume/m/f does not have the promised content")
    hub_server.instead.clear()
    assert await executor(volume()) == {"m/f": promised}


async def test_a_path_that_leads_outside_is_refused(executor: Executor, hub_server: HubServer) -> None:
    """Whatever a hub answers."""
    for path in ("../out", "a/../../out", "a//b", "a\x00b"):
        hub_server.add("org/model", {"+first": b"", path: b"x"})
        failed = await executor.failing(volume())
        assert "holds a path that cannot be used" in failed.message


async def test_the_operators_limit_is_told_before_anything_is_sent(
    executor: Executor, hub_server: HubServer
) -> None:
    hub_server.add("org/model", FILES)
    with pytest.raises(JobFailure, match="/volume/m is too large: all volumes of a job may hold"):
        await executor(volume(), caps=Caps(total_bytes=50_000))
    assert hub_server.downloads() == 0
