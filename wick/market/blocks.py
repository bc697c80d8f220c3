"""Closed candles in columns, as they travel from the worker to whoever reads them. Pure, and without numpy: a reader
makes rows of them, the worker has its own views of the columns.

Most rows fit: their exact fields are one int64 matrix, their REAL ones one float64 matrix, little-endian, a row a
candle. A row with a number beyond 64 bits comes beside, as it is.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final, NamedTuple

from wick.market.schema import FORMED, REAL, UNKNOWN, Row
from wick.metrics import pattern_table
from wick.metrics.fields import FIELDS

EXACT = sum(kind != REAL for _, kind in FORMED)
REALS = len(FORMED) - EXACT
_EXACT_ROW, _REAL_ROW, _METRIC_ROW = Struct(f"<{EXACT}q"), Struct(f"<{REALS}d"), Struct(f"<{len(FIELDS)}d")
_PATTERN_ROW = Struct(f"{len(pattern_table.NAMES)}s")
ROW_BYTES = _EXACT_ROW.size, _REAL_ROW.size
METRIC_BYTES: Final = _METRIC_ROW.size, _PATTERN_ROW.size
_TIMES: Final = [at for at, field in enumerate(FIELDS) if field.unit == "ms"]

assert all((kind == REAL) == (at >= EXACT) for at, (_, kind) in enumerate(FORMED)), "the REAL fields come last"


class Block(NamedTuple):
    """Rows in order: the pair and the interval of each by number, the matrices, and [place, row] of the big ones.

    `metrics`: float64, a row a candle, NaN where a value is not defined; `patterns`: int8. Both are empty while nobody
    has computed them.
    """

    pairs: list[int]
    intervals: list[int]
    exact: bytes
    real: bytes
    big: list[list[Any]]
    metrics: bytes = b""
    patterns: bytes = b""

    @classmethod
    def of(cls, pairs: list[int], intervals: list[int], rows: list[Row]) -> "Block":
        """Of rows without metrics, FORMED each, that are not in columns."""
        count = len(rows)
        zeros = bytes(count * ROW_BYTES[0]), bytes(count * ROW_BYTES[1])
        return cls(pairs, intervals, *zeros, [[place, row] for place, row in enumerate(rows)])

    def formed(self) -> list[Row]:
        """The rows without metrics."""
        exact, real = _EXACT_ROW.iter_unpack(self.exact), _REAL_ROW.iter_unpack(self.real)
        made: list[Row] = [[*own, *_with_nulls(reals)] for own, reals in zip(exact, real, strict=True)]
        for place, row in self.big:
            made[place] = list(row)
        return made

    def rows(self) -> list[Row]:
        made = self.formed()
        if not self.metrics:
            for row in made:
                row += UNKNOWN
            return made
        for row, more in zip(made, of_metrics(self.metrics, self.patterns), strict=True):
            row += more
        return made


def of_metrics(metrics: bytes, found: bytes) -> list[Row]:
    """The values of METRICS of each row, from its metrics (float64, NaN: undefined) and patterns (signed bytes)."""
    made = []
    for values, (own,) in zip(_METRIC_ROW.iter_unpack(metrics), _PATTERN_ROW.iter_unpack(found), strict=True):
        row = [*_with_nulls(values)]
        for at in _TIMES:
            row[at] = None if row[at] is None else int(row[at])
        made.append([*row, *pattern_table.masks(own), own])
    return made


def _with_nulls(numbers: tuple[Any, ...]) -> Iterable[Any]:
    """None for NaN, which is no number: a sum with one of them is none either."""
    if (total := sum(numbers)) == total:
        return numbers
    return [None if value != value else value for value in numbers]
