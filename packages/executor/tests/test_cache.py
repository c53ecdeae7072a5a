"""The cache of inputs, filled from a real web server: what is shared, what never is, and what outlives a crash."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from horde_core.outcomes import Reason
from horde_core.volumes import SingleFileVolume
from horde_executor.cache import Cache
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.hub import PUBLIC_HUB, Hub
from horde_executor.meter import Meter, Moved
from horde_executor.patience import Patience
from horde_executor.volumes import Supply, place

PATIENCE = Patience(stall_s=5, tries=4, pause_s=0.05)
BIG = 8 * 1024**2
Opened = Callable[..., AbstractAsyncContextManager["Jobs"]]


def no_blobs(sha256: str, start: int):
    raise AssertionError("nothing here was uploaded to a facilitator")


class Jobs:
    """Jobs on one executor; each gets its tree, where files of the cache are links."""

    def __init__(self, cache: Cache, egress: Egress, place: Path) -> None:
        self.cache = cache
        self.egress = egress
        self.place = place
        self.linked = True
        self.moved: list[Moved] = []
        self._news = asyncio.Event()
        self._count = 0

    def told(self, moved: Moved) -> None:
        self.moved.append(moved)
        self._news.set()

    async def until(self, done: int) -> None:
        """Wait until a job has so many bytes."""
        while not self.moved or self.moved[-1].done < done:
            self._news.clear()
            await self._news.wait()

    async def __call__(self, *urls: str, owner: str = "anna") -> list[Path]:
        """The files that a job of `owner` got for its URLs; they are gone when the test removes them."""
        self._count += 1
        root = self.place / f"job{self._count}"
        root.mkdir()
        volumes = [
            SingleFileVolume(volume_type="single_file", url=url, relative_path=str(index))
            for index, url in enumerate(urls)
        ]
        supply = Supply(self.cache, Hub(PUBLIC_HUB, self.egress, PATIENCE, self.cache.tmp), no_blobs, owner)
        await place(volumes, root, supply=supply, linked=self.linked, progress=self.told)
        return [root / str(index) for index in range(len(urls))]


@pytest.fixture
def opened(tmp_path: Path, nginx) -> Opened:
    """Opens the cache, as an agent does when it starts."""

    @contextlib.asynccontextmanager
    async def open_it(budget: int | None = None) -> AsyncIterator[Jobs]:
        egress = Egress.parse([f"127.0.0.1:{nginx.port}"])
        place = tmp_path / f"jobs-{os.urandom(4).hex()}"
        place.mkdir()
        async with Cache.opened(tmp_path / "cache", egress=egress, budget=budget, patience=PATIENCE) as cache:
            yield Jobs(cache, egress, place)

    return open_it


@pytest.fixture
async def jobs(opened: Opened) -> AsyncIterator[Jobs]:
    async with opened() as jobs:
        yield jobs


def blobs(tmp_path: Path) -> set[Path]:
    return set((tmp_path / "cache").glob("*/blobs/*"))


async def test_the_second_job_costs_one_question_and_has_the_same_file(jobs: Jobs, nginx) -> None:
    """Whoever the two belong to: anybody can fetch what needs no credentials."""
    (nginx.root / "f").write_bytes(b"content")
    [first] = await jobs(nginx.url("f"))
    [second] = await jobs(nginx.url("f"), owner="ben")
    assert first.read_bytes() == second.read_bytes() == b"content"
    assert first.stat().st_ino == second.stat().st_ino
    assert nginx.log() == [(200, "/f", ""), (304, "/f", "if-none-match")]


async def test_what_was_fetched_outlives_the_agent(nginx, opened: Opened, tmp_path: Path) -> None:
    """Its files are found again by what stands on the disk; what has no name there is removed."""
    (nginx.root / "f").write_bytes(b"content")
    async with opened() as jobs:
        await jobs(nginx.url("f"))
    [blob] = blobs(tmp_path)
    (tmp_path / "cache" / "tmp" / "half").write_bytes(b"half a download")
    (blob.with_name("0" * 64)).write_bytes(b"of an agent that died before it was known")
    async with opened() as jobs:
        [again] = await jobs(nginx.url("f"))
        assert again.read_bytes() == b"content"
        assert blobs(tmp_path) == {blob}
        assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    assert nginx.statuses() == [200, 304]


async def test_a_changed_file_is_fetched_anew_and_the_old_one_stays_what_it_was(jobs: Jobs, nginx) -> None:
    (nginx.root / "f").write_bytes(b"old")
    [old] = await jobs(nginx.url("f"))
    (nginx.root / "f").write_bytes(b"newer")
    [new] = await jobs(nginx.url("f"))
    assert (old.read_bytes(), new.read_bytes()) == (b"old", b"newer")
    assert nginx.statuses() == [200, 200]


async def test_ten_jobs_at_once_are_one_download(jobs: Jobs, nginx) -> None:
    """Each hears how it goes, and each has the whole; a second of them costs a question of its own."""
    (nginx.root / "f").write_bytes(os.urandom(BIG // 4))
    found = await asyncio.gather(*(jobs(nginx.url("slow/f"), owner=f"owner {n}") for n in range(10)))
    assert {path.read_bytes() for [path] in found} == {(nginx.root / "f").read_bytes()}
    assert nginx.statuses() == [200]
    assert sum(moved.done == moved.total == BIG // 4 for moved in jobs.moved) >= 10
    assert 1e6 < max(moved.speed for moved in jobs.moved) < 1e7, "the server gives 2 MiB a second"


async def test_when_the_one_who_began_is_cancelled_the_others_go_on(jobs: Jobs, nginx) -> None:
    """With the same transfer. When all are gone it ends at once, and the next begins anew."""
    (nginx.root / "f").write_bytes(os.urandom(BIG // 4))
    url = nginx.url("slow/f")
    tasks = [asyncio.ensure_future(jobs(url)) for _ in range(3)]
    await jobs.until(1)
    tasks[0].cancel()
    assert [path.stat().st_size for [path] in await asyncio.gather(*tasks[1:])] == [BIG // 4] * 2
    assert tasks[0].cancelled()
    assert nginx.statuses() == [200]
    (nginx.root / "f").write_bytes(os.urandom(BIG))
    jobs.moved.clear()
    task = asyncio.ensure_future(jobs(url))
    await jobs.until(BIG // 16)
    task.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([task])
    assert list((jobs.place.parent / "cache" / "tmp").iterdir()) == []


async def test_what_a_query_opened_is_never_given_to_another_owner(jobs: Jobs, nginx, tmp_path: Path) -> None:
    """Not by its content, not by its directory; and its owner is asked for the right to it each time."""
    (nginx.root / "f").write_bytes(b"secret")
    signed = nginx.url("f?X-Amz-Signature={}&X-Amz-Date={}&versionId=7")
    [annas] = await jobs(signed.format("a", 1))
    [bens] = await jobs(signed.format("b", 2), owner="ben")
    assert annas.stat().st_ino != bens.stat().st_ino
    assert len({path.parents[1] for path in blobs(tmp_path)}) == 2
    [again] = await jobs(signed.format("c", 3))
    assert again.stat().st_ino == annas.stat().st_ino, "a new signature means the same file"
    with pytest.raises(JobFailure, match="403 Forbidden") as refused:
        await jobs(signed.format("expired", 4))
    assert refused.value.reason is Reason.DOWNLOAD_FAILED
    [other] = await jobs(signed.format("a", 1).replace("=7", "=8"))
    assert other.stat().st_ino == annas.stat().st_ino, "equal contents of one owner are one file"
    assert nginx.statuses() == [200, 200, 304, 403, 200]


async def test_of_jobs_at_once_each_proves_its_own_right(jobs: Jobs, nginx) -> None:
    """The transfer is one, but who has no right to it does not get it from who has."""
    (nginx.root / "f").write_bytes(os.urandom(BIG // 8))
    signed = nginx.url("slow/f?X-Amz-Signature={}")
    good = [jobs(signed.format(n)) for n in range(3)]
    bad = jobs(signed.format("expired"))
    results = await asyncio.gather(*good, bad, return_exceptions=True)
    assert [type(result) for result in results] == [list, list, list, JobFailure]
    assert sorted(nginx.statuses()) == [200, 304, 304, 403]


async def test_without_an_owner_nothing_private_is_kept(jobs: Jobs, nginx, tmp_path: Path) -> None:
    (nginx.root / "f").write_bytes(b"secret")
    for _ in range(2):
        [path] = await jobs(nginx.url("f?key=1"), owner="")
        assert path.read_bytes() == b"secret"
    assert nginx.statuses() == [200, 200]
    assert blobs(tmp_path) == set()


async def test_what_cannot_be_named_for_sure_serves_its_moment_only(jobs: Jobs, nginx, tmp_path: Path) -> None:
    """Without a strong ETag, or with a server that forbids it, nothing is kept; jobs at once still share."""
    (nginx.root / "f").write_bytes(os.urandom(BIG // 8))
    await asyncio.gather(*(jobs(nginx.url("nameless/f")) for _ in range(4)))
    assert nginx.statuses() == [200]
    await jobs(nginx.url("nameless/f"))
    await jobs(nginx.url("private/f"))
    await jobs(nginx.url("private/f"))
    assert nginx.log()[1:] == [(200, "/nameless/f", ""), (200, "/private/f", ""), (200, "/private/f", "")]
    assert blobs(tmp_path) == set()


async def test_a_redirect_is_followed_and_its_end_is_what_is_asked_again(jobs: Jobs, nginx) -> None:
    """The condition goes to the URL that gave the version, and to no other."""
    (nginx.root / "target").write_bytes(b"end")
    for _ in range(2):
        [path] = await jobs(nginx.url("hop1"))
        assert path.read_bytes() == b"end"
    first, second = nginx.log()[:3], nginx.log()[3:]
    assert first == [(302, "/hop1", ""), (307, "/hop2", ""), (200, "/target", "")]
    assert second == [(302, "/hop1", ""), (307, "/hop2", ""), (304, "/target", "if-none-match")]


async def test_a_broken_connection_is_taken_up_where_it_broke(jobs: Jobs, nginx) -> None:
    """The server's worker is killed in the middle."""
    (nginx.root / "f").write_bytes(os.urandom(BIG // 2))
    task = asyncio.ensure_future(jobs(nginx.url("slow/f")))
    await jobs.until(BIG // 8)
    nginx.kill_worker()
    [path] = await task
    assert path.read_bytes() == (nginx.root / "f").read_bytes()
    assert nginx.log() == [(206, "/slow/f", "range")], "the killed worker wrote no line"


async def test_a_file_that_shrinks_while_it_is_sent_is_not_taken(jobs: Jobs, nginx, tmp_path: Path) -> None:
    """Fewer bytes than promised are no file; the next try has the new one."""
    (nginx.root / "f").write_bytes(os.urandom(BIG))
    task = asyncio.ensure_future(jobs(nginx.url("slow/f")))
    await jobs.until(BIG // 16)
    os.truncate(nginx.root / "f", BIG // 16)
    [path] = await task
    assert path.read_bytes() == (nginx.root / "f").read_bytes()
    assert len(blobs(tmp_path)) == 1


async def test_a_file_that_was_changed_on_the_disk_is_noticed(jobs: Jobs, nginx, tmp_path: Path) -> None:
    """Whatever changed it; it is never given to a job."""
    (nginx.root / "f").write_bytes(b"content")
    await jobs(nginx.url("f"))
    [blob] = blobs(tmp_path)
    blob.write_bytes(b"CONTENT")
    [path] = await jobs(nginx.url("f"))
    assert path.read_bytes() == b"content"
    assert nginx.log()[-1] == (200, "/f", "")


async def test_where_the_job_may_write_it_gets_copies(jobs: Jobs, nginx, tmp_path: Path) -> None:
    """As on machines that cannot put a layer above the cache's files."""
    (nginx.root / "f").write_bytes(os.urandom(BIG))
    jobs.linked = False
    [first] = await jobs(nginx.url("f"))
    with first.open("r+b") as file:
        file.write(b"spoiled")
    [second] = await jobs(nginx.url("f"))
    assert second.read_bytes() == (nginx.root / "f").read_bytes() != first.read_bytes()
    assert [path.stat().st_nlink for path in blobs(tmp_path)] == [1]
    assert nginx.statuses() == [200, 304]


async def test_the_budget_is_kept_and_what_was_used_last_stays(opened: Opened, nginx, tmp_path: Path) -> None:
    """What a job uses is never taken away; when the job is gone, it may go."""
    for name in "abc":
        (nginx.root / name).write_bytes(name.encode() * 1000)
    async with opened(budget=2500) as jobs:
        [a], [b] = await jobs(nginx.url("a")), await jobs(nginx.url("b"))
        a.unlink()
        b.unlink()
        [a] = await jobs(nginx.url("a"))
        a.unlink()
        [c] = await jobs(nginx.url("c"))
        jobs.cache.tidy()
        contents = {path.read_bytes()[:1] for path in blobs(tmp_path)}
        assert contents == {b"a", b"c"}, "b was not used for the longest time"
    async with opened(budget=0):
        assert {path.read_bytes()[:1] for path in blobs(tmp_path)} == {b"c"}, "a job has it"
        c.unlink()
    async with opened(budget=0):
        assert blobs(tmp_path) == set()
    assert list((tmp_path / "cache").glob("*/names/*")) == []


DOWNLOADER = """
import asyncio, sys
from pathlib import Path
from horde_executor.cache import Cache, Wanted
from horde_executor.egress import Egress
from horde_executor.meter import Meter
from horde_executor.shelf import Name

async def main(root, address, url):
    told = lambda moved: moved.done > 100_000 and print("under way", flush=True)
    async with Cache.opened(Path(root), egress=Egress.parse([address])) as cache:
        name = Name("public", "url")
        wanted = Wanted(label="/volume/x", url=url, name=name)
        await cache.obtain(wanted, Meter(told).part(), limit=1 << 30)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_agent_that_is_killed_in_mid_download_leaves_a_cache_that_works(
    opened: Opened, nginx, tmp_path: Path
) -> None:
    """What was whole is there, what was half is gone, and the download works the next time."""
    (nginx.root / "whole").write_bytes(b"whole")
    (nginx.root / "big").write_bytes(os.urandom(BIG // 4))
    async with opened() as jobs:
        await jobs(nginx.url("whole"))
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DOWNLOADER, tmp_path / "cache", f"127.0.0.1:{nginx.port}", nginx.url("slow/big")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout
    assert await agent.stdout.readline() == b"under way\n"
    agent.kill()
    await agent.communicate()
    assert len(list((tmp_path / "cache" / "tmp").iterdir())) == 1
    async with opened() as jobs:
        assert list((tmp_path / "cache" / "tmp").iterdir()) == []
        whole, big = await jobs(nginx.url("whole"), nginx.url("big"))
        assert (whole.read_bytes(), big.read_bytes()) == (b"whole", (nginx.root / "big").read_bytes())
    assert (304, "/whole", "if-none-match") in nginx.log()


def test_the_speed_is_that_of_the_last_seconds_and_counts_what_really_came() -> None:
    """A file that was there already is done at once and makes nothing faster."""
    now, told = [0.0], list[Moved]()
    meter = Meter(told.append, clock=lambda: now[0])
    kept, slow, later = meter.part(), meter.part(), meter.part(500)
    kept.had(10_000)
    assert (told[-1].done, told[-1].total, told[-1].speed) == (10_000, None, 0)
    for now[0] in range(1, 7):
        slow.at(now[0] * 100, 1000)
    assert told[-1] == Moved(10_600, 11_500, 100)
    for now[0] in range(7, 11):  # a server that says nothing more
        slow.at(600, 1000)
    assert told[-1].speed == 0
    slow.at(0, 1000)  # it had to begin anew
    later.at(500, 500)
    assert (told[-1].done, told[-1].total) == (10_500, 11_500)
