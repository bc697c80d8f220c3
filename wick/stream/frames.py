"""The frames of a flush: encoded messages in, one WebSocket frame out. Pure.

A frame's form: msgpack or JSON, compressed or not.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from wick.wire.session import Kind
from wick.wire.websocket import BINARY, TEXT, Deflater, frame

FORMS: Final = 4
_FIXED: Final = 15  # elements that msgpack's shortest array header can count
_END: Final = b"]"


def form_of(json: bool, deflate: bool) -> int:
    return json + 2 * deflate


def is_json(form: int) -> bool:
    return bool(form & 1)


def joined(parts: Sequence[bytes], json: bool) -> bytes:
    """Several messages as they stand in a batch."""
    return (b"," if json else b"").join(parts)


def opening(count: int, json: bool) -> bytes:
    """What comes before `count` joined messages in one WebSocket message (in JSON, a bracket follows them)."""
    if count == 1:
        return b""
    if json:
        return b"[%d," % Kind.BATCH
    size = count + 1
    if size <= _FIXED:
        return bytes((0x90 | size, Kind.BATCH))
    if size < 1 << 16:
        return b"\xdc" + size.to_bytes(2, "big") + bytes((Kind.BATCH,))
    return b"\xdd" + size.to_bytes(4, "big") + bytes((Kind.BATCH,))


def batch(parts: Sequence[bytes], count: int, json: bool) -> bytes:
    """One WebSocket message of `count` messages, of which each part has one or more."""
    return opening(count, json) + joined(parts, json) + (_END if json and count > 1 else b"")


@lru_cache(4096)
def _head(count: int, size: int, json: bool) -> bytes:
    """What comes before `count` joined messages of `size` bytes in a frame."""
    first = opening(count, json)
    total = len(first) + size + (json and count > 1)
    return frame(b" " * total, TEXT if json else BINARY)[:-total] + first


class Framer:
    """Makes frames; one a process."""

    __slots__ = ("_deflater",)

    def __init__(self) -> None:
        self._deflater = Deflater()

    def frame(self, parts: Sequence[bytes], count: int, form: int) -> bytes:
        """One frame of `count` messages, of which each part has one or more."""
        json = is_json(form)
        if form > 1:
            return self._deflater.frame(batch(parts, count, json), TEXT if json else BINARY)
        body = joined(parts, json)
        framed = _head(count, len(body), json) + body
        return framed + _END if json and count > 1 else framed
