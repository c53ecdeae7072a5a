"""A Hugging Face hub on loopback, as far as the real `huggingface_hub` and the executor talk to one.

Repositories are dicts of files; a commit is named by a hash of its content. Files of `LFS_FROM` bytes and more are
kept, as on the real hub, on another host: here the same address with another port, to which a 302 leads.
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 1024
PAGE = 1000
_API = re.compile(r"/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
_RESOLVE = re.compile(r"/(?:(dataset|space)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """What is at one place of the hub. Without `tokens` it is public; `gated` ones are listed to everybody."""

    tokens: set[str] | None = None
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What was asked of the hub or of its store of large files."""

    method: str
    path: str
    token: str | None
    store: bool


class HubServer:
    """A hub that serves while its `serving` block runs."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.sent: list[bool] = []
        self.instead: dict[bytes, bytes] = {}
        """What is sent instead of a content."""
        self.hold: threading.Event | None = None
        """While it is there and not set, the store sends half of a file and then waits for it."""
        self.asked = threading.Semaphore(0)
        self.silent = False
        """Whether the hub answers nothing."""
        self.over = threading.Event()
        self.port = self.store_port = 0

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        kind: str = "model",
        branch: str = "main",
        tokens: set[str] | None = None,
        gated: bool = False,
    ) -> str:
        """Commit files to a branch; returns the commit."""
        hashes = sorted((path, hashlib.sha256(content).hexdigest()) for path, content in files.items())
        commit = hashlib.sha1(json.dumps([branch, hashes]).encode()).hexdigest()
        repository = self.repositories.setdefault((kind, repo_id), Repository())
        repository.tokens, repository.gated = tokens, gated
        repository.refs[branch] = commit
        repository.commits[commit] = dict(files)
        self.blobs |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        return commit

    def downloads(self, *, store: bool = True) -> int:
        """How many files were sent, by the store of large files or by the hub itself."""
        return self.sent.count(store)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def addresses(self) -> list[str]:
        """What an operator has to allow."""
        return [f"127.0.0.1:{self.port}", f"127.0.0.1:{self.store_port}"]

    @contextlib.contextmanager
    def serving(self) -> Iterator["HubServer"]:
        with contextlib.ExitStack() as stack:
            ports = []
            for store in (False, True):
                server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, store=store))
                server.daemon_threads = True
                stack.enter_context(server)
                thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
                thread.start()
                stack.callback(thread.join)
                stack.callback(server.shutdown)
                ports.append(server.server_port)
            self.port, self.store_port = ports
            stack.callback(lambda: self.hold and self.hold.set())
            stack.callback(self.over.set)
            yield self


def _handler(hub: HubServer, *, store: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub, Handler.store = hub, store
    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    store: bool

    def log_message(self, *_: object) -> None:
        """Tests say what matters."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        bearer = self.headers.get("Authorization")
        self.token = bearer.removeprefix("Bearer ") if bearer else None
        self.hub.requests.append(Request(self.command, path, self.token, self.store))
        if self.hub.silent:
            self.hub.over.wait(30)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.store:
                self.send_file(self.hub.blobs[path.rpartition("/")[2]], {})
            elif found := _API.fullmatch(path):
                self.describe(*map(_unquoted, found.groups()))
            elif found := _RESOLVE.fullmatch(path):
                self.resolve(*map(_unquoted, found.groups()))
            else:
                self.refuse(404, "NotFound")

    def describe(self, kind: str, repo_id: str, what: str | None, revision: str | None) -> None:
        found = self.commit_of(kind, repo_id, revision, listing=True)
        if found is None:
            return None
        commit, files = found
        if what != "tree":
            siblings = [{"rfilename": path} for path in files]
            return self.reply(200, {"id": repo_id, "sha": commit, "siblings": siblings, "tags": []})
        offset = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        page = [_entry(path, content) for path, content in sorted(files.items())][offset : offset + PAGE]
        more = {}
        if offset + PAGE < len(files):
            more["Link"] = (
                f'<{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={offset + PAGE}>; rel="next"'
            )
        return self.reply(200, page, more)

    def resolve(self, kind: str | None, repo_id: str, revision: str, path: str) -> None:
        found = self.commit_of(kind or "model", repo_id, revision, listing=False)
        if found is None:
            return None
        commit, files = found
        if path not in files:
            return self.refuse(404, "EntryNotFound")
        content = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_git(content)}"'}
        if len(content) < LFS_FROM:
            return self.send_file(content, headers)
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return self.reply(302, "", headers | {"Location": f"http://127.0.0.1:{self.hub.store_port}/{digest}"})

    def commit_of(
        self, kind: str, repo_id: str, revision: str | None, *, listing: bool
    ) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get((kind, repo_id))
        known = repository is not None and repository.tokens is not None and self.token in repository.tokens
        if self.token is not None and self.token.startswith("hf_invalid"):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if repository is None or (repository.tokens is not None and not repository.gated and not known):
            return self.refuse(404 if self.token else 401, "RepoNotFound")
        if repository.gated and not known and not listing:
            return self.refuse(403 if self.token else 401, "GatedRepo")
        commit = repository.refs.get(revision or "main", revision or "")
        if commit not in repository.commits:
            return self.refuse(404, "RevisionNotFound")
        return commit, repository.commits[commit]

    def refuse(self, status: int, code: str, message: str = "no") -> None:
        self.reply(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def reply(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_head(status, len(body), {"Content-Type": "application/json", **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def send_file(self, content: bytes, headers: Mapping[str, str]) -> None:
        content = self.hub.instead.get(content, content)
        self.send_head(200, len(content), headers)
        if self.command != "GET":
            return
        self.hub.sent.append(self.store)
        if self.store and self.hub.hold is not None:
            self.wfile.write(content[: len(content) // 2])
            self.hub.asked.release()
            self.hub.hold.wait(30)
            content = content[len(content) // 2 :]
        self.wfile.write(content)

    def send_head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _unquoted(text: str | None) -> str | None:
    return text and unquote(text)


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": _git(content)}
    if len(content) >= LFS_FROM:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
