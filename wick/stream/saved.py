"""The bytes of a saved shard: version, CRC32 of all that follows, msgpack. Pure.

Another version is refused, not converted: the tick log has what the state was made of. VERSION changes with whatever
the state consists of (tests/stream/test_state.py says when).
"""

from struct import Struct
from typing import Any
from zlib import crc32

from wick.errors import StoreError, WireError
from wick.wire import codec

VERSION = 3
_HEAD = Struct("<II")  # version, crc


def pack(state: object) -> bytes:
    body = codec.pack(state)
    return _HEAD.pack(VERSION, crc32(body)) + body


def unpack(data: bytes | memoryview) -> Any:
    """Raises StoreError, and nothing else, for bytes that `pack` of this version has not made."""
    if len(data) < _HEAD.size:
        raise StoreError(f"a saved shard is torn: it has {len(data)} bytes")
    version, crc = _HEAD.unpack_from(data)
    if version != VERSION:
        raise StoreError(f"a saved shard has version {version}, not {VERSION}")
    body = memoryview(data)[_HEAD.size :]
    if crc32(body) != crc:
        raise StoreError(f"a saved shard is torn or damaged: its {len(body)} bytes fail their CRC")
    try:
        return codec.unpack(body)
    except WireError as error:
        raise StoreError(f"a saved shard is {error}") from None
