"""Rows of PostgreSQL's binary COPY format, read without numpy: the front reads with this."""

from collections.abc import Iterator, Sequence
from struct import Struct

_BEGIN, _LENGTH = 19, Struct(">i")
_CODES = {2: "h", 4: "i", 8: "q"}


def null(width: int) -> int:
    """The integer that a query gives for NULL, so that all rows are laid out alike: no value is so low."""
    return -(1 << (8 * width - 1))


def unpacked(data: bytes, widths: Sequence[int], blobs: int) -> Iterator[tuple[list[int | None], list[bytes | None]]]:
    """Integers of those widths, then so many of any length; the first as `null` tells where they are NULL."""
    layout = Struct(">2x" + "".join(f"4x{_CODES[width]}" for width in widths))
    nulls = [null(width) for width in widths]
    none = {*nulls}
    at, end = _BEGIN, len(data) - 2
    while at < end:
        values: list[int | None] = [*layout.unpack_from(data, at)]
        if not none.isdisjoint(values):
            values = [None if value == low else value for value, low in zip(values, nulls, strict=True)]
        at += layout.size
        rest: list[bytes | None] = []
        for _ in range(blobs):
            (length,) = _LENGTH.unpack_from(data, at)
            at += 4
            rest.append(None if length < 0 else data[at : at + length])
            at += max(length, 0)
        yield values, rest
