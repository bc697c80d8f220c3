"""Volume, and what it does to the price. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wick.metrics.fields import PURE, SIZE
from wick.metrics.registry import Column, metric
from wick.metrics.window import FLOW_ROWS, Window, share


@metric("amihud_20")
def amihud(w: Window, _: Column) -> Column:
    turnovers = w.turnovers[-20:]
    terms = np.abs(w.log_returns[-20:]) / np.where(turnovers == 0.0, np.inf, turnovers)  # NaN is not known
    return np.add.reduce(terms) / 20.0 * (w.price_tens * w.size_tens)


@metric("vpin_50")
def vpin(w: Window, _: Column) -> Column:
    """The running delta is a line of 50 pieces over the running volume; the buckets' borders cut it."""
    rows, streams = w.volumes.shape
    running, place = _running(w.deltas), _running(w.volumes)
    total = place[-1].copy()
    buckets = rows / np.where(total > 0.0, total, 1.0)
    place *= buckets  # where each candle ends, in buckets
    # Within its candle the line is slope * place + offset; without a volume there is no delta.
    slopes = w.deltas / np.maximum(w.volumes * buckets, 1e-300)
    offsets = running - slopes * place
    # The candle in which border b lies is the one after those that end at or before it: they are counted by the first
    # border that is not before their end, and the counts added up. By rounding, the last end may be beyond border 50.
    number = np.arange(streams)
    ends = np.ceil(place).astype(np.intp)
    ends *= streams
    ends += number
    counts = np.bincount(ends.ravel(), minlength=rows * streams)[: rows * streams]
    candle = _running(counts.reshape(rows, streams))
    candle *= streams
    candle += number
    # Only where there is no volume at all is a border in no candle ("clip"), and what comes of it is not wanted.
    at = slopes.take(candle, mode="clip")
    at *= _BORDERS
    at += offsets.take(candle, mode="clip")
    at[0] = 0.0
    cuts = at[1:] - at[:-1]
    cut = np.add.reduce(np.abs(cuts, cuts)) + np.abs(running[-1] - at[-1])
    return share(cut, total)


_FEW = 128  # streams up to which add.accumulate is faster


def _running(values: NDArray[Any]) -> NDArray[Any]:
    """The sums of the first one, two, ... rows."""
    if values.shape[1] <= _FEW:
        return np.add.accumulate(values)
    sums = values.copy()
    last = sums[0]
    for now in sums[1:]:
        np.add(last, now, now)
        last = now
    return sums


_BORDERS = np.arange(float(FLOW_ROWS))[:, None]


@metric("mfi_14")
def mfi(w: Window, _: Column) -> Column:
    typical = w.typical[-15:]
    flows = typical[1:] * w.volumes[-14:]
    moves = typical[1:] - typical[:-1]
    up, down = np.add.reduce(flows * (moves > 0.0)), np.add.reduce(flows * (moves < 0.0))
    return share(100.0 * up, up + down)


@metric("obv", state=(SIZE,))
def obv(w: Window, state: Column) -> Column:
    total = state[0]
    sign = np.sign(w.change)
    if not w.is_warm:
        sign = np.where(w.count == 1, 1.0, sign)
    total += sign * w.volume
    return total


@metric("obv_anchor_ms", state=(PURE,))
def obv_anchor(w: Window, state: Column) -> Column:
    if not w.is_warm:
        state[0] = np.where(w.count == 1, w.time, state[0])
    return state[0]


@metric("cmf_20")
def cmf(w: Window, _: Column) -> Column:
    highs, lows = w.highs[-20:], w.lows[-20:]
    twice = w.closes[-20:] * 2.0 - highs - lows
    placed = twice / np.maximum(highs - lows, 1.0) * w.volumes[-20:]
    return share(np.add.reduce(placed), w.volume_20)
