import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

_Where: TypeAlias = tuple[int, int, int, tuple[str | bytes, int] | tuple[str | bytes, int, int, int]]

BUFFERSIZE: Final[int]
CAINFO: Final[int]
CONNECTTIMEOUT_MS: Final[int]
CUSTOMREQUEST: Final[int]
FRESH_CONNECT: Final[int]
HEADERFUNCTION: Final[int]
HTTPHEADER: Final[int]
HTTP_VERSION: Final[int]
INFILESIZE_LARGE: Final[int]
NETRC: Final[int]
NOSIGNAL: Final[int]
OPENSOCKETFUNCTION: Final[int]
PATH_AS_IS: Final[int]
PROTOCOLS: Final[int]
PROTO_HTTP: Final[int]
PROTO_HTTPS: Final[int]
PROXY: Final[int]
READFUNCTION: Final[int]
SEEKFUNCTION: Final[int]
UPLOAD: Final[int]
UPLOAD_BUFFERSIZE: Final[int]
URL: Final[int]
USERAGENT: Final[int]
WRITEFUNCTION: Final[int]
CURL_HTTP_VERSION_1_1: Final[int]
SOCKET_BAD: Final[int]
READFUNC_ABORT: Final[int]
SEEKFUNC_OK: Final[int]
SEEKFUNC_FAIL: Final[int]
E_COULDNT_CONNECT: Final[int]
E_COULDNT_RESOLVE_HOST: Final[int]
E_OPERATION_TIMEDOUT: Final[int]
E_PARTIAL_FILE: Final[int]
E_PEER_FAILED_VERIFICATION: Final[int]
E_SSL_CACERT_BADFILE: Final[int]
E_SSL_CONNECT_ERROR: Final[int]
E_UNSUPPORTED_PROTOCOL: Final[int]
E_URL_MALFORMAT: Final[int]
E_FTP_WEIRD_SERVER_REPLY: Final[int]
E_GOT_NOTHING: Final[int]

Option: TypeAlias = (
    str
    | int
    | Sequence[str | bytes]
    | Callable[[bytes], int | None]
    | Callable[[int], bytes | int]
    | Callable[[int, int], int]
    | Callable[[int, _Where], socket.socket | int]
)

class Curl:
    def setopt(self, option: int, value: Option, /) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...

class CurlMulti:
    def add_handle(self, handle: Curl, /) -> None: ...
    def remove_handle(self, handle: Curl, /) -> None: ...
    def perform(self) -> tuple[int, int]: ...
    def select(self, timeout: float, /) -> int: ...
    def info_read(self) -> tuple[int, list[Curl], list[tuple[Curl, int, str]]]: ...
    def close(self) -> None: ...
