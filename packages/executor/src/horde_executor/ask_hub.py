"""Asks a hub what is in a repository: `python -m horde_executor.ask_hub`, a process that may be killed any time.

It reads one question as JSON from standard input and prints one answer. Everything of the hub's client library
stays in here: its cache, its ambient token, its telemetry and its way of storing files are all unused. Wherever
the library connects to is judged at that moment, by a hook below it that no code in Python can go around (its
transfer library that is not Python is switched off by the environment that `hub` gives).
"""

import ctypes
import json
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
from huggingface_hub import HfApi, RepoFile, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from horde_executor.egress import Egress

MAX_FILES = 100_000
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_UNAUTHORIZED, _SERVER_ERROR, _LATER = 401, 500, (408, 425, 429)


class Shut(BaseException):
    """A connection that may not be made. `why` follows "is"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def main() -> None:
    """Answer one question."""
    question: dict[str, Any] = json.load(sys.stdin)
    _end_with(question["parent"])
    _watch_connections(Egress.parse(question["egress"]))
    verify = ssl.create_default_context(cafile=question["ca_file"])
    set_client_factory(lambda: _Client(question["timeout_s"], verify=verify))
    json.dump(_answer(question), sys.stdout)


def _end_with(parent: int) -> None:
    """Be killed when the agent dies, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the agent died")


def _watch_connections(egress: Egress) -> None:
    asked = threading.local()

    def judge(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":  # for which name the next connection of this thread is
            asked.host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        elif event == "socket.connect" and args[0].type != socket.SOCK_DGRAM:  # a datagram socket sends nothing
            if args[0].family not in (socket.AF_INET, socket.AF_INET6):
                raise Shut("no address of the internet")
            address, port = args[1][:2]
            why = egress.refusal(address, port, str(asked.host).lower())
            if why is not None:
                raise Shut(f"{why}, at {asked.host}:{port}")

    sys.addaudithook(judge)


class _Client(httpx2.Client):
    """The library's connection: without the environment's proxies, and never without a time-out."""

    def __init__(self, timeout_s: Mapping[str, float], *, verify: ssl.SSLContext) -> None:
        super().__init__(verify=verify, trust_env=False, follow_redirects=True)
        self._timeout = httpx2.Timeout(timeout_s["stall"], connect=timeout_s["connect"])

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        request.extensions["timeout"] = self._timeout.as_dict()  # some of the library's calls ask for none
        return super().send(request, **options)


# The first that fits: some of them are special cases of others.
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (GatedRepoError, "gated"),
    (RepositoryNotFoundError, "no_repository"),
    (RevisionNotFoundError, "no_revision"),
    (DisabledRepoError, "disabled"),
    (HFValidationError, "bad_name"),
)


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """The files, or the kind of failure and what there is to say about it."""
    try:
        return {"files": list(_files(question))}
    except Shut as shut:
        return {"failed": "shut", "detail": shut.why}
    except Exception as error:
        kind = next((kind for known, kind in _KINDS if isinstance(error, known)), None)
        if kind is not None:
            return {"failed": kind, "detail": str(error)}
        if isinstance(error, HfHubHTTPError):
            return _of_status(error.response.status_code)
        if isinstance(error, httpx2.HTTPError):
            return {"failed": "unreachable", "detail": str(error) or type(error).__name__}
        if isinstance(error, (ValueError, TypeError, LookupError, AttributeError)):
            return {"failed": "refused", "detail": f"its answer cannot be used ({error!r})"}
        raise


def _of_status(status: int) -> dict[str, Any]:
    if status == _UNAUTHORIZED:
        return {"failed": "bad_token"}
    passing = status >= _SERVER_ERROR or status in _LATER
    return {"failed": "unreachable" if passing else "refused", "detail": f"the hub answered {status}"}


def _files(question: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The files that match, at the commit that the revision means now; the right to read them is proven."""
    repository = {"repo_id": question["repo_id"], "repo_type": question["repo_type"]}
    endpoint, token = question["endpoint"], question["token"] or False
    api = HfApi(endpoint=endpoint, token=token)
    commit = api.repo_info(**repository, revision=question["revision"]).sha
    tree = api.list_repo_tree(**repository, revision=commit, recursive=True)
    every = (entry for entry in tree if isinstance(entry, RepoFile))
    matching = filter_repo_objects(every, allow_patterns=question["allow_patterns"], key=lambda entry: entry.path)
    for index, entry in enumerate(matching):
        if index == MAX_FILES:
            raise ValueError("too many files")
        url = hf_hub_url(**repository, filename=entry.path, revision=commit, endpoint=endpoint)
        if index == 0:  # a tree can be listed by those who may not read it
            api.get_hf_file_metadata(url=url)
        yield {
            "path": entry.path,
            "size": entry.lfs.size if entry.lfs else entry.size,
            "url": url,
            "sha256": entry.lfs.sha256 if entry.lfs else None,
            "git_sha1": None if entry.lfs else entry.blob_id,
        }


if __name__ == "__main__":
    main()
