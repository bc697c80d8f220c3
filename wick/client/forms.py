"""The two forms of the session's messages, as a client reads and writes them. Pure.

msgpack and the standard library's JSON are all that it takes. In JSON an integer that JavaScript cannot hold is a
decimal text and a row's patterns are an array of small integers: here both become what msgpack gives, so nobody else
needs to know which form a session speaks.
"""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

from wick.errors import WireError
from wick.wire.session import Kind

BIG_INTEGER: Final = 1  # msgpack's ext type of integers beyond 64 bits: big-endian two's complement
JSON_SAFE: Final = 2**53 - 1
Message = list[Any]


class Form(NamedTuple):
    """One of the two forms: what the WebSocket subprotocol is called, and how messages become data and come back."""

    subprotocol: str
    encode: Callable[[Message], bytes | str]
    decode: Callable[[bytes | str], Message]


def _big(code: int, data: bytes) -> int:
    if code != BIG_INTEGER or not 1 <= len(data) <= 64:
        raise ValueError(f"unknown ext type {code} of {len(data)} bytes")
    return int.from_bytes(data, "big", signed=True)


def _encode_msgpack(message: Message) -> bytes:
    data: bytes = msgpack.packb(message)
    return data


def _decode_msgpack(data: bytes | str) -> Message:
    if isinstance(data, str):
        raise WireError("a text frame in a session of binary ones")
    try:
        return _message(msgpack.unpackb(data, ext_hook=_big, strict_map_key=False))
    except Exception as error:  # msgpack raises a dozen kinds; all mean the same here
        raise WireError(f"not a message in msgpack: {error or type(error).__name__}") from None


def _encode_json(message: Message) -> str:
    return json.dumps(_safe(message), separators=(",", ":"))


def _decode_json(data: bytes | str) -> Message:
    try:
        return _native(_message(json.loads(data)))
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise WireError(f"not a message in JSON: {error}") from None


def _message(value: Any) -> Message:
    if type(value) is not list or not value:
        raise ValueError("valid is an array whose first element is its kind")
    return value


def _safe(value: Any) -> Any:
    if type(value) is list:
        return [_safe(item) for item in value]
    return str(value) if type(value) is int and abs(value) > JSON_SAFE else value


def _integer(value: Any) -> Any:
    return int(value) if type(value) is str else value


def _integers(values: list[Any]) -> list[Any]:
    return [int(value) if type(value) is str else value for value in values]


def _row(values: list[Any]) -> list[Any]:
    """A row has integers, floats and one array, its patterns; a trade has integers and a boolean."""
    return [
        int(value) if type(value) is str else bytes([one & 255 for one in value]) if type(value) is list else value
        for value in values
    ]


def _native(message: Message) -> Message:
    """In place: what stands for something that JSON does not have becomes what it stands for."""
    match message[0]:
        case Kind.BATCH:
            message[1:] = [_native(_message(one)) for one in message[1:]]
        case Kind.SNAPSHOT:
            message[2:4] = _integers(message[2:4])
            message[4] = [_integers(group) for group in message[4]]
            message[5] = [_row(row) for row in message[5]]
        case Kind.DIFF:
            message[2:4] = _integers(message[2:4])
            message[4] = _integers(message[4])
        case Kind.CLOSE:
            message[2], message[3] = _integer(message[2]), _row(message[3])
        case Kind.LIVE:
            message[2] = _row(message[2])
        case Kind.TRADES:
            message[2:7] = _integers(message[2:7])
            message[7] = [_row(trade) for trade in message[7]]
        case Kind.BOOK:
            message[2:4] = _integers(message[2:4])
    return message


MSGPACK: Final = Form("wick.v1.msgpack", _encode_msgpack, _decode_msgpack)
JSON: Final = Form("wick.v1.json", _encode_json, _decode_json)
FORMS: Final = {"msgpack": MSGPACK, "json": JSON}
