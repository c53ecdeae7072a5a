"""Private images from a real registry that wants a password: who may have them, also after a crash."""

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from horde_core.outcomes import Fault, Reason, fault_of
from horde_core.wire.executor import ImageLogin
from horde_executor.errors import JobFailure
from horde_executor.images import Images, Wanted
from horde_executor.pulling import failure_of

PASSWORD = "open-sesame"
ALICE, BOB = (ImageLogin(username=name, password=PASSWORD) for name in ("alice", "bob"))
WRONG = ImageLogin(username="alice", password="mistyped")


async def resolve(images: Images, name: str, owner: str, login: ImageLogin | None = None, digest=None):
    """What a job of the owner gets; the image is not in use afterwards."""
    wanted = Wanted(name, digest, owner, login)
    resolved = await images.resolve(wanted, stall_s=60, report=lambda _: None)
    await images.let_go(resolved)
    return resolved


async def failure(
    images: Images, name: str, owner: str, login: ImageLogin | None = None, digest=None
) -> JobFailure:
    with pytest.raises(JobFailure) as caught:
        await resolve(images, name, owner, login, digest)
    return caught.value


@pytest.fixture
def push(image, tmp_path, docker):
    """Puts an image that nobody else has into a registry; at the end the machine does not have it."""
    pushed: list[str] = []

    def make(name: str, *, size: int = 1000, logged_in: bool = True) -> str:
        (tmp_path / "bulk").write_bytes(os.urandom(size))
        (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY bulk /bulk\n")
        docker("build", "-q", "-t", name, str(tmp_path), env=os.environ | {"DOCKER_BUILDKIT": "0"})
        config = ["--config", str(tmp_path / "docker")]
        if logged_in:
            login = ["login", "--username", "alice", "--password-stdin", name.partition("/")[0]]
            docker(*config, *login, input=PASSWORD)
        docker(*config, "push", "-q", name)
        id_ = docker("image", "inspect", "-f", "{{.Id}}", name)
        docker("rmi", "-f", id_)
        pushed.append(id_)
        return name

    yield make
    for id_ in pushed:
        subprocess.run(["docker", "rmi", "-f", id_], capture_output=True, check=False)


@pytest.fixture
def private(push, closed_registry) -> str:
    """The name of a private image that the machine does not have."""
    return push(f"{closed_registry}/team/private:{os.getpid()}")


@pytest.fixture
async def images(images_of, closed_registry) -> Images:
    return await images_of(closed_registry)


def has(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


async def test_a_private_image_is_used_for_another_owner_only_if_the_registry_gives_it_to_him(images, private):
    """By tag and by digest, though the machine has it; who may have it needs no second pull."""
    first = await resolve(images, private, "alice", ALICE)
    for digest in (None, first.digest):
        for login in (None, WRONG):
            refused = await failure(images, private, "mallory", login, digest)
            assert (refused.reason, fault_of(refused.reason)) == (Reason.IMAGE_REFUSED, Fault.JOB)
    assert await resolve(images, private, "bob", BOB) == first
    assert await resolve(images, private, "alice", None) == first


async def test_credentials_are_told_apart_from_names_and_each_failure_says_what_to_do(
    images, private, closed_registry
):
    """No credentials, wrong ones, no such tag with right ones; no message holds a password."""
    unknown = await failure(images, private, "alice")
    assert unknown.reason is Reason.IMAGE_REFUSED
    assert "does not exist, or is private" in unknown.message
    assert f"`horde registries set {closed_registry} --username NAME`" in unknown.message
    wrong = await failure(images, private, "alice", WRONG)
    assert wrong.reason is Reason.IMAGE_REFUSED
    assert "does not take the credentials of alice: they are wrong" in wrong.message
    assert WRONG.password not in wrong.message
    missing = await failure(images, f"{closed_registry}/team/private:nosuch", "alice", ALICE)
    assert missing.reason is Reason.IMAGE_NOT_FOUND
    assert "check the name and the tag" in missing.message


async def test_what_is_remembered_survives_a_restart_and_its_loss_is_safe(
    images_of, private, closed_registry, tmp_path
):
    """The next agent knows who may have it; without the file, or with half of it, everybody is asked for again."""
    await resolve(await images_of(closed_registry), private, "alice", ALICE)
    again = await images_of(closed_registry, is_first=False)
    await resolve(again, private, "alice")
    assert (await failure(again, private, "mallory")).reason is Reason.IMAGE_REFUSED
    file = tmp_path / "images.json"
    assert PASSWORD not in file.read_text()
    for content in (None, b"", file.read_bytes()[:-9]):
        file.unlink() if content is None else file.write_bytes(content)
        lost = await images_of(closed_registry, is_first=False)
        assert (await failure(lost, private, "alice")).reason is Reason.IMAGE_REFUSED
        await resolve(lost, private, "alice", ALICE)


async def test_an_image_whose_pull_ended_after_the_agent_did_is_nobodys(
    images_of, private, closed_registry, tmp_path, docker
):
    """What the engine still got when nobody could note it down is private, and known to be ours."""
    await resolve(await images_of(closed_registry), private, "alice", ALICE)
    file = tmp_path / "images.json"
    begun = json.loads(file.read_text()) | {"images": {}, "pulling": {private: True}}
    file.write_text(json.dumps(begun))
    again = await images_of(closed_registry, is_first=False)
    assert (await failure(again, private, "alice")).reason is Reason.IMAGE_REFUSED
    await resolve(again, private, "bob", BOB)
    await resolve(await images_of(closed_registry, budget=0, is_first=False), private, "bob")
    assert not has(private)


async def test_an_image_that_the_operator_brought_is_everybodys(images, private, docker, tmp_path):
    """Whatever credentials he has pulled it with himself."""
    docker("--config", str(tmp_path / "docker"), "pull", "-q", private)
    await resolve(images, private, "mallory")


async def test_an_image_of_a_public_registry_is_everybodys(images_of, push, registry):
    """What the agent pulled without credentials, or may have so."""
    images = await images_of(registry)
    public = push(f"{registry}/team/public:{os.getpid()}", logged_in=False)
    await resolve(images, public, "alice", ALICE)  # credentials that this registry has not asked for
    await resolve(images, public, "bob")
    await resolve(images, public, "mallory", WRONG)


async def test_a_private_image_is_not_had_through_another_name(images_of, push, registry, closed_registry, docker):
    """Who knows what is in it can push the same elsewhere, and still has not got it here."""
    images = await images_of(registry, closed_registry)
    private = push(f"{closed_registry}/team/copied:{os.getpid()}")
    first = await resolve(images, private, "alice", ALICE)
    copy = f"{registry}/mallory/copied:{os.getpid()}"
    docker("tag", private, copy)
    docker("push", "-q", copy)
    docker("rmi", copy)
    refused = await failure(images, copy, "mallory")
    assert refused.reason is Reason.IMAGE_REFUSED
    assert "for other owners" in refused.message
    assert "team/copied" not in refused.message
    assert (await resolve(images, private, "alice")).image.id == first.image.id
    docker("rmi", "-f", first.image.id)


class Gate:
    """A proxy before a registry that answers 429 while `is_shut`, in several ways."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.is_shut = True
        self.body: str | None = None
        self.address = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Gate"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if self.is_shut and "/manifests/" in request.path:
            return web.Response(status=429, text=self.body, content_type="application/json")
        url = f"http://{self.behind}{request.rel_url}"
        async with self._session.request(request.method, url, headers=request.headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
            if request.method != "HEAD":
                kept.pop("Content-Length", None)
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@pytest.fixture
async def gate(registry) -> AsyncIterator[Gate]:
    async with Gate(registry).serving() as gate:
        yield gate


async def test_a_rate_limit_is_the_hordes_trouble_and_passes(images_of, gate, push, registry):
    """It is told apart from a refusal, says that credentials help, and the same image comes when it is over."""
    pushed = push(f"{registry}/team/limited:{os.getpid()}", logged_in=False)
    name = pushed.replace(registry, gate.address)
    images = await images_of(gate.address)
    as_specified = '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}'
    for body in (as_specified, "slow down", None):
        gate.body = body
        limited = await failure(images, name, "alice")
        assert (limited.reason, fault_of(limited.reason)) == (Reason.IMAGE_UNREACHABLE, Fault.HORDE)
        assert "rate limit" in limited.message
        assert f"`horde registries set {gate.address} --username NAME`" in limited.message
    gate.is_shut = False
    resolved = await resolve(images, name, "alice")
    assert resolved.digest.startswith(name.rpartition(":")[0])


def test_a_registry_that_is_asked_with_a_token_says_it_in_other_words():
    """As Docker's own does: no access, wrong credentials, too many requests."""
    denied = failure_of("team/app:1", "denied: requested access to the resource is denied", ALICE)
    assert (denied.reason, "to alice: it does not exist" in denied.message) == (Reason.IMAGE_REFUSED, True)
    wrong = failure_of("team/app:1", "unauthorized: incorrect username or password", ALICE)
    assert (wrong.reason, "credentials of alice" in wrong.message) == (Reason.IMAGE_REFUSED, True)
    busy = failure_of("team/app:1", "toomanyrequests: You have reached your pull rate limit", ALICE)
    assert (busy.reason, "even for alice" in busy.message) == (Reason.IMAGE_UNREACHABLE, True)


async def test_images_that_were_pulled_keep_a_budget(images_of, push, registry, image, docker):
    """Those not used for the longest time go; not what a job uses, nor what others brought or gave a name."""
    names = [push(f"{registry}/budget/{letter}:{os.getpid()}", size=100_000, logged_in=False) for letter in "abcd"]
    images = await images_of(registry)
    used = await images.resolve(Wanted(names[0]), stall_s=60, report=lambda _: None)
    for name in names[1:]:
        await resolve(images, name, "alice")
    docker("tag", names[2], f"mine/kept:{os.getpid()}")
    small = await images_of(registry, budget=used.image.size, is_first=False)
    await resolve(small, names[3], "alice")
    assert [has(name) for name in names] == [False, False, False, True]
    assert has(f"mine/kept:{os.getpid()}")
    assert has(image)
    docker("rmi", f"mine/kept:{os.getpid()}")

    held = await small.resolve(Wanted(names[0]), stall_s=60, report=lambda _: None)
    other = await small.resolve(Wanted(names[1]), stall_s=60, report=lambda _: None)
    await small.tidy()
    assert [has(name) for name in names] == [True, True, False, False]
    await small.let_go(held)
    assert [has(name) for name in names] == [False, True, False, False]
    await small.let_go(other)
    assert has(names[1])


async def test_an_image_that_a_container_uses_stays_whatever_the_budget(images_of, push, registry, docker):
    """Also if the container is nobody's job."""
    name = push(f"{registry}/budget/used:{os.getpid()}", logged_in=False)
    images = await images_of(registry, budget=0)
    held = await images.resolve(Wanted(name), stall_s=60, report=lambda _: None)
    container = docker("create", "--network", "none", name, "true")
    await images.let_go(held)
    assert has(name)
    docker("rm", container)
    await images.tidy()
    assert not has(name)


@pytest.fixture
def private_in_job(push, closed_registry) -> tuple[str, str]:
    return push(f"{closed_registry}/team/job:{os.getpid()}"), closed_registry


def files_with(word: str, directory: Path) -> list[str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if word.encode() in path.read_bytes()]


async def test_a_job_brings_the_credentials_of_its_image_and_leaves_none(
    agent_with, claim_of, private_in_job, settings
):
    """The agent pulls with what the claim holds, and no file of it has the password; others are refused."""
    name, registry = private_in_job
    fields = {"docker_image": name, "args": ["true"]}
    async with agent_with(allow_egress=(registry,)) as agent:
        mine = claim_of(**fields).model_copy(update={"owner": "alice", "image_login": ALICE})
        assert (await agent.do(mine)).outcome.outcome.kind == "succeeded"
        theirs = claim_of(**fields).model_copy(update={"owner": "mallory"})
        assert (await agent.do(theirs)).outcome.outcome.reason is Reason.IMAGE_REFUSED
        assert files_with(PASSWORD, settings.data) == []
