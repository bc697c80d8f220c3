"""msgpack and JSON forms of messages whose integers have no limit. Pure.

msgpack: integers beyond 64 bits are ext type 1, big-endian two's complement. JSON: integers beyond 2^53 - 1,
which JavaScript cannot hold, are decimal strings; bytes (a candle's patterns) are arrays of small signed integers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import orjson

from wick.errors import WireError

BIG_INTEGER = 1
JSON_SAFE = 2**53 - 1
ARRAY_HEAD = 5


def _encode_big(value: object) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise TypeError(f"a message cannot hold {type(value).__name__}")


def _decode_ext(code: int, data: bytes) -> int:
    if code != BIG_INTEGER or not 1 <= len(data) <= 64:
        raise ValueError(f"unknown ext type {code} of {len(data)} bytes")
    return int.from_bytes(data, "big", signed=True)


def pack(message: object) -> bytes:
    data: bytes = msgpack.packb(message, default=_encode_big)
    return data


def joined(packed: Sequence[bytes]) -> bytes:
    """An array of messages that are packed already, behind ARRAY_HEAD bytes."""
    return b"".join([b"\xdd", len(packed).to_bytes(4, "big"), *packed])


class Packer:
    """`pack` for many small messages: it keeps its buffer, which takes as long to make as these to pack."""

    def __init__(self) -> None:
        self.pack: Callable[[object], bytes] = msgpack.Packer(default=_encode_big).pack


def unpack(data: bytes | memoryview) -> Any:
    """Raises WireError, and nothing else, for bytes that are no message."""
    try:
        return msgpack.unpackb(data, ext_hook=_decode_ext, strict_map_key=False)
    except Exception as error:  # msgpack raises a dozen kinds; all mean the same here
        raise WireError(f"not msgpack: {error or type(error).__name__}") from None


def _json_safe(value: Any) -> Any:
    if type(value) is int:
        return value if -JSON_SAFE <= value <= JSON_SAFE else str(value)
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    return value


def _signed(value: object) -> list[int]:
    if isinstance(value, bytes):
        return memoryview(value).cast("b").tolist()
    raise TypeError(f"a message cannot hold {type(value).__name__}")


def pack_json(message: object) -> bytes:
    try:
        return orjson.dumps(message, _signed, orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:  # an integer that JavaScript cannot hold: they are few
        return orjson.dumps(_json_safe(message), _signed)


def unpack_json(data: bytes | str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not JSON: {error}") from None
