"""Rows of PostgreSQL's binary COPY format, read without numpy: the front reads with this."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

_BEGIN, _LENGTH = 19, Struct(">i")
_CODES = {2: "h", 4: "i", 8: "q"}
_NONE = b"\xff\xff\xff\xff"


def null(width: int) -> int:
    """The integer that a query gives for NULL, so that all rows are laid out alike: no value is so low."""
    return -(1 << (8 * width - 1))


def columns(data: bytes, widths: Sequence[int], blobs: int, newest_first: bool = False) -> list[Sequence[Any]]:
    """Of rows that have integers of those widths, NULL as `null` tells, and then `blobs` fields of any length (one at
    least), the last of them nearly always NULL; given oldest first."""
    layout = Struct(">2x" + "".join(f"4x{_CODES[width]}" for width in widths) + "i" * (blobs > 1))
    unpack, size, length_of = layout.unpack_from, layout.size, _LENGTH.unpack_from
    rows: list[tuple[int, ...]] = []
    rest: list[list[bytes | None]] = [[] for _ in range(blobs)]
    at, end, first = _BEGIN, len(data) - 2, min(blobs - 1, 1)
    while at < end:
        row = unpack(data, at)
        rows.append(row)
        at += size
        if blobs > 1:
            length = row[-1]
            if length > 0:
                rest[0].append(data[at : at + length])
                at += length
            else:
                rest[0].append(None if length else b"")
        for blob in range(first, blobs):
            if data[at : at + 4] == _NONE:
                rest[blob].append(None)
                at += 4
            else:
                (length,) = length_of(data, at)
                rest[blob].append(data[at + 4 : at + 4 + length])
                at += 4 + length
    if newest_first:
        rows.reverse()
        for column in rest:
            column.reverse()
    made: list[Sequence[Any]] = [() for _ in widths]
    if rows:
        made[:] = [*zip(*rows, strict=True)][: len(widths)]
    for number, width in enumerate(widths):
        low = null(width)
        if low in made[number]:
            made[number] = [None if value == low else value for value in made[number]]
    return [*made, *rest]
