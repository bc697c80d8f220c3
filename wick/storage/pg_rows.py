"""Candles as they come out of PostgreSQL, read without numpy: the front reads with this.

The server joins all integers of one width, row after row, and `array` reads them at once: as fields of their own, each
with its length, they take four times as long.
"""

import json
from array import array
from collections.abc import Sequence
from functools import lru_cache
from sys import byteorder
from typing import Any, Final

from wick.market.stored import OPEN, PATTERNS, WIDE
from wick.storage.pg_schema import WIDTHS

_CODES: Final = {8: "q", 4: "i", 2: "h"}
_LENGTHS: Final = "length(patterns)::smallint"
_BEGIN: Final = 21  # of binary COPY: a header of 19 bytes, then of each row how many fields it has


class Form:
    """How these columns are asked for (`stored.needs` names them), and read."""

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self._integers = {width: [name for name in wanted if WIDTHS.get(name) == width] for width in _CODES}
        if PATTERNS in wanted:
            self._integers[2].append(_LENGTHS)
        self._wanted = wanted
        joined = {f"of_{width}": _joined(names, width) for width, names in self._integers.items() if names}
        if PATTERNS in wanted:
            joined[PATTERNS] = PATTERNS
        self._inner = ", ".join([*(f"{told} AS {name}" for name, told in joined.items()), OPEN, WIDE])
        self._outer = ", ".join(f"string_agg({name}, NULL)" for name in joined)

    def sql(self, rows: str) -> str:
        """`rows`: from where, which, in what order."""
        return (
            f"COPY (SELECT {self._outer}, json_object_agg({OPEN}, {WIDE}) FILTER (WHERE {WIDE} IS NOT NULL) "
            f"FROM (SELECT {self._inner} {rows}) AS found) TO STDOUT (FORMAT binary)"
        )

    def read(self, data: bytes, backwards: bool) -> dict[str, Sequence[Any]]:
        fields = iter(_fields(data))
        told: dict[str, Sequence[Any]] = {}
        for width, names in self._integers.items():
            if names:
                told |= zip(names, integers(next(fields), width, len(names), backwards), strict=True)
        if PATTERNS in self._wanted:
            told[PATTERNS] = _cut(next(fields), told.pop(_LENGTHS), backwards)
        wide = next(fields)
        numbers = json.loads(wide) if wide else {}
        told[WIDE] = [numbers.get(str(open_ms)) for open_ms in told[OPEN]] if numbers else (None,)
        return told


form = lru_cache(maxsize=64)(Form)


def lowest(width: int) -> int:
    """What NULL is told as: no value is so low."""
    return -(1 << (8 * width - 1))


def _joined(names: Sequence[str], width: int) -> str:
    return " || ".join(f"int{width}send(coalesce({name}, '{lowest(width)}'))" for name in names)


def _fields(data: bytes) -> list[bytes]:
    """Of the only row; b"" where one is NULL."""
    made, at = [], _BEGIN
    while at < len(data) - 2:
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        made.append(data[at : at + max(length, 0)])
        at += max(length, 0)
    return made


def integers(data: bytes, width: int, columns: int, backwards: bool) -> list[list[Any]]:
    """The columns of rows of so many integers."""
    values = array(_CODES[width], data)
    if byteorder == "little":
        values.byteswap()
    made: list[list[Any]] = [
        (values[at - columns :: -columns] if backwards else values[at::columns]).tolist() for at in range(columns)
    ]
    if 0x80 in data[::width]:  # the first byte of whatever is very low
        low = lowest(width)
        made = [[None if value == low else value for value in column] if low in column else column for column in made]
    return made


def _cut(data: bytes, lengths: Sequence[int | None], backwards: bool) -> list[bytes | None]:
    made: list[bytes | None] = []
    at = 0
    for length in reversed(lengths) if backwards else lengths:
        made.append(None if length is None else data[at : at + length])
        at += length or 0
    return made[::-1] if backwards else made
