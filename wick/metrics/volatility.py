"""How far prices go. Pure."""

import numpy as np

from wick.metrics.recursion import wilder_mean
from wick.metrics.registry import PRICE, Column, Field, metric
from wick.metrics.window import Window


@metric(
    Field(58, "atr_14", "quote per base", "average true range, Wilder's mean of 14", 15, "TA-Lib ATR(14)", PRICE),
    state=(PRICE,),
)
def atr(w: Window, state: Column) -> Column:
    wilder_mean(w, state[0], w.true_range, 14, since=2)
    return state[0]


@metric(
    Field(
        61, "garman_klass_20", "1",
        "volatility a candle: sqrt(mean over 20 of (ln^2(H / L) / 2 - (2 ln 2 - 1) ln^2(C / O)))", 20,
        "Garman, Klass 1980; own formula",
    )
)  # fmt: skip
def garman_klass(w: Window, _: Column) -> Column:
    return np.sqrt(np.add.reduce(w.range_variances[-20:]) / 20.0)


@metric(
    Field(
        62, "realized_vol_20", "1", "standard deviation (n - 1) of log_return over 20 candles", 21, "own formula"
    )
)  # fmt: skip
def realized_vol(w: Window, _: Column) -> Column:
    returns = w.log_returns[-20:]
    off = returns - np.add.reduce(returns) / 20.0
    return np.sqrt(np.add.reduce(off * off) / 19.0)
