"""Averages that go on from their last value, with TA-Lib's seeds: the mean, or the sum, of the first values. Pure."""

import numpy as np

from wick.metrics.registry import Column
from wick.metrics.window import Window


def ema(window: Window, state: Column, value: Column, period: int, since: int) -> None:
    """Exponential mean with k = 2 / (period + 1). `since`: the candle, from 1, that `value` begins with.

    `state` has the sum while the first `period` values come, then their mean, from which it goes on.
    """
    k = 2.0 / (period + 1)
    if window.is_warm:
        state += (value - state) * k
        return
    age = window.count - since + 1
    begun = np.where(age >= 1, state + value, 0.0)
    state[:] = np.where(age > period, (value - state) * k + state, np.where(age == period, begun / period, begun))


def wilder_mean(window: Window, state: Column, value: Column, period: int, since: int) -> None:
    """Wilder's mean, (period - 1) old parts and one new; seeded as `ema` is."""
    if window.is_warm:
        state *= period - 1
        state += value
        state /= period
        return
    age = window.count - since + 1
    begun = np.where(age >= 1, state + value, 0.0)
    smooth = (state * (period - 1) + value) / period
    state[:] = np.where(age > period, smooth, np.where(age == period, begun / period, begun))


def wilder_sum(window: Window, state: Column, value: Column, period: int, since: int) -> None:
    """Wilder's sum: it loses its period-th part a step. It starts as the sum of the first period - 1 values."""
    if window.is_warm:
        state -= state / period
        state += value
        return
    age = window.count - since + 1
    begun = np.where(age >= 1, state + value, 0.0)
    state[:] = np.where(age >= period, state - state / period + value, begun)
