"""The bytes of a saved shard. Pure.

HEAD: version, CRC32 of all that follows it, bytes of the blobs. The blobs: arrays, one behind the other, which stay in
their places while what they tell of the past stays as it is. Then msgpack of the blobs' lengths, and of the rest.

Another version is refused, not converted: the tick log has what the state was made of. VERSION changes with whatever
the state consists of (tests/stream/test_state.py says when).
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any
from zlib import crc32

from wick.errors import StoreError, WireError
from wick.wire import codec

VERSION = 4
_HEAD = Struct("<IIQ")
_COVERED_AT = 8  # what the CRC covers begins here


def pack(state: object, blobs: Sequence[bytes]) -> bytes:
    lengths = [len(blob) for blob in blobs]
    body = b"".join([sum(lengths).to_bytes(8, "little"), *blobs, codec.pack([lengths, state])])
    return b"".join([VERSION.to_bytes(4, "little"), crc32(body).to_bytes(4, "little"), body])


def unpack(data: bytes | memoryview) -> tuple[Any, list[memoryview]]:
    """Raises StoreError, and nothing else, for bytes that `pack` of this version has not made."""
    if len(data) < _HEAD.size:
        raise StoreError(f"a saved shard is torn: it has {len(data)} bytes")
    version, crc, size = _HEAD.unpack_from(data)
    if version != VERSION:
        raise StoreError(f"a saved shard has version {version}, not {VERSION}")
    view = memoryview(data)
    if crc32(view[_COVERED_AT:]) != crc:
        raise StoreError(f"a saved shard is torn or damaged: its {len(data)} bytes fail their CRC")
    try:
        lengths, state = codec.unpack(view[_HEAD.size + size :])
        blobs, at = [], _HEAD.size
        for length in lengths:
            blobs.append(view[at : at + length])
            at += length
    except (WireError, TypeError, ValueError) as error:
        raise StoreError(f"a saved shard is not what it should be: {error}") from None
    return state, blobs
