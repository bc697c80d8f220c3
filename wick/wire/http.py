"""HTTP/1.1 as far as a front speaks it: the head of a GET or HEAD in, a whole reply out. Pure.

What a request may be is bounded here: no body, no folded lines, one Host. Everything else is refused with a Refusal,
which carries the reply; after it the connection is closed, because where the next request begins is uncertain.
"""

import re
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from wick.errors import WireError, shown

METHODS: Final = ("GET", "HEAD")
MAX_HEAD_BYTES: Final = 8192  # what nginx and Apache take for a line of it; ours need a tenth
MAX_QUERY_FIELDS: Final = 64

# RFC 9110, 5.6.2: a name is a token; 5.5: a value has no control characters but the tab. Only CR LF ends a line.
_HEAD: Final = re.compile(
    r"([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_TARGET: Final = re.compile(r"(?:https?://[^/?#]+)?(/[^?#]*)(?:\?([^#]*))?")  # RFC 9112, 3.2: absolute form as well
_PLAIN: Final = ("X-Content-Type-Options", "nosniff")  # a refusal may repeat what was sent
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Request(NamedTuple):
    """What was asked for. Repeated headers are joined by a comma (RFC 9110, 5.3)."""

    method: str
    path: str  # decoded, without the query
    query: dict[str, str]  # decoded; of a repeated name the last
    headers: dict[str, str]  # by names in lower case
    target: str  # as it was sent


class Reply(NamedTuple):
    """What is answered. The length, the date and whether the connection goes on are added when it is sent."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(WireError):
    """A request that is none: `reply` says why, and is the last thing on this connection."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.reply = Reply(status, "text/plain; charset=utf-8", f"{message}\n".encode(), (*headers, _PLAIN))


def parse_head(head: bytes) -> tuple[Request, bool]:
    """The request of a whole head, its empty line included, and whether the connection may go on after it."""
    found = _HEAD.fullmatch(head.decode("latin-1"))
    if found is None:
        raise Refusal(400, "the head of the request is not HTTP/1.1")
    method, target, minor, lines = found.groups()
    headers: dict[str, str] = {}
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip("\t ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if minor == "0":
        headers.pop("upgrade", None)  # RFC 9110, 7.8: such a one is ignored
    if method not in METHODS:
        raise Refusal(405, f"method: {method} is not valid; valid is {', '.join(METHODS)}", ("Allow", "GET, HEAD"))
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise Refusal(413, f"a {method} with a body is not valid; valid is one without")
    host = headers.get("host")
    if (host is None and minor == "1") or (host is not None and ("," in host or "/" in host or "@" in host)):
        raise Refusal(400, "Host: valid is one name")  # RFC 9112, 3.2
    path, query = _split(target)
    options = [option.strip() for option in headers.get("connection", "").lower().split(",")]
    goes_on = "close" not in options if minor == "1" else "keep-alive" in options  # RFC 9112, 9.3
    return Request(method, path, query, headers, target), goes_on


def _split(target: str) -> tuple[str, dict[str, str]]:
    found = _TARGET.fullmatch(target)
    if found is None:
        raise Refusal(400, f"target: {shown(target)} is not valid; valid is a path")
    path, query = found.group(1), found.group(2)
    try:
        path = unquote(path, errors="strict") if "%" in path else path
        fields = parse_qsl(query, True, errors="strict", max_num_fields=MAX_QUERY_FIELDS) if query else ()
    except ValueError:
        raise Refusal(400, f"target: valid is UTF-8, with at most {MAX_QUERY_FIELDS} fields") from None
    if _CONTROL.search(path):
        raise Refusal(400, "target: valid is a path without control characters")
    return path, dict(fields)


def reply_bytes(reply: Reply, date: str, *, goes_on: bool, head_only: bool = False) -> bytes:
    """The reply as it is sent. `date` is the Date header's value."""
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Date: {date}",
        f"Connection: {'keep-alive' if goes_on else 'close'}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    bodiless = reply.status in (204, 304)  # RFC 9110, 15.3.5 and 15.4.5
    if not bodiless:
        lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(reply.body)}"]
    if any(_CONTROL.search(line) for line in lines):
        raise ValueError("a header of a reply has a control character")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only or bodiless else head + reply.body
