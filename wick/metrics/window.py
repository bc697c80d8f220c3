"""What metrics see: the newest candles of many streams, a column each, oldest row first. Pure.

What several metrics need is made once. All arrays are (rows, streams) or (streams,) float64, and nobody changes them.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wick.metrics.registry import Column

ROWS: Final = 29  # of highs, lows and closes, the newest candle included: 28 true ranges
SHORT_ROWS: Final = 21  # of opens, turnovers, returns
FLOW_ROWS: Final = 50  # of volumes and deltas
WARM: Final = 60  # candles after which no metric is still beginning


class Window:
    """The newest rows of high, low, close; of open, turnover, log return, range variance, time; of volume, delta.

    `count`: candles so far with the newest. `tens`: 10^decimals of prices and of sizes, (2, streams).
    """

    def __init__(self, prices: Column, others: Column, flow: Column, count: NDArray[np.int64], tens: Column) -> None:
        self.highs, self.lows, self.closes = prices
        self.opens, self.turnovers, self.log_returns, self.range_variances, times = others
        self.volumes, self.deltas = flow
        self.count = count
        self.is_warm = bool(np.minimum.reduce(count) > WARM)
        self.price_tens, self.size_tens = tens
        self.high, self.low, self.close = prices[:, -1]
        self.open, self.time, self.volume = self.opens[-1], times[-1], self.volumes[-1]
        self.before = self.closes[-2]  # the previous close

    @cached_property
    def height(self) -> Column:
        return self.high - self.low

    @cached_property
    def body(self) -> Column:
        return self.close - self.open

    @cached_property
    def has_height(self) -> NDArray[np.bool_]:
        return self.high > self.low

    @cached_property
    def some_height(self) -> Column:
        """The height, or 1 where there is none: to divide by."""
        return np.maximum(self.height, 1.0)

    @cached_property
    def change(self) -> Column:
        return self.close - self.before

    @cached_property
    def true_lows(self) -> Column:
        """The lower of a candle's low and the close before it, of the newest 28."""
        return np.minimum(self.lows[1:], self.closes[:-1])

    @cached_property
    def true_ranges(self) -> Column:
        """Of the newest 28 candles."""
        return np.maximum(self.highs[1:], self.closes[:-1]) - self.true_lows

    @property
    def true_range(self) -> Column:
        return self.true_ranges[-1]

    @cached_property
    def typical(self) -> Column:
        """Three times the typical price of the newest 20 candles: whole ticks."""
        return self.highs[-20:] + self.lows[-20:] + self.closes[-20:]

    @cached_property
    def highest_20(self) -> Column:
        return np.maximum.reduce(self.highs[-20:])

    @cached_property
    def lowest_20(self) -> Column:
        return np.minimum.reduce(self.lows[-20:])

    @cached_property
    def mean_20(self) -> Column:
        return np.add.reduce(self.closes[-20:]) / 20.0

    @cached_property
    def volume_20(self) -> Column:
        return np.add.reduce(self.volumes[-20:])


def share(part: Column, whole: Column, none: float = 0.0) -> Column:
    """part / whole where whole is not 0, else `none`."""
    has = whole != 0.0
    if np.logical_and.reduce(has):
        return part / whole
    return np.where(has, part / np.where(has, whole, 1.0), none)
