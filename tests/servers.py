"""Real servers that take uploads, on loopback: nginx, and SeaweedFS with its S3 interface."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WEED = str(Path(sys.executable).with_name("weed"))
GRPC = 10_000  # SeaweedFS adds this to a port for its other protocol

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    root {root};
    upstream first_fails {{ server 127.0.0.1:{sick}; server 127.0.0.1:{port}; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        dav_methods PUT;
        create_full_put_path on;
        dav_access user:rw group:rw all:rw;
        location /refused/ {{ return 403 "not with this signature"; }}
        location /small/ {{ client_max_body_size 100k; dav_methods PUT; }}
        location /moved/ {{ return 307 http://127.0.0.1:{port}/elsewhere; }}
        location /sick/ {{ return 503; }}
        location /flaky/ {{ proxy_pass http://first_fails/; proxy_next_upstream off; }}
    }}
    server {{ listen 127.0.0.1:{sick}; client_max_body_size 0; location / {{ return 500; }} }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A server that stores what is PUT below `root`, and at /flaky/ only every second time."""

    address: str
    root: Path
    log: Path

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def statuses(self, path: str, count: int) -> list[int]:
        """What it answered to requests for a path. Written a moment after the answer, so `count` are awaited."""
        deadline = time.monotonic() + 10
        while True:
            lines = [line.split('"') for line in self.log.read_text().splitlines()]
            found = [int(line[2].split()[0]) for line in lines if line[1].split()[1].split("?")[0] == path]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.01)


@contextlib.contextmanager
def nginx(place: Path) -> Iterator[Nginx]:
    """An nginx of its own in this directory."""
    root = place / "root"
    root.mkdir(parents=True)
    place.chmod(0o755)
    port, sick = free_ports(2)
    config = place / "nginx.conf"
    config.write_text(_NGINX.format(place=place, root=root, port=port, sick=sick))
    with _running(["nginx", "-p", place, "-c", config], place / "output", port):
        yield Nginx(f"127.0.0.1:{port}", root, place / "access.log")


@dataclass(frozen=True)
class S3:
    """A bucket, and who may use it."""

    url: str
    address: str
    bucket: str
    key: str
    secret: str


@contextlib.contextmanager
def seaweed(place: Path) -> Iterator[S3]:
    """A SeaweedFS of its own. Ready after some seconds: its bucket then exists and takes files."""
    master, volume, filer, port = free_ports(4, apart=GRPC)
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": "AKIDTESTER0000001", "secretKey": "secret-of-the-tester"}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    config = place / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    command = [
        WEED, "server", f"-dir={place}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=4",
        "-master.volumeSizeLimitMB=64", "-s3", f"-s3.port={port}", f"-s3.config={config}", "-s3.port.iceberg=0",
    ]  # fmt: skip
    limits = {"GOMEMLIMIT": "300MiB", "GOGC": "50", "HOME": str(place)}
    with _running(command, place / "output", port, env={**os.environ, **limits}):
        credentials = identity["credentials"][0]
        yield S3(
            f"http://127.0.0.1:{port}",
            f"127.0.0.1:{port}",
            "results",
            credentials["accessKey"],
            credentials["secretKey"],
        )


def free_ports(count: int, apart: int = 0) -> list[int]:
    """Ports of loopback that nobody uses, nor the ports so far above them."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 32_000)
        try:
            for each in {port, port + apart}:
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


@contextlib.contextmanager
def _running(
    command: list[str | Path], output: Path, port: int, env: dict[str, str] | None = None
) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, output.read_text(errors="replace")
            assert time.monotonic() < deadline, output.read_text(errors="replace")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                break
            time.sleep(0.02)
        yield
    finally:
        process.kill()  # nothing of theirs has to last
        process.wait()
