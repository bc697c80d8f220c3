"""What metrics see: the newest candles of many streams, a column each, oldest row first. Pure.

What several metrics need is made once. All arrays are (rows, streams) or (streams,) float64, and nobody changes them.
"""

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
        self.tens = tens
        self.price_tens, self.size_tens = tens
        self.high, self.low, self.close = prices[:, -1]
        self.open, self.time, self.volume = self.opens[-1], times[-1], self.volumes[-1]
        self.before = self.closes[-2]  # the previous close

        self.body = self.close - self.open
        self.change = self.close - self.before
        self.has_height = self.high > self.low
        self.some_height = np.maximum(self.high - self.low, 1.0)  # or 1 where there is none: to divide by
        # Of the newest 28 candles: the lower of the low and the close before it, and the true range.
        self.true_lows = np.minimum(self.lows[1:], self.closes[:-1])
        self.true_ranges = np.maximum(self.highs[1:], self.closes[:-1]) - self.true_lows
        self.true_range = self.true_ranges[-1]
        # Of the newest 20.
        highs, lows, closes = prices[:, -20:]
        self.typical = highs + lows + closes  # three times the typical price: whole ticks
        self.highest_20, self.lowest_20 = np.maximum.reduce(highs), np.minimum.reduce(lows)
        self.mean_20 = np.add.reduce(closes) / 20.0
        self.volume_20 = np.add.reduce(self.volumes[-20:])


def share(part: Column, whole: Column, none: float = 0.0) -> Column:
    """part / whole where whole is not 0, else `none`."""
    has = whole != 0.0
    if np.logical_and.reduce(has):
        return part / whole
    return np.where(has, part / np.where(has, whole, 1.0), none)
