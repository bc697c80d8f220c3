"""How far prices go. Pure."""

import numpy as np

from wick.metrics.fields import PRICE
from wick.metrics.recursion import wilder_mean
from wick.metrics.registry import Column, metric
from wick.metrics.window import Window


@metric("atr_14", state=(PRICE,))
def atr(w: Window, state: Column) -> Column:
    wilder_mean(w, state[0], w.true_range, 14, since=2)
    return state[0]


@metric("garman_klass_20")
def garman_klass(w: Window, _: Column) -> Column:
    return np.sqrt(np.add.reduce(w.range_variances[-20:]) / 20.0)


@metric("realized_vol_20")
def realized_vol(w: Window, _: Column) -> Column:
    returns = w.log_returns[-20:]
    off = returns - np.add.reduce(returns) / 20.0
    return np.sqrt(np.add.reduce(off * off) / 19.0)
