"""What the tests of inputs share: a cache that is filled from servers on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hub_server import HubServer


class Nginx:
    """A real web server for the directory `root`; what it was asked stands in its log."""

    def __init__(self, place: Path, root: Path, port: int) -> None:
        self.root = root
        self.port = port
        self._place = place

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def log(self) -> list[tuple[int, str, str]]:
        """Status, path with query, and what was asked for: "if-none-match", "range" or ""."""
        lines = (line.split("\t") for line in (self._place / "access").read_text().splitlines())
        return [
            (int(status), uri, "range" if part != "-" else "if-none-match" if known != "-" else "")
            for status, uri, part, known in lines
        ]

    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.log()]

    def kill_worker(self) -> None:
        """Break all connections, as a crash does; the server goes on with a new worker."""
        master = (self._place / "pid").read_text().strip()
        for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


CONFIG = """
daemon off; pid {place}/pid; error_log {place}/error; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    log_format told "$status\\t$request_uri\\t$http_range\\t$http_if_none_match";
    access_log {place}/access told;
    client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
    uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        if ($query_string ~ "X-Amz-Signature=expired") {{ return 403; }}
        location /slow/ {{ alias {root}/; limit_rate 2m; }}
        location /nameless/ {{ alias {root}/; etag off; limit_rate 2m; }}
        location /private/ {{ alias {root}/; add_header Cache-Control no-store; }}
        location = /hop1 {{ return 302 /hop2; }}
        location = /hop2 {{ return 307 http://127.0.0.1:{port}/target; }}
    }}
}}
"""


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    with tempfile.TemporaryDirectory(prefix="nginx-") as name, socket.create_server(("127.0.0.1", 0)) as probe:
        place, port = Path(name), probe.getsockname()[1]
        probe.close()
        (place / "root").mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        config = CONFIG.format(place=place, root=place / "root", port=port, user=user)
        (place / "nginx.conf").write_text(config)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        server = subprocess.Popen([program, "-e", place / "error", "-p", name, "-c", place / "nginx.conf"])
        try:
            while True:
                assert server.poll() is None, (place / "error").read_text()
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                    break
            yield Nginx(place, place / "root", port)
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def hub_server() -> Iterator[HubServer]:
    with HubServer().serving() as server:
        yield server
