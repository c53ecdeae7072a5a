"""Input blobs over a real connection that breaks, from a facilitator that is played by hand."""

import hashlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from bittensor_wallet import Keypair

from horde_core.outcomes import Reason, Stage
from horde_core.volumes import BlobVolume
from horde_core.wire.executor import PREFIX, Refusal
from horde_executor.cache import Cache
from horde_executor.egress import Egress
from horde_executor.errors import FacilitatorError, Fenced, JobFailure
from horde_executor.facilitator import Attempt, Facilitator
from horde_executor.hub import PUBLIC_HUB, Hub
from horde_executor.meter import Moved
from horde_executor.patience import Patience
from horde_executor.volumes import Caps, Supply, place

PIECE = 1_000_000
DATA = os.urandom(5 * PIECE)
ATTEMPT = Attempt("a-job", 1)


@dataclass
class Served:
    """Blobs by their hash; each answer breaks off after `breaks_after` bytes, the first ones with 503."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    breaks_after: int | None = None
    refusals: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    logins: int = 0
    url: str = ""

    def volume(self, content: bytes, path: str | None, *, unpack: bool = False) -> BlobVolume:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        size = len(content)
        return BlobVolume(volume_type="blob", sha256=sha256, size=size, relative_path=path, unpack=unpack)

    async def nonce(self, _: web.Request) -> web.Response:
        return web.json_response({"nonce": "n"})

    async def login(self, _: web.Request) -> web.Response:
        self.logins += 1
        return web.json_response({"token": f"t{self.logins}"})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != f"Bearer t{self.logins}":
            return web.json_response({"detail": "Token expired."}, status=401)
        if self.refusals:
            status = self.refusals.pop(0)
            refusal = Refusal(code="stale_attempt", detail="another's").model_dump_json()
            return web.Response(status=status, text=refusal if status == 409 else "")
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.asked.append(f"{request.match_info['sha256'][:4]} {start}")
        content = self.blobs[request.match_info["sha256"]]
        answer = web.StreamResponse(status=206, headers={"Content-Length": str(len(content) - start)})
        await answer.prepare(request)
        part = content[start : start + (self.breaks_after or len(content))]
        self.sent += len(part)
        await answer.write(part)
        if start + len(part) < len(content):
            request.transport.close()  # after what was written
        return answer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    app = web.Application()
    path = f"{PREFIX}/attempts/{ATTEMPT.job}/{ATTEMPT.number}/blobs/{{sha256}}"
    app.add_routes(
        [web.get("/auth/nonce", served.nonce), web.post("/auth/login", served.login), web.get(path, served.blob)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


class Placed:
    """A `/volume` directory, filled by an executor that may not reach anything by the egress rules."""

    def __init__(self, facilitator: Facilitator, directory: Path) -> None:
        self.root = directory / "volume"
        self.root.mkdir()
        self.told: list[Moved] = []
        self.owner = "anna"
        self._facilitator = facilitator
        self._cache = directory / "cache"

    async def __call__(self, *volumes: BlobVolume, caps: Caps | None = None) -> dict[str, bytes]:
        egress, blobs = Egress.parse([]), partial(self._facilitator.read_blob, ATTEMPT)
        async with Cache.opened(self._cache, egress=egress) as cache:
            supply = Supply(cache, Hub(PUBLIC_HUB, egress, Patience(), cache.tmp), blobs, self.owner)
            await place(volumes, self.root, supply=supply, caps=caps, progress=self.told.append)
        assert list(cache.tmp.iterdir()) == []
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}


@pytest.fixture
async def placed(served: Served, tmp_path: Path) -> AsyncIterator[Placed]:
    async with Facilitator.connect(served.url, Keypair.create_from_uri("//Machine")) as facilitator:
        yield Placed(facilitator, tmp_path)


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


async def test_a_blob_that_breaks_off_goes_on_where_it_broke(served: Served, placed: Placed) -> None:
    """No byte is fetched twice; the progress grows to the whole."""
    served.breaks_after = 2 * PIECE
    assert await placed(served.volume(DATA, "in/data")) == {"in/data": DATA}
    assert served.sent == len(DATA)
    assert len(served.asked) == 3
    assert [moved.done for moved in placed.told] == sorted(moved.done for moved in placed.told)
    assert (placed.told[-1].done, placed.told[-1].total) == (len(DATA), len(DATA))


async def test_a_zip_is_unpacked_only_when_that_was_asked_for(served: Served, placed: Placed) -> None:
    """Files and the content of directories merge in order."""
    archive = zipped(a=b"1", b=b"2")
    volumes = (
        served.volume(archive, None, unpack=True),
        served.volume(archive, "as-it-is.zip"),
        served.volume(b"3", "b"),
    )
    assert await placed(*volumes) == {"a": b"1", "b": b"3", "as-it-is.zip": archive}


async def test_an_outage_is_waited_for_and_a_token_renewed(served: Served, placed: Placed) -> None:
    """Whose time that costs is decided by the caller's limits."""
    volume = served.volume(DATA, "x")
    served.refusals = [503, 500]
    await placed(volume)
    served.logins += 1  # the token that the executor has is another one's now
    served.refusals, placed.owner = [503], "ben"
    assert (await placed(volume))["x"] == DATA
    assert served.sent == 2 * len(DATA)


async def test_a_blob_is_fetched_once_for_all_jobs_of_its_owner(served: Served, placed: Placed) -> None:
    """And never taken from one owner for another."""
    volume, archive = served.volume(DATA, "x"), served.volume(zipped(a=b"1"), "z", unpack=True)
    for owner, asked in (("anna", 2), ("anna", 2), ("ben", 4), ("", 6), ("", 8)):
        placed.owner = owner
        assert await placed(volume, archive) == {"x": DATA, "z/a": b"1"}
        assert len(served.asked) == asked


async def test_what_is_not_the_promised_content_is_the_hordes_fault(served: Served, placed: Placed) -> None:
    volume = served.volume(DATA, "x")
    served.blobs[volume.sha256] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    with pytest.raises(JobFailure, match="/volume/x came with") as failed:
        await placed(volume)
    assert (failed.value.stage, failed.value.reason) == (Stage.DOWNLOAD, Reason.EXECUTOR_ERROR)
    assert not (placed.root / "x").exists()


async def test_a_refusal_ends_it(served: Served, placed: Placed) -> None:
    """An attempt that is another's is fenced; a blob that the facilitator does not have is its fault."""
    served.refusals = [409]
    with pytest.raises(Fenced):
        await placed(served.volume(DATA, "x"))
    served.refusals = [404]
    with pytest.raises(FacilitatorError):
        await placed(served.volume(DATA, "x"))


async def test_blobs_count_against_the_room_of_the_job(served: Served, placed: Placed) -> None:
    """A packed one by what is in it."""
    with pytest.raises(JobFailure, match="/volume/b is too large") as failed:
        await placed(served.volume(DATA, "b"), caps=Caps(total_bytes=len(DATA) - 1))
    assert failed.value.reason is Reason.DOWNLOAD_FAILED
    archive = zipped(a=DATA)
    first = served.volume(archive, "one", unpack=True)
    caps = Caps(total_bytes=max(len(archive), len(DATA)))
    assert await placed(first, caps=caps) == {"one/a": DATA}
