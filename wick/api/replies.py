"""What every answer of the front over HTTP has in common: its forms, its errors, its headers."""

from typing import Any, Final

from wick.api.digest import digest
from wick.errors import WickError
from wick.wire.codec import pack_json
from wick.wire.http import Reply, Request

JSON: Final = "application/json"
CSV: Final = "text/csv; charset=utf-8"
MSGPACK: Final = "application/msgpack"
# Other names of a form that clients accept it by.
_ALIASES: Final = {MSGPACK: ("application/vnd.msgpack", "application/x-msgpack")}

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    # The chart library sets styles on its own elements, hence 'unsafe-inline' for styles only.
    (
        "Content-Security-Policy",
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
NO_STORE: Final = (("Cache-Control", "no-store"),)
MAX_ECHO: Final = 80  # characters of what was asked for that an error repeats

_WITH_STATUS: Final = {
    401: (("WWW-Authenticate", 'Bearer realm="wick"'),),
    429: (("Retry-After", "10"),),
    503: (("Retry-After", "2"),),
}

# A browser that took an answer for a page would find no tag in it.
_NO_TAGS: Final = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))


class RequestError(WickError):
    """A request that is refused: the field, the value that it had, what is valid."""

    def __init__(self, code: str, field: str, value: str, valid: str, status: int = 400, message: str = "") -> None:
        super().__init__(f"{field} = {value!r}: valid is {valid}")
        self.code, self.field, self.value, self.valid, self.status = code, field, value, valid, status
        self.message = message or (f"{value[:MAX_ECHO]!r} is not valid" if value else "it is missing")


def harmless_json(value: object) -> bytes:
    """JSON that can repeat what somebody sent: without a character of which HTML is made."""
    data = pack_json(value)
    for plain, escaped in _NO_TAGS:
        data = data.replace(plain, escaped)
    return data


def json_reply(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = NO_STORE) -> Reply:
    return Reply(status, JSON, pack_json(value), headers)


def error_headers(status: int) -> tuple[tuple[str, str], ...]:
    return (*NO_STORE, *_WITH_STATUS.get(status, ()))


def error_reply(error: RequestError) -> Reply:
    told = {
        "code": error.code[:40],
        "field": error.field[:40],
        "value": error.value[:MAX_ECHO],
        "message": error.message,
        "valid": error.valid,
    }
    return Reply(error.status, JSON, harmless_json({"error": told}), error_headers(error.status))


def etag(body: bytes) -> str:
    return f'"{digest(body).hex()}"'


def finished(reply: Reply, request: Request) -> Reply:
    """The reply with the headers that all have; 304 without its body where the client has it (RFC 9110, 13.1.2)."""
    headers = (*reply.headers, *SECURITY_HEADERS)
    tag = dict(reply.headers).get("ETag")
    if tag and reply.status == 200 and _has(request.headers.get("if-none-match", ""), tag):
        return reply._replace(status=304, body=b"", headers=headers)
    return reply._replace(headers=headers)


def _has(if_none_match: str, tag: str) -> bool:
    """Compared weakly, as the RFC wants it here: a proxy that compresses makes W/"…" of a tag."""
    tags = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in tags or tags == ["*"]


def accepted(accept: str, offered: tuple[str, ...]) -> str | None:
    """Which of the forms the client likes best (RFC 9110, 12.5.1); of equals the first. None: it likes none."""
    best, most = None, 0.0
    ranges = [_media_range(part) for part in accept.split(",")] if accept.strip() else [("*/*", 1.0)]
    for form in offered:
        names = (form.partition(";")[0], *_ALIASES.get(form, ()))
        quality = max(_quality(name, ranges) for name in names)
        if quality > most:
            best, most = form, quality
    return best


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = [part.strip().lower() for part in text.split(";")]
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return name, quality if quality == quality else 0.0


def _quality(name: str, ranges: list[tuple[str, float]]) -> float:
    """What the most specific range that the name is in says of it."""
    for pattern in (name, f"{name.partition('/')[0]}/*", "*/*"):
        found = [quality for one, quality in ranges if one == pattern]
        if found:
            return max(found)
    return 0.0
