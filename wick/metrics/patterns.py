"""TA-Lib's 61 candle patterns, bit for bit, of closed candles whose prices are whole ticks. Pure.

Each is declared once (`_declared.py`); the evaluator of many streams at once (`columns`) and the one of a single stream
(`one`) are made of that at import, so they cannot differ. Nothing is kept between candles: what a pattern says is a
function of the last `ROWS` candles.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.metrics._columns import columns as columns
from wick.metrics._declared import DECLARED
from wick.metrics._declared import ROWS as ROWS
from wick.metrics._single import one as one


class Pattern(NamedTuple):
    """`number` is its place in rows and its bit in masks; it says nothing of a stream's first `lookback` candles."""

    number: int
    name: str
    title: str
    definition: str
    lookback: int


PATTERNS: Final = tuple(
    Pattern(number, f"CDL{name}", title, definition, lookback)
    for number, (name, lookback, title, definition, *_) in enumerate(DECLARED)
)
NAMES: Final = tuple(pattern.name for pattern in PATTERNS)


def masks(patterns: NDArray[np.int8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The bullish and the bearish ones of each stream, from what `columns` gives: bit k is pattern k."""

    def bits(which: NDArray[np.bool_]) -> NDArray[np.uint64]:
        wide = np.zeros((which.shape[1], 64), np.bool_)
        wide[:, : len(which)] = which.T
        return np.packbits(wide, axis=1, bitorder="little").view("<u8")[:, 0]

    return bits(patterns > 0), bits(patterns < 0)
