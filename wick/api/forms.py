"""The forms of a long answer, written some items at a time: so it is never whole in memory but as its bytes."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgpack

from wick.api.replies import CSV, JSON, MSGPACK
from wick.wire.codec import pack, pack_json


class Form(NamedTuple):
    """`encode` writes some items; `join` makes the body of a head, the name of the list, how many items it has, and
    what was written of them."""

    encode: Callable[[list[Any]], bytes]
    join: Callable[[dict[str, Any], str, int, list[bytes]], bytes]


def _join_json(head: dict[str, Any], name: str, _count: int, parts: list[bytes]) -> bytes:
    return b'%s,"%s":[%s]}' % (pack_json(head)[:-1], name.encode(), b",".join(parts))


def _join_msgpack(head: dict[str, Any], name: str, count: int, parts: list[bytes]) -> bytes:
    packer = msgpack.Packer()
    start = [packer.pack_map_header(len(head) + 1), *(packer.pack(item) for pair in head.items() for item in pair)]
    return b"".join([*start, packer.pack(name), packer.pack_array_header(count), *parts])


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    """RFC 4180. No value has a comma, a quote or a line's end, so none is quoted."""
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{name}={number}" for name, number in value.items())
    return str(value)


def _join_csv(head: dict[str, Any], _name: str, _count: int, parts: list[bytes]) -> bytes:
    """A table: the head's columns, then the rows."""
    return b"".join([_lines([head["columns"]]), *parts])


FORMS: Final = {
    JSON: Form(lambda items: pack_json(items)[1:-1], _join_json),
    MSGPACK: Form(lambda items: b"".join(map(pack, items)), _join_msgpack),
    CSV: Form(_lines, _join_csv),
}
