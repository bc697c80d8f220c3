"""Closed candles in columns, as they travel from the worker to whoever reads them. Pure.

Most rows fit: their exact fields are one int64 matrix, their REAL ones one float64 matrix, little-endian, a row a
candle. A row with a number beyond 64 bits comes beside, as it is.
"""

from typing import Any, NamedTuple

import numpy as np

from wick.market.schema import CANDLE, REAL, Row

EXACT = sum(kind != REAL for _, kind in CANDLE)
REALS = len(CANDLE) - EXACT
ROW_BYTES = 8 * EXACT, 8 * REALS

assert all((kind == REAL) == (at >= EXACT) for at, (_, kind) in enumerate(CANDLE)), "the REAL fields come last"


class Block(NamedTuple):
    """Rows in order: the pair and the interval of each by number, the matrices, and [place, row] of the big ones."""

    pairs: list[int]
    intervals: list[int]
    exact: bytes
    real: bytes
    big: list[list[Any]]

    def rows(self) -> list[Row]:
        made: list[Row] = np.frombuffer(self.exact, "<i8").reshape(-1, EXACT).tolist()
        for row, reals in zip(made, np.frombuffer(self.real, "<f8").reshape(-1, REALS).tolist(), strict=True):
            row += [None if number != number else number for number in reals]  # NaN: there is none
        for place, row in self.big:
            made[place] = row
        return made
