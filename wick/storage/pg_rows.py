"""Rows of PostgreSQL's binary COPY format, read without numpy: the front reads with this."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

_HEADER, _LENGTH = 19, Struct(">i")
_CODES = {2: "h", 4: "i", 8: "q"}


def null(width: int) -> int:
    """The integer that a query gives for NULL, so that all rows are laid out alike: no value is so low."""
    return -(1 << (8 * width - 1))


class Rows:
    """What COPY writes into. The rows have integers of those widths, NULL as `null` tells, the last of them how many of
    the others are, and then `blobs` fields of any length (one at least).

    libpq hands out a row at a time ("PQgetCopyData"), the header before the first one and two bytes in the end: each
    is taken apart while the server makes the next ones.
    """

    def __init__(self, widths: Sequence[int], blobs: int) -> None:
        self._widths = widths
        layout = Struct(">2x" + "".join(f"4x{_CODES[width]}" for width in widths) + "i")
        self._unpack, self._size = layout.unpack_from, layout.size
        self._begin = _HEADER
        self._rows: list[tuple[int, ...]] = []
        self._blobs: list[list[bytes | None]] = [[] for _ in range(blobs)]

    def write(self, data: bytes) -> None:
        begin, self._begin = self._begin, 0
        if len(data) - begin <= 2:
            return
        row = self._unpack(data, begin)
        self._rows.append(row)
        at, length = begin + self._size, row[-1]
        for number, column in enumerate(self._blobs):
            if number:
                (length,) = _LENGTH.unpack_from(data, at)
                at += 4
            if length < 0:
                column.append(None)
            else:
                column.append(data[at : at + length])
                at += length

    def __len__(self) -> int:
        return len(self._rows)

    def columns(self, newest_first: bool = False) -> list[Sequence[Any]]:
        """Oldest first: the integers, without the last one, then the others."""
        if newest_first:
            self._rows.reverse()
            for column in self._blobs:
                column.reverse()
        made: list[Sequence[Any]] = [() for _ in self._widths]
        if self._rows:
            made[:] = [*zip(*self._rows, strict=True)][:-1]
        if any(made.pop()):
            for number, width in enumerate(self._widths[:-1]):
                low = null(width)
                if low in made[number]:
                    made[number] = [None if value == low else value for value in made[number]]
        return [*made, *self._blobs]
