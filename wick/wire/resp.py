"""RESP2, what Redis and Valkey speak: commands as bytes, replies out of bytes. Pure.

It is written out here because redis-py brings asyncio, ssl and 19 MB into a process that needs four commands.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from collections.abc import Iterable, Mapping
from typing import Final

from wick.errors import WireError, shown

BULK_BYTES: Final = 64 << 20  # of one value: a row of candles is some KB; a server's own bound is 512 MB
ARRAY_ITEMS: Final = 1 << 20
LINE_BYTES: Final = 64 << 10  # an error's text


class Refused(str):
    """The text of an error that the server answers with."""


Reply = str | int | bytes | None | list["Reply"]


def command(*parts: bytes) -> bytes:
    """A command with its arguments."""
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def mset(values: Mapping[bytes, bytes]) -> bytes:
    """All of them in one command, which the server applies as a whole."""
    head = b"*%d\r\n$4\r\nMSET\r\n" % (2 * len(values) + 1)
    return head + b"".join([b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(k), k, len(v), v) for k, v in values.items()])


def replies(data: bytes | bytearray, count: int) -> list[Reply] | None:
    """The `count` replies that `data` is; None while some of it is missing. WireError where it is none."""
    try:
        found, at = _replies(data, 0, count, nested=True)
    except _MissingError:
        return None
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes follow the last reply")
    return found


class _MissingError(Exception):
    """There is more to come."""


def _replies(data: bytes | bytearray, at: int, count: int, *, nested: bool) -> tuple[list[Reply], int]:
    found: list[Reply] = []
    for _ in range(count):
        reply, at = _reply(data, at, nested=nested)
        found.append(reply)
    return found, at


def _reply(data: bytes | bytearray, at: int, *, nested: bool) -> tuple[Reply, int]:
    end = data.find(b"\r\n", at, at + LINE_BYTES)
    if end < 0:
        if len(data) - at >= LINE_BYTES:
            raise WireError(f"a reply's first line is longer than {LINE_BYTES} bytes")
        raise _MissingError
    kind, text, after = data[at : at + 1], bytes(data[at + 1 : end]), end + 2
    if kind == b"+":
        return text.decode(errors="replace"), after
    if kind == b"-":
        return Refused(text.decode(errors="replace")), after
    if kind == b":":
        return _number(text, -(2**63), 2**63 - 1), after
    if kind == b"$":
        size = _number(text, -1, BULK_BYTES)
        if size < 0:
            return None, after
        if len(data) < after + size + 2:
            raise _MissingError
        if data[after + size : after + size + 2] != b"\r\n":
            raise WireError("a value is longer than its length says")
        return bytes(data[after : after + size]), after + size + 2
    if kind == b"*" and nested:
        return _replies(data, after, _number(text, 0, ARRAY_ITEMS), nested=False)
    raise WireError(f"a reply begins with {shown(bytes(kind))}")


def _number(text: bytes, least: int, most: int) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or not least <= int(text) <= most:
        raise WireError(f"a reply has the number {shown(text)}, not one from {least} to {most}")
    return int(text)


def refusals(found: Iterable[Reply]) -> list[Refused]:
    return [one for one in found if isinstance(one, Refused)]
