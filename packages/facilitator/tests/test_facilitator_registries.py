"""Credentials for registries: sealed, shown to nobody, and given along with the jobs that need them."""

import json
import uuid
from urllib.parse import quote

import pytest

from horde_facilitator.home import Home

HOST = "registry.example.com:5000"
IMAGE = f"{HOST}/team/app"


async def put(user, registry: str = HOST, *, username: str = "team", password: str = "s3cret"):
    path = f"/api/v1/registries/{quote(registry, safe='')}/"
    return await user.send("PUT", path, json={"username": username, "password": password})


async def listed(user) -> list[tuple[str, str]]:
    answer = await user.get("/api/v1/registries/")
    assert answer.status_code == 200, answer.text
    return [(entry["registry"], entry["username"]) for entry in answer.json()["registries"]]


async def login_of(executor) -> dict | None:
    return (await executor.hold()).claim["image_login"]


async def test_credentials_go_along_with_the_owners_jobs_of_that_registry_alone(served, user, executor):
    """Not with his other images, not with other people's jobs; a repeated claim gets them again."""
    other = await served.user("other")
    assert (await put(user)).status_code == 204
    await user.create(docker_image=IMAGE)
    claim_id = uuid.uuid4().hex
    for _ in range(2):
        claim = (await executor.claim(claim_id=claim_id)).claim
        assert claim["image_login"] == {"username": "team", "password": "s3cret"}
    mine = claim["owner"]
    for image in ("team/app:1", "registry.example.com/team/app", f"registry.example.com:5001/{IMAGE[26:]}"):
        await user.create(docker_image=image)
        assert await login_of(executor) is None
    await other.create(docker_image=IMAGE)
    hold = await executor.hold()
    assert hold.claim["image_login"] is None
    assert hold.claim["owner"] != mine
    assert await listed(other) == []


async def test_a_registry_has_one_name(user, executor):
    """Docker's own is docker.io however it is called, upper case counts for nothing, and the last word holds."""
    assert (await put(user, "index.docker.io", username="first")).status_code == 204
    assert (await put(user, "registry-1.DOCKER.io", username="last")).status_code == 204
    assert (await put(user, "Registry.Example.COM:5000")).status_code == 204
    assert await listed(user) == [("docker.io", "last"), (HOST, "team")]
    for image in ("team/app", "docker.io/team/app:1", "index.docker.io/team/app"):
        await user.create(docker_image=image)
        assert (await login_of(executor))["username"] == "last"
    assert (await user.send("DELETE", "/api/v1/registries/docker.io/")).status_code == 204
    assert (await user.send("DELETE", "/api/v1/registries/docker.io/")).status_code == 404
    await user.create(docker_image="team/app")
    assert await login_of(executor) is None


async def test_a_password_is_in_no_file_and_no_reply(served, user, executor):
    """It is sealed, for its owner and registry; nothing that a user is answered repeats it."""
    password = f"password-{uuid.uuid4().hex}"
    said = [(await put(user, password=password)).text]
    job = await user.create(docker_image=IMAGE)
    assert (await login_of(executor))["password"] == password
    said += [(await user.get(path)).text for path in ("/api/v1/registries/", f"/api/v1/jobs/{job}/")]
    assert password not in "".join(said)
    files = [path for path in served.settings.data.rglob("*") if path.is_file()]
    assert [str(path) for path in files if password.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("registry", "body", "field"),
    [
        ("https://host", {"username": "a", "password": "b"}, "registry"),
        ("ho_st", {"username": "a", "password": "b"}, "registry"),
        (HOST, {"username": "", "password": "b"}, "username"),
        (HOST, {"username": "a", "password": ""}, "password"),
        (HOST, {"username": "a", "password": "private" * 3000}, "password"),
        (HOST, {"username": "a"}, "password"),
    ],
)
async def test_wrong_credentials_are_refused_by_field_and_not_repeated(user, registry, body, field):
    path = f"/api/v1/registries/{quote(registry, safe='')}/"
    answer = await user.send("PUT", path, json=body)
    if registry.startswith("https"):  # a slash makes it another path
        assert answer.status_code in (400, 404)
        return
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert "private" not in answer.text


async def test_an_owner_has_a_hundred_registries(user):
    """One more is refused; one that is there may be changed."""
    for number in range(100):
        assert (await put(user, f"r{number}.example.com")).status_code == 204
    assert (await put(user, "r7.example.com", username="new")).status_code == 204
    refused = await put(user, "more.example.com")
    assert (refused.status_code, "100 registries" in refused.text) == (400, True)


async def test_credentials_are_sealed_anew_and_a_lost_key_costs_only_them(serving, data, caplog):
    """After a rotation the old line is not needed; after a loss jobs go on without, and the log tells."""
    path = Home(data).sealing_keys
    async with serving() as served:
        await put(await served.user())
    first = path.read_text()
    path.write_text(f"{'5a' * 32}\n{first}")
    async with serving():
        pass
    path.write_text("5a" * 32)
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        await user.create(docker_image=IMAGE)
        assert await login_of(executor) == {"username": "team", "password": "s3cret"}
    path.unlink()
    path.touch(mode=0o600)
    async with serving() as served:
        user, executor = await served.user(), await served.executor()
        await user.create(docker_image=IMAGE)
        assert await login_of(executor) is None
        assert await listed(user) == [(HOST, "team")]
        assert (await put(user, password="again")).status_code == 204
        await user.create(docker_image=IMAGE)
        assert (await login_of(executor))["password"] == "again"
    assert any("the owner has to give it again" in record.getMessage() for record in caplog.records)
    assert "s3cret" not in json.dumps([record.getMessage() for record in caplog.records])
