"""Closed candles in columns, on their way into a store."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT, REALS, Block
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, FORMED
from wick.metrics import pattern_table
from wick.metrics.fields import FIELDS

METRICS = len(FIELDS)
PATTERNS = len(pattern_table.NAMES)
_EXACT_TYPE, _REAL_TYPE = np.dtype("<i8"), np.dtype("<f8")


class Batch(NamedTuple):
    """`n` candles. A value that is not known is NaN; a candle whose metrics nobody has computed has `known` False.

    A candle with an exact number beyond 64 bits is in `big` by its place, FORMED whole; its row of `exact` is zeros but
    for what fits.
    """

    pairs: list[tuple[str, str]]  # (venue, symbol), each once
    pair: NDArray[np.int32]  # (n,) an index of `pairs`
    interval: NDArray[np.int16]  # (n,) an index of INTERVALS
    exact: NDArray[np.int64]  # (n, EXACT) the exact fields of FORMED
    real: NDArray[np.float64]  # (n, REALS) its REAL fields
    metrics: NDArray[np.float64]  # (n, METRICS)
    patterns: NDArray[np.int8]  # (n, PATTERNS)
    known: NDArray[np.bool_]  # (n,) whether metrics and patterns have been computed
    big: dict[int, list[Any]]
