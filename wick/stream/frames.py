"""The frames of a flush: encoded messages in, one WebSocket frame out. Pure.

A frame's form: msgpack or JSON, compressed or not.
"""

from collections.abc import Sequence
from typing import Final

from wick.wire.session import Kind
from wick.wire.websocket import BINARY, TEXT, Deflater, frame

FORMS: Final = 4
_FIXED: Final = 15  # elements that msgpack's shortest array header can count
_END: Final = b"]"
_HEADS: Final = 8192  # that are kept


def form_of(json: bool, deflate: bool) -> int:
    return json + 2 * deflate


def is_json(form: int) -> bool:
    return bool(form & 1)


def joined(parts: Sequence[bytes], json: bool) -> bytes:
    """Several messages as they stand in a batch. A part may be empty."""
    return b",".join(filter(None, parts)) if json else b"".join(parts)


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
    """One WebSocket message of `count` messages, of which each part has one or more, or none."""
    return opening(count, json) + joined(parts, json) + (_END if json and count > 1 else b"")


class _Heads(dict[tuple[int, int], bytes]):
    """What comes before joined messages in a frame of msgpack, by how many they are and their bytes."""

    def __missing__(self, key: tuple[int, int]) -> bytes:
        count, size = key
        first = opening(count, json=False)
        if len(self) >= _HEADS:
            self.clear()
        head = self[key] = frame(first + b" " * size, BINARY)[:-size]
        return head


class Framer:
    """Makes frames; one a process."""

    __slots__ = ("_deflater", "heads")

    def __init__(self) -> None:
        self._deflater = Deflater()
        self.heads = _Heads()

    def frame(self, parts: Sequence[bytes], count: int, form: int) -> bytes:
        """One frame of `count` messages, of which each part has one or more, or none."""
        if not form:
            body = b"".join(parts)
            return self.heads[count, len(body)] + body
        json = is_json(form)
        make = self._deflater.frame if form > 1 else frame
        return make(batch(parts, count, json), TEXT if json else BINARY)
