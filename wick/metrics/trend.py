"""Where prices are going: averages, bands, stops. Pure."""

import numpy as np
from numpy.typing import NDArray

from wick.metrics.fields import PRICE, PURE
from wick.metrics.recursion import ema, wilder_mean
from wick.metrics.registry import Column, metric
from wick.metrics.window import Window, share


@metric("sma_20")
def sma(w: Window, _: Column) -> Column:
    return w.mean_20


@metric("ema_20", state=(PRICE,))
def ema_20(w: Window, state: Column) -> Column:
    ema(w, state[0], w.close, 20, since=1)
    return state[0]


@metric("ema_50", state=(PRICE,))
def ema_50(w: Window, state: Column) -> Column:
    ema(w, state[0], w.close, 50, since=1)
    return state[0]


# The weight that each of the newest 16 closes has in 2 WMA8 - WMA16, and each of 4 values in WMA4.
_HMA_16 = (2.0 * np.maximum(np.arange(-7.0, 9.0), 0.0) / 36.0 - np.arange(1.0, 17.0) / 136.0)[:, None]


@metric("hma_16", state=(PRICE, PRICE, PRICE))
def hma(w: Window, state: Column) -> Column:
    """The three inner values before."""
    # Of the differences to the newest close, so that no digits are lost in what the weights cancel.
    inner = w.close + np.add.reduce((w.closes[-16:] - w.close) * _HMA_16)
    first, second, third = state
    mean = inner + ((first - inner) + 2.0 * (second - inner) + 3.0 * (third - inner)) / 10.0
    state[0], state[1], state[2] = second, third, inner
    return mean


_SLOW = 2.0 / 31.0
_FAST_MORE = 2.0 / 3.0 - _SLOW


@metric("kama_10", state=(PRICE,))
def kama(w: Window, state: Column) -> Column:
    mean = state[0]
    closes = w.closes[-11:]
    path = np.add.reduce(np.abs(closes[1:] - closes[:-1]))
    way = w.close - closes[0]
    straight = way >= path  # also where nothing moved
    ratio = np.where(straight, 1.0, np.abs(way) / np.where(path > 0.0, path, 1.0))
    pace = ratio * _FAST_MORE + _SLOW
    pace *= pace
    if not w.is_warm:
        mean[:] = np.where(w.count == 11, w.before, mean)  # it begins with the close before its first value
    mean += (w.close - mean) * pace
    return mean


@metric("bb_percent_b", "bb_bandwidth")
def bollinger(w: Window, _: Column) -> tuple[Column, Column]:
    off = w.closes[-20:] - w.close  # first, so that large prices lose no digits
    off -= np.add.reduce(off) / 20.0
    band = 4.0 * np.sqrt(np.add.reduce(off * off) / 20.0)
    return share(off[-1] + band / 2.0, band), share(band, w.mean_20)


@metric("donchian_upper_20", "donchian_lower_20")
def donchian(w: Window, _: Column) -> tuple[Column, Column]:
    return w.highest_20, w.lowest_20


@metric("supertrend_10_3", state=(PRICE, PRICE, PRICE, PURE))
def supertrend(w: Window, state: Column) -> Column:
    range_10, upper, lower, falls = state
    wilder_mean(w, range_10, w.true_range, 10, since=2)
    middle, away = (w.high + w.low) / 2.0, 3.0 * range_10
    new_upper, new_lower = middle + away, middle - away
    take_upper = (new_upper < upper) | (w.before > upper)
    take_lower = (new_lower > lower) | (w.before < lower)
    begins = w.count <= 11
    if not w.is_warm:
        take_upper |= begins
        take_lower |= begins
    np.copyto(upper, new_upper, where=take_upper)
    np.copyto(lower, new_lower, where=take_lower)
    falls[:] = np.where(falls > 0.0, w.close <= upper, w.close < lower)
    if not w.is_warm:
        falls[begins] = 0.0
    return np.where(falls > 0.0, -upper, lower)


_STEP, _MOST = 0.02, 0.2


@metric("psar", state=(PRICE, PRICE, PURE, PURE))
def psar(w: Window, state: Column) -> Column:
    """The next candle's stop, the extreme of the trend, its step, and whether it falls."""
    stop, extreme, step, falls = state
    high, low, high_1, low_1 = w.high, w.low, w.highs[-2], w.lows[-2]
    if not w.is_warm:
        begins = w.count == 2
        _begin(w, state, begins)
        # As TA-Lib has it, the second candle stands for the one before it too.
        high_1, low_1 = np.where(begins, high, high_1), np.where(begins, low, low_1)
    down = falls > 0.0
    crossed = np.where(down, high >= stop, low <= stop)
    # A trend that turns begins at the old one's extreme.
    value = np.where(crossed, extreme, stop)
    turned = np.not_equal(down, crossed)  # the direction from here on: falling
    value_low = np.minimum(np.minimum(value, low_1), low)  # a stop under a rise
    value_high = np.maximum(np.maximum(value, high_1), high)
    value = np.where(crossed, np.where(turned, value_high, value_low), value)
    beyond = np.where(turned, low, high)
    further = np.where(turned, beyond < extreme, beyond > extreme)
    new_step = np.where(crossed, _STEP, np.where(further, np.minimum(step + _STEP, _MOST), step))
    new_extreme = np.where(crossed | further, beyond, extreme)
    following = value + new_step * (new_extreme - value)
    following = np.where(
        turned, np.maximum(np.maximum(following, high_1), high), np.minimum(np.minimum(following, low_1), low)
    )
    stop[:], extreme[:], step[:], falls[:] = following, new_extreme, new_step, turned
    return value


def _begin(w: Window, state: Column, begins: NDArray[np.bool_]) -> None:
    """With the second candle: the direction of its larger move, the stop at the first one's far extreme."""
    stop, extreme, step, falls = state
    up, down = w.high - w.highs[-2], w.lows[-2] - w.low
    is_down = (down > 0.0) & (down > up)
    np.copyto(stop, np.where(is_down, w.highs[-2], w.lows[-2]), where=begins)
    np.copyto(extreme, np.where(is_down, w.low, w.high), where=begins)
    np.copyto(step, _STEP, where=begins)
    np.copyto(falls, is_down, where=begins)
