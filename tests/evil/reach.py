"""Try URLs in a network of its own where every address answers, and tell which were really connected to.

Run in new network and mount namespaces, with the path of a scratch file and the direction. URLs come as JSON on
the standard input; for each, one object goes out as a line: what was said, and where packets went.
"""

import asyncio
import io
import ipaddress
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from evil.urls import NAMES, filled
from horde_core.uploads import SingleFilePut
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import fetch
from horde_executor.patience import Patience
from horde_executor.room import Room
from horde_executor.send import send

PORT = 8081
OPEN = ("127.0.0.2", 8082)
"""The server that a job may reach; it redirects to whatever its path says, percent-encoded."""
PATIENCE = Patience(connect_s=2, stall_s=2, tries=1)
_NAME_SERVER = ("127.0.0.1", 53)
_MARK = ("127.0.0.9", 9)
_EVERYWHERE = (PORT, 80)


def set_up(scratch: Path) -> None:
    """Every address of both versions is this machine, and names are resolved by us."""
    for words in ("link set lo up", "route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    scratch.write_text(f"nameserver {_NAME_SERVER[0]}\noptions attempts:1 timeout:1\n")
    subprocess.run(["mount", "--bind", scratch, Path("/etc/resolv.conf").resolve()], check=True)


class Watch:
    """Notes every first packet of a connection, and every datagram that is no question to the name server."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.bind(("lo", 0))
        self._seen: set[tuple[str, int]] = set()
        self._marks: queue.Queue[int] = queue.Queue()
        self._marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        threading.Thread(target=self._watch, daemon=True).start()

    def seen(self) -> list[tuple[str, int]]:
        """What was noted since the last time."""
        self._marker.sendto(b"mark", _MARK)
        self._marks.get(timeout=10)
        found, self._seen = self._seen, set()
        while not self._marks.empty():
            self._marks.get_nowait()
        return sorted(found - {OPEN})

    def _watch(self) -> None:
        while True:
            packet = self._socket.recv(65536)
            if packet[0] >> 4 == 4:
                protocol, there, body = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
            else:
                protocol, there, body = packet[6], packet[24:40], packet[40:]
            place = (str(ipaddress.ip_address(there)), struct.unpack_from(">H", body, 2)[0])
            if place == _MARK:
                self._marks.put(1)
            elif _is_first(protocol, body) and place != _NAME_SERVER:
                self._seen.add(place)


def _is_first(protocol: int, body: bytes) -> bool:
    """Whether a packet begins something: a SYN without ACK, or a datagram that is no answer of the name server."""
    if protocol == socket.IPPROTO_TCP:
        return body[13] & 0x12 == 0x02
    return protocol == socket.IPPROTO_UDP and body[:2] != b"\0\x35"


def answer_names(listener: socket.socket) -> None:
    """A name server that knows `NAMES` and nothing else."""
    while True:
        question, client = listener.recvfrom(512)
        end = question.index(0, 12)
        name, at = [], 12
        while at < end:
            name.append(question[at + 1 : at + 1 + question[at]])
            at += 1 + question[at]
        kind = struct.unpack_from(">H", question, end + 1)[0]
        known = NAMES.get(b".".join(name).decode().lower())
        found = [ipaddress.ip_address(address) for address in known or ()]
        records = [a.packed for a in found if (a.version, kind) in ((4, 1), (6, 28))]
        code = b"\x81\x80" if known else b"\x81\x83"
        reply = question[:2] + code + struct.pack(">4H", 1, len(records), 0, 0) + question[12 : end + 5]
        for record in records:
            reply += b"\xc0\x0c" + struct.pack(">HHLH", kind, 1, 0, len(record)) + record
        listener.sendto(reply, client)


def serve(listener: socket.socket) -> None:
    """Answer every request: with a redirect if its path says where to, else with two bytes; 418 to secrets."""
    while True:
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(65536)
            path = (*request.split(b" ", 2), b"", b"")[1]
            if any(word in request.lower() for word in (b"\nauthorization:", b"\nproxy-", b"\ncookie:")):
                connection.sendall(b"HTTP/1.1 418 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif path.startswith(b"/to"):
                head = b"302 Found\r\nLocation: " + bytes.fromhex(path.partition(b"?")[2].decode())
                connection.sendall(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif listener.getsockname()[:2] == OPEN:
                connection.sendall(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


async def download(url: str, egress: Egress) -> str | None:
    """Why a URL was not fetched; None if it was."""
    try:
        await fetch(url, io.BytesIO(), name="/volume/x", egress=egress, room=Room(100), patience=PATIENCE)
    except JobFailure as failure:
        return f"{failure.reason}: {failure.message}"
    return None


async def upload(url: str, egress: Egress) -> str | None:
    """Why nothing was sent to a URL; None if it was."""
    output = SingleFilePut.model_construct(output_upload_type="single_file_put", url=url, relative_path="x")
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.flush()
        sent = await send(output, file.fileno(), 1, egress=egress, patience=PATIENCE)
    return f"upload_failed: {sent.problem}" if sent.problem else None


def redirecting(url: str) -> str:
    """The URL of the server that is open, from where one is sent on to this one."""
    location = url.encode(errors="surrogateescape").replace(b"\r", b"").replace(b"\n", b"")
    return f"http://{OPEN[0]}:{OPEN[1]}/to?{location.hex()}"


DIRECTIONS: dict[str, Callable[[str, Egress], Awaitable[str | None]]] = {
    "download": download,
    "download redirected": lambda url, egress: download(redirecting(url), egress),
    "upload": upload,
    "upload redirected": lambda url, egress: upload(redirecting(url), egress),
}


async def main() -> None:
    scratch, direction = Path(sys.argv[1]), DIRECTIONS[sys.argv[2]]
    given = json.load(sys.stdin)
    set_up(scratch)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(_NAME_SERVER)
    threading.Thread(target=answer_names, args=(names,), daemon=True).start()
    for port in _EVERYWHERE:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    threading.Thread(target=serve, args=(socket.create_server(OPEN),), daemon=True).start()
    watch = Watch()
    egress = Egress.parse([f"{OPEN[0]}:{OPEN[1]}", *given["allowed"]])
    for url in given["urls"]:
        said = await direction(filled(url, PORT), egress)
        print(json.dumps({"url": url, "said": said, "connected": watch.seen()}), flush=True)
    os._exit(0)  # libcurl may still wait for a name, in threads that nobody waits for


if __name__ == "__main__":
    asyncio.run(main())
