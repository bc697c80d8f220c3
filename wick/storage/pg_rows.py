"""Rows of PostgreSQL's binary COPY format, read without numpy: the front reads with this."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

_BEGIN, _LENGTH = 19, Struct(">i")
_CODES = {2: "h", 4: "i", 8: "q"}


def null(width: int) -> int:
    """The integer that a query gives for NULL, so that all rows are laid out alike: no value is so low."""
    return -(1 << (8 * width - 1))


def columns(data: bytes, widths: Sequence[int], blobs: int) -> list[Sequence[Any]]:
    """Of rows that have integers of those widths, NULL as `null` tells, and then `blobs` fields of any length."""
    layout = Struct(">2x" + "".join(f"4x{_CODES[width]}" for width in widths))
    unpack, size, length_of = layout.unpack_from, layout.size, _LENGTH.unpack_from
    rows: list[tuple[int, ...]] = []
    rest: list[bytes | None] = []
    at, end = _BEGIN, len(data) - 2
    while at < end:
        rows.append(unpack(data, at))
        at += size
        for _ in range(blobs):
            (length,) = length_of(data, at)
            at += 4
            if length < 0:
                rest.append(None)
            else:
                rest.append(data[at : at + length])
                at += length
    made: list[Sequence[Any]] = [*zip(*rows, strict=True)] or [() for _ in widths]
    for number, width in enumerate(widths):
        low = null(width)
        if low in made[number]:
            made[number] = [None if value == low else value for value in made[number]]
    return made + [rest[blob::blobs] for blob in range(blobs)]
