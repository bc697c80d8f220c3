"""Return, range and shape of one candle. Pure."""

import numpy as np

from wick.metrics.registry import Column, metric
from wick.metrics.window import Window


@metric("log_return")
def log_return(w: Window, _: Column) -> Column:
    return w.log_returns[-1]


@metric("true_range")
def true_range(w: Window, _: Column) -> Column:
    return w.true_range


@metric("body_ratio")
def body_ratio(w: Window, _: Column) -> Column:
    return w.body / w.some_height


@metric("upper_wick_ratio", "lower_wick_ratio")
def wick_ratios(w: Window, _: Column) -> tuple[Column, Column]:
    upper = w.high - np.maximum(w.open, w.close)
    lower = np.minimum(w.open, w.close) - w.low
    return upper / w.some_height, lower / w.some_height


@metric("close_location")
def close_location(w: Window, _: Column) -> Column:
    return np.where(w.has_height, (w.close - w.low) / w.some_height, 0.5)
