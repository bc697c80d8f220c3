"""How fast prices go, and how strongly. Pure."""

import numpy as np

from wick.metrics.fields import PRICE, PURE
from wick.metrics.recursion import ema, wilder_mean, wilder_sum
from wick.metrics.registry import Column, metric
from wick.metrics.window import Window, share


@metric("rsi_14", state=(PRICE, PRICE))
def rsi(w: Window, state: Column) -> Column:
    gain, loss = state
    up = np.maximum(w.change, 0.0)
    wilder_mean(w, gain, up, 14, since=2)
    wilder_mean(w, loss, up - w.change, 14, since=2)
    return share(100.0 * gain, gain + loss)


@metric("macd", "macd_signal", state=(PRICE, PRICE, PRICE))
def macd(w: Window, state: Column) -> tuple[Column, Column]:
    fast, slow, signal = state
    ema(w, fast, w.close, 12, since=15)  # TA-Lib seeds the fast one so that both begin with the 26th candle
    ema(w, slow, w.close, 26, since=1)
    line = fast - slow
    ema(w, signal, line, 9, since=26)
    return line, signal


@metric("stoch_k", "stoch_d", state=(PURE, PURE, PURE, PURE))
def stoch(w: Window, state: Column) -> tuple[Column, Column]:
    """The two raw values and the two k before."""
    lowest = np.minimum.reduce(w.lows[-14:])
    raw = share(100.0 * (w.close - lowest), np.maximum.reduce(w.highs[-14:]) - lowest)
    older, old, older_k, old_k = state
    k = (older + old + raw) / 3.0
    d = (older_k + old_k + k) / 3.0
    state[0], state[1], state[2], state[3] = old, raw, old_k, k
    return k, d


@metric("cci_20")
def cci(w: Window, _: Column) -> Column:
    off = w.typical - w.typical[-1]  # first, so that large prices lose no digits
    off -= np.add.reduce(off) / 20.0
    spread = np.add.reduce(np.abs(off)) / 20.0
    return share(off[-1], 0.015 * spread)


@metric("roc_10")
def roc(w: Window, _: Column) -> Column:
    then = w.closes[-11]
    return share(100.0 * (w.close - then), then)


@metric("adx_14", "plus_di_14", "minus_di_14", state=(PRICE, PRICE, PRICE, PURE))
def adx(w: Window, state: Column) -> tuple[Column, Column, Column]:
    plus, minus, ranges, mean = state
    up, down = w.high - w.highs[-2], w.lows[-2] - w.low
    wilder_sum(w, plus, up * ((up > 0.0) & (up > down)), 14, since=2)
    wilder_sum(w, minus, down * ((down > 0.0) & (down > up)), 14, since=2)
    wilder_sum(w, ranges, w.true_range, 14, since=2)
    plus_di, minus_di = share(100.0 * plus, ranges), share(100.0 * minus, ranges)
    both = plus_di + minus_di
    # Where there is no movement there is no DX: the mean stays, and a seed gets nothing.
    has = both > 0.0
    dx = 100.0 * np.abs(minus_di - plus_di) / np.where(has, both, 1.0)
    before = mean.copy()
    wilder_mean(w, mean, dx, 14, since=15)
    if not np.logical_and.reduce(has):
        seed_ends = w.count == 28
        mean[:] = np.where(has | seed_ends, mean, before)
    return mean, plus_di, minus_di


@metric("tsi_25_13", state=(PRICE, PRICE, PRICE, PRICE))
def tsi(w: Window, state: Column) -> Column:
    once, twice, size_once, size_twice = state
    ema(w, once, w.change, 25, since=2)
    ema(w, twice, once, 13, since=26)
    ema(w, size_once, np.abs(w.change), 25, since=2)
    ema(w, size_twice, size_once, 13, since=26)
    return share(100.0 * twice, size_twice)


@metric("ultosc")
def ultosc(w: Window, _: Column) -> Column:
    pressure, ranges = w.closes[1:] - w.true_lows, w.true_ranges
    total = np.zeros(len(w.close))
    bought = ranged = np.zeros(len(w.close))
    for rows, weight in ((slice(-7, None), 4.0), (slice(-14, -7), 2.0), (slice(-28, -14), 1.0)):
        bought, ranged = bought + np.add.reduce(pressure[rows]), ranged + np.add.reduce(ranges[rows])
        total += weight * share(bought, ranged)
    return total * (100.0 / 7.0)
