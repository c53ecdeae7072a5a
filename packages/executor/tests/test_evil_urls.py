"""URLs that somebody means harm with, in a network where every address answers and every packet is seen."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import evil.urls
from evil.urls import URLS

TESTS = Path(evil.urls.__file__).parents[1]
DIRECTIONS = ("download", "download redirected", "upload", "upload redirected")
BEGINNINGS = {"download": "download_failed: /volume/x ", "upload": "upload_failed: /output/x "}
ELSEWHERE = ("to a URL that is of no use", "answered 404", "answered 302", "does not answer in HTTP")
"""Further ends of a redirected download: where it leads is read below the URL that it comes from."""


def tried(
    scratch: Path,
    direction: str,
    urls: Sequence[str],
    allowed: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """What came of each URL, by URL."""
    if shutil.which("ip") is None:
        pytest.skip("this machine has no iproute2")
    inside = ["unshare", "--net", "--mount"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        inside = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
            pytest.skip("this machine gives no namespaces to this user")
    done = subprocess.run(
        [*inside, sys.executable, "-m", "evil.reach", scratch, direction],
        input=json.dumps({"urls": list(urls), "allowed": list(allowed)}),
        capture_output=True,
        text=True,
        cwd=TESTS,
        env={**os.environ, **(env or {})},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {result["url"]: result for result in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module", params=DIRECTIONS)
def attempts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """All evil URLs, tried in one direction, with nothing open but the server that redirects."""
    scratch = tmp_path_factory.mktemp("urls") / "resolv.conf"
    return {"direction": request.param, **tried(scratch, request.param, [url for url, _ in URLS])}


@pytest.mark.parametrize(("url", "words"), URLS, ids=[ascii(url) for url, _ in URLS])
def test_no_url_leads_inside_and_each_is_refused_with_its_reason(
    attempts: dict[str, Any], url: str, words: str
) -> None:
    """Not one packet leaves for the place that is meant, and the job is told why."""
    result, (direction, _, redirected) = attempts[url], attempts["direction"].partition(" ")
    assert result["connected"] == []
    assert result["said"].startswith(BEGINNINGS[direction])
    if not redirected:
        assert words in result["said"]
    elif direction == "download":
        assert any(told in result["said"] for told in (words, *(w for _, w in URLS), *ELSEWHERE))
    else:
        assert "Uploads follow no redirect" in result["said"] or "does not answer in HTTP" in result["said"]


def test_the_watch_sees_what_is_let_through(tmp_path: Path) -> None:
    """What the operator opens is reached and seen, by address, name and redirect; a neighbour is not."""
    urls = [
        "http://127.0.0.1:{port}/",
        "http://169.254.169.254/",
        "http://private.test:{port}/",
        "http://10.0.0.2/",
    ]
    allowed = ["127.0.0.1:8081", "169.254.169.254:80", "private.test:8081"]
    for direction in ("download", "download redirected", "upload"):
        results = tried(tmp_path / "resolv.conf", direction, urls, allowed)
        assert [result["said"] for result in results.values()][:3] == [None] * 3
        assert [result["connected"] for result in results.values()] == [
            [["127.0.0.1", 8081]],
            [["169.254.169.254", 80]],
            [["10.0.0.1", 8081]],
            [],
        ]


def test_neither_proxies_nor_passwords_are_taken_from_the_executors_surroundings(tmp_path: Path) -> None:
    """A proxy would connect where nobody judges; a file of passwords belongs to the operator."""
    (tmp_path / ".netrc").write_text("default login operator password secret\n")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    env = {
        **dict.fromkeys(proxies, "http://127.0.0.3:8081"),
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / ".netrc"),
    }
    for direction in BEGINNINGS:
        results = tried(tmp_path / "resolv.conf", direction, ["http://127.0.0.1:{port}/"], ["127.0.0.1:8081"], env)
        (result,) = results.values()
        assert result["said"] is None
        assert result["connected"] == [["127.0.0.1", 8081]]
