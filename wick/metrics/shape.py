"""Return, range and shape of one candle. Pure."""

import numpy as np

from wick.metrics.registry import PRICE, Column, Field, metric
from wick.metrics.window import Window


@metric(Field(9, "log_return", "1", "ln(C / C'), C' the close of the candle before", 2, "own formula"))
def log_return(w: Window, _: Column) -> Column:
    return w.log_returns[-1]


@metric(Field(10, "true_range", "quote per base", "max(H, C') - min(L, C')", 2, "TA-Lib TRANGE; Wilder 1978", PRICE))
def true_range(w: Window, _: Column) -> Column:
    return w.true_range


@metric(Field(11, "body_ratio", "1", "(C - O) / (H - L)", 1, "own formula"))
def body_ratio(w: Window, _: Column) -> Column:
    return w.body / w.some_height


@metric(
    Field(12, "upper_wick_ratio", "1", "(H - max(O, C)) / (H - L)", 1, "own formula"),
    Field(13, "lower_wick_ratio", "1", "(min(O, C) - L) / (H - L)", 1, "own formula"),
)
def wick_ratios(w: Window, _: Column) -> tuple[Column, Column]:
    upper = w.high - np.maximum(w.open, w.close)
    lower = np.minimum(w.open, w.close) - w.low
    return upper / w.some_height, lower / w.some_height


@metric(Field(14, "close_location", "1", "(C - L) / (H - L), 0.5 where H = L", 1, "own formula"))
def close_location(w: Window, _: Column) -> Column:
    return np.where(w.has_height, (w.close - w.low) / w.some_height, 0.5)
