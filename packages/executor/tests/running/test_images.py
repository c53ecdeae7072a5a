"""Images: real ones, from real registries on loopback, by the real engine."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from horde_core.images import parse_image
from horde_core.outcomes import Fault, Reason, Stage, fault_of
from horde_executor.engine import Image
from horde_executor.errors import JobFailure
from horde_executor.images import Images, Wanted, digest_of
from horde_executor.pulling import failure_of

LAYER = 3_000_000


@pytest.fixture
def pushed(registry, image, tmp_path, docker) -> Iterator[str]:
    """An image with a layer of 3 MB of its own that is in the registry and not on the machine."""
    name = f"{registry}/team/pushed:{os.getpid()}"
    (tmp_path / "bulk").write_bytes(os.urandom(LAYER))
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY bulk /bulk\n")
    docker("build", "-q", "-t", name, str(tmp_path), env=os.environ | {"DOCKER_BUILDKIT": "0"})
    docker("push", "-q", name)
    docker("rmi", "-f", docker("image", "inspect", "-f", "{{.Id}}", name))
    yield name
    subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


@pytest.fixture
async def images(images_of, registry, closed_registry, dead_port) -> Images:
    return await images_of(registry, closed_registry, f"127.0.0.1:{dead_port}", "nosuch.invalid:443")


async def failure(images, name, *, stall_s=60) -> JobFailure:
    with pytest.raises(JobFailure) as caught:
        await images.resolve(Wanted(name), stall_s=stall_s, report=lambda _: None)
    assert caught.value.stage is Stage.PREPARE
    assert name.partition("/")[0] in caught.value.message
    return caught.value


async def test_a_pull_tells_its_progress_and_yields_the_registrys_digest(images, pushed, docker):
    """Bytes done reach the layer's size, two waiters share one pull, and the digest runs the same image later."""
    reports = []
    both = [images.resolve(Wanted(pushed), stall_s=60, report=reports.append) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert first == second
    assert max(report.done for report in reports) >= LAYER
    assert reports[-1].total == reports[-1].done
    repository, _, digest = first.digest.partition("@")
    assert repository == pushed.rpartition(":")[0]
    assert digest.startswith("sha256:")

    docker("rmi", "-f", first.image.id)
    again = await images.resolve(Wanted(pushed, first.digest), stall_s=60, report=reports.append)
    assert again == type(first)(again.image, first.digest)
    assert again.image.id == first.image.id
    docker("rmi", "-f", first.image.id)


async def test_an_image_of_the_machine_is_used_as_it_is(images, image, docker):
    """A local image needs no registry, and its digest is its id."""
    resolved = await images.resolve(Wanted(image), stall_s=60, report=lambda _: None)
    assert resolved.digest == resolved.image.id == docker("image", "inspect", "-f", "{{.Id}}", image)
    assert await images.resolve(Wanted(image, resolved.digest), stall_s=60, report=lambda _: None) == resolved


async def test_an_image_that_only_another_machine_has_is_the_hordes_trouble(images, image):
    with pytest.raises(JobFailure) as caught:
        await images.resolve(Wanted(image, "sha256:" + "0" * 64), stall_s=60, report=lambda _: None)
    assert caught.value.reason is Reason.IMAGE_UNREACHABLE


async def test_what_the_registry_says_decides_whose_fault_it_is(images, registry, closed_registry, dead_port):
    """Missing images and refusals are the job's fault, registries that do not answer are the horde's."""
    assert (await failure(images, f"{registry}/team/app:nosuch")).reason is Reason.IMAGE_NOT_FOUND
    assert (await failure(images, f"{registry}/nosuch@sha256:{'0' * 64}")).reason is Reason.IMAGE_NOT_FOUND
    assert (await failure(images, f"{closed_registry}/team/app:1")).reason is Reason.IMAGE_REFUSED
    down = await failure(images, f"127.0.0.1:{dead_port}/team/app:1")
    assert down.reason is Reason.IMAGE_UNREACHABLE
    assert fault_of(down.reason) is Fault.HORDE
    assert (await failure(images, "nosuch.invalid/team/app:1")).reason is Reason.IMAGE_UNREACHABLE


async def test_a_registry_inside_the_machine_is_shut_unless_the_operator_opens_it(images_of, registry):
    shut = await images_of()
    refused = await failure(shut, f"{registry}/team/app:1")
    assert refused.reason is Reason.IMAGE_REFUSED
    assert f"--allow-egress {registry}" in refused.message


async def test_a_pull_without_progress_ends(images_of):
    """A registry that accepts the connection and says nothing is left after the stall limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept = []
        thread = threading.Thread(target=lambda: kept.append(silent.accept()), daemon=True)
        thread.start()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        images = await images_of(address)
        stalled = await failure(images, f"{address}/team/app:1", stall_s=0.5)
        assert stalled.reason is Reason.IMAGE_UNREACHABLE
        assert "no progress" in stalled.message
        thread.join(10)
        kept[0][0].close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "pull access denied for a, repository does not exist or may require 'docker login'",
            Reason.IMAGE_REFUSED,
        ),
        ("toomanyrequests: You have reached your pull rate limit", Reason.IMAGE_UNREACHABLE),
        ("no matching manifest for linux/amd64 in the manifest list entries", Reason.IMAGE_NOT_FOUND),
        ("Get https://r/v2/: net/http: TLS handshake timeout", Reason.IMAGE_UNREACHABLE),
        ("write /var/lib/docker/tmp/x: no space left on device", Reason.EXECUTOR_ERROR),
    ],
)
def test_other_registries_words_are_understood(text, reason):
    """Answers that no registry on this machine gives, in the words in which engines report them."""
    assert failure_of("a/b:1", text, None).reason is reason


def test_dockers_own_registry_is_known_by_all_its_names():
    """The digest of a library image is found although the engine shortens its name."""
    image = Image("sha256:" + "1" * 64, ("other@sha256:" + "2" * 64, "busybox@sha256:" + "3" * 64), (), (), ())
    for name in ("busybox:1", "library/busybox:1", "docker.io/library/busybox:1"):
        assert digest_of(image, parse_image(name)) == image.digests[1]
    assert digest_of(image, parse_image("else/busybox:1")) == image.id


def test_the_digest_that_was_asked_for_is_the_one_that_is_reported():
    """An image may have several in one repository; a copy of a job must show the same one."""
    digests = tuple(f"team/busybox@sha256:{64 * letter}" for letter in "ab")
    image = Image("sha256:id", digests, (), (), ())
    assert [digest_of(image, parse_image(name)) for name in digests] == list(digests)
