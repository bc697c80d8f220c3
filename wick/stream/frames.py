"""The frames of a flush: encoded messages in, one WebSocket frame out. Pure.

A frame's form: msgpack or JSON, compressed or not.
"""

from collections.abc import Sequence
from typing import Final

from wick.wire.session import Kind
from wick.wire.websocket import BINARY, TEXT, Deflater, frame

FORMS: Final = 4
_FIXED: Final = 15  # elements that msgpack's shortest array header can count
_BETWEEN: Final = (b"", b",")  # messages of a batch, in msgpack and in JSON
_END: Final = b"]"
_HEADS: Final = 8192  # that are kept
_COUNTS: Final = 32  # bits of a number of messages


def form_of(json: bool, deflate: bool) -> int:
    return json + 2 * deflate


def is_json(form: int) -> bool:
    return bool(form & 1)


def joined(parts: Sequence[bytes], json: bool) -> bytes:
    """Several messages as they stand in a batch."""
    return _BETWEEN[json].join(parts)


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


class _Heads(dict[int, bytes]):
    """What comes before joined messages in a frame, by `bytes << _COUNTS | count`: a look into a dict costs half of
    an lru_cache's."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def __missing__(self, key: int) -> bytes:
        size, count = key >> _COUNTS, key & (1 << _COUNTS) - 1
        first = opening(count, self._json)
        total = len(first) + size + (self._json and count > 1)
        if len(self) >= _HEADS:
            self.clear()
        head = self[key] = frame(b" " * total, TEXT if self._json else BINARY)[:-total] + first
        return head


class Framer:
    """Makes frames; one a process."""

    __slots__ = ("_deflater", "_heads")

    def __init__(self) -> None:
        self._deflater = Deflater()
        self._heads = (_Heads(json=False), _Heads(json=True))

    def frame(self, parts: Sequence[bytes], count: int, form: int) -> bytes:
        """One frame of `count` messages, of which each part has one or more."""
        if form > 1:
            json = is_json(form)
            return self._deflater.frame(batch(parts, count, json), TEXT if json else BINARY)
        body = _BETWEEN[form].join(parts)
        framed = self._heads[form][len(body) << _COUNTS | count] + body
        return framed + _END if form and count > 1 else framed
