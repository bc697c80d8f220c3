"""As much of HTTP/1.1 as the simulated exchange needs: bounded requests in, JSON answers out."""

from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from wick.errors import WickError

MAX_HEAD, MAX_BODY = 64 * 1024, 64 * 1024  # a head may name 1,024 streams


class HttpError(WickError):
    """Bytes that are no request, or one that is too large; answered with `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpRequest(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    raw: bytes  # the head as received, for the WebSocket handshake

    @property
    def upgrades(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"


class RequestReader:
    """Reads one request after the other from a socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.buffer = b""  # what was received and belongs to no request yet

    def next(self) -> HttpRequest | None:
        """The next request; None when the client has left. HttpError, OSError (and its TimeoutError)."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if len(self.buffer) > MAX_HEAD:
                raise HttpError(431, "the head is too large")
            if not self._receive():
                return None
        raw, self.buffer = self.buffer[: end + 4], self.buffer[end + 4 :]
        method, target, headers = _parsed_head(raw)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise HttpError(400, "Content-Length is no number")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise HttpError(413, "the body is too large")
        while len(self.buffer) < int(length):
            if not self._receive():
                return None
        body, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        url = urlsplit(target)
        return HttpRequest(method, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body, raw)

    def _receive(self) -> bool:
        data = self._sock.recv(65536)
        self.buffer += data
        return bool(data)


def _parsed_head(raw: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise HttpError(400, "that is no HTTP/1.1 request")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise HttpError(400, "a header line is malformed")
        headers[name.lower()] = value.strip()
    return words[0], words[1], headers


def response(status: int, body: bytes, *, keep_alive: bool, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_phrase(status)}",
        "Content-Type: application/json;charset=UTF-8",
        f"Content-Length: {len(body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"  # 418 and friends have one, what a fault asks for may not
