"""Closed candles in columns, as they travel from the worker to whoever reads them. Pure.

Most rows fit: their exact fields are one int64 matrix, their REAL ones one float64 matrix, little-endian, a row a
candle. A row with a number beyond 64 bits comes beside, as it is.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.market.schema import FORMED, REAL, UNKNOWN, Row
from wick.metrics import patterns
from wick.metrics.table import FIELDS

EXACT = sum(kind != REAL for _, kind in FORMED)
REALS = len(FORMED) - EXACT
METRIC_BYTES: Final = 8 * len(FIELDS), len(patterns.NAMES)
ROW_BYTES = 8 * EXACT, 8 * REALS
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
        made: list[Row] = np.frombuffer(self.exact, "<i8").reshape(-1, EXACT).tolist()
        for row, reals in zip(made, _with_nulls(np.frombuffer(self.real, "<f8").reshape(-1, REALS)), strict=True):
            row += reals
        for place, row in self.big:
            made[place] = list(row)
        return made

    def rows(self) -> list[Row]:
        made = self.formed()
        if not self.metrics:
            for row in made:
                row += UNKNOWN
            return made
        metrics = np.frombuffer(self.metrics, "<f8").reshape(len(made), -1)
        found = np.frombuffer(self.patterns, np.int8).reshape(len(made), -1)
        for row, more in zip(made, of_metrics(metrics, found), strict=True):
            row += more
        return made


def of_metrics(metrics: NDArray[np.float64], found: NDArray[np.int8]) -> list[Row]:
    """The values of METRICS of each row, from its metrics (rows, FIELDS), NaN if undefined, and patterns (rows, 61)."""
    made = _with_nulls(metrics)
    masks = [mask.tolist() for mask in patterns.masks(found.T)]
    for row, bull, bear, own in zip(made, *masks, found, strict=True):
        for at in _TIMES:
            row[at] = None if row[at] is None else int(row[at])
        row += (bull, bear, own.tobytes())
    return made


def _with_nulls(numbers: NDArray[np.float64]) -> list[list[Any]]:
    """As lists; None for NaN, which is no number."""
    rows: list[list[Any]] = numbers.tolist()
    for at in np.flatnonzero(np.isnan(numbers).any(axis=1)).tolist():
        rows[at] = [None if value != value else value for value in rows[at]]
    return rows
