"""The frames of a flush: encoded messages in, one WebSocket frame out. Pure.

A frame's form: msgpack or JSON, compressed or not.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from wick.wire.session import Kind
from wick.wire.websocket import BINARY, FIN, TEXT, Deflater, frame

FORMS: Final = 4
_FIXED: Final = 14  # messages: with the kind as many as msgpack's shortest array header can count
_LONG: Final = Struct(">BHB")
_BATCH: Final = [b"", b"", *(bytes((0x91 + count, Kind.BATCH)) for count in range(2, _FIXED + 1))]
_SHORT: Final = tuple(tuple(bytes((FIN | opcode, size)) for size in range(126)) for opcode in (BINARY, TEXT))


def form_of(json: bool, deflate: bool) -> int:
    return json + 2 * deflate


def is_json(form: int) -> bool:
    return bool(form & 1)


def batch(parts: Sequence[bytes], count: int, json: bool) -> bytes:
    """One WebSocket message of `count` messages in `parts` (each of one or more, in JSON with commas between them)."""
    if count == 1:
        return parts[0]
    if json:
        return b"[%d,%b]" % (Kind.BATCH, b",".join(parts))
    if count <= _FIXED:
        return _BATCH[count] + b"".join(parts)
    if count < 1 << 16:
        return _LONG.pack(0xDC, count + 1, Kind.BATCH) + b"".join(parts)
    return b"\xdd" + (count + 1).to_bytes(4, "big") + bytes((Kind.BATCH,)) + b"".join(parts)


def joined(parts: Sequence[bytes], json: bool) -> bytes:
    """Several messages as one part."""
    return (b"," if json else b"").join(parts)


class Framer:
    """Makes frames; one a process."""

    __slots__ = ("_deflater",)

    def __init__(self) -> None:
        self._deflater = Deflater()

    def frame(self, parts: Sequence[bytes], count: int, form: int) -> bytes:
        payload = batch(parts, count, bool(form & 1))
        if form > 1:
            return self._deflater.frame(payload, TEXT if form & 1 else BINARY)
        if len(payload) < 126:
            return _SHORT[form][len(payload)] + payload
        return frame(payload, TEXT if form & 1 else BINARY)
