"""When a metric equals its oracle: NaN in the same candles, and 1e-9 of the value in all others.

A value that is a difference of larger ones is rounded as they are: near its own zero, 1e-9 of *it* is less than a bit
of what it is made of. Such a field has a scale below, and may be off by 1e-9 of that. No other field has a floor: an
expected 0 is a 0.
"""

from collections.abc import Callable

import numpy as np
import talib

from tests.metrics.bars import Bars, Reals
from tests.metrics.oracles import ORACLES

RELATIVE = 1e-9
MILLI = 1e-3


def _slow_average(bars: Bars) -> Reals:
    # Measured: another order of the same arithmetic is off by up to 2.6e-15 of the slow average. 1e-14 is allowed.
    return 1e-5 * talib.EMA(bars.close.astype(np.float64), timeperiod=26) / 10**bars.price_decimals


def _dearest(bars: Bars) -> Reals:
    return MILLI * talib.MAX(bars.close.astype(np.float64), timeperiod=19) / 10**bars.price_decimals


def _bands(bars: Bars) -> Reals:
    high, low, close = (column.astype(np.float64) for column in (bars.high, bars.low, bars.close))
    reach = 3 * talib.ATR(high, low, close, timeperiod=10)
    return MILLI * ((high + low) / 2 + reach) / 10**bars.price_decimals


def _return(bars: Bars) -> Reals:
    return 1e-6 * talib.MAX(np.abs(np.nan_to_num(ORACLES["log_return"].evaluate(bars))), timeperiod=20)


def _constant(scale: float) -> Callable[[Bars], Reals]:
    return lambda bars: np.full(len(bars), scale)


# field -> scale a candle, and why it is that
SCALES: dict[str, tuple[Callable[[Bars], Reals], str]] = {
    "macd": (_slow_average, "a difference of two averages of the price, which remember a spike"),
    "macd_signal": (_slow_average, "an average of such differences, which change sign"),
    "hma_16": (_dearest, "a difference of averages: below zero behind a spike"),
    "supertrend_10_3": (_bands, "the middle less three ranges: near zero behind a spike"),
    "realized_vol_20": (_return, "the spread of returns that may be nearly the same: a rounding of one of them"),
    "bb_percent_b": (_constant(0.1), "a distance from the lower band, in units of the bands' width"),
    "cci_20": (_constant(100 * MILLI), "a distance from the average; 100 is where it calls a trend"),
    "stoch_k": (_constant(100 * MILLI), "a mean of three values of 0 to 100, which TA-Lib adds and subtracts"),
    "stoch_d": (_constant(100 * MILLI), "a mean of three values of 0 to 100, which TA-Lib adds and subtracts"),
    "adx_14": (_constant(100 * MILLI), "an average of abs(+DI - -DI) of 0 to 100: 0 where they are equal"),
    "tsi_25_13": (_constant(100 * MILLI), "an average of moves up and down, over that of their sizes: -100 to 100"),
    "cmf_20": (_constant(MILLI), "a sum of parts of either sign, over the sum of their sizes: -1 to 1"),
    "vpin_50": (_constant(MILLI), "differences of the running delta, over the volume: 0 to 1"),
}


def assert_equal(
    name: str, ours: Reals, oracle: Reals, n: int, scale: Reals | float = 0.0, *, relative: float = RELATIVE
) -> None:
    """A field's values (float64, one a candle) against its oracle's; defined from the n-th candle on.

    `scale`: what the value is made of, where that is larger than the value (see SCALES).
    """
    ours = np.asarray(ours, dtype=np.float64)
    assert ours.shape == oracle.shape, f"{name}: {ours.shape} values for {oracle.shape} candles"
    undefined = np.arange(len(oracle)) < n - 1
    limit = relative * np.maximum(np.abs(oracle), np.broadcast_to(scale, oracle.shape))
    with np.errstate(invalid="ignore"):  # inf - inf
        equal = np.where(undefined, np.isnan(ours) & np.isnan(oracle), np.abs(ours - oracle) <= limit)
    if not equal.all():
        wrong = np.flatnonzero(~equal)
        at = int(wrong[0])
        raise AssertionError(
            f"{name}, candle {at} (defined from {n - 1}): {float(ours[at])!r}, the oracle has {float(oracle[at])!r};"
            f" {len(wrong)} of {len(oracle)} candles differ, the last is {wrong[-1]}"
        )


def assert_matches(name: str, ours: Reals, bars: Bars) -> None:
    """A field's values over a history against its oracle."""
    oracle = ORACLES[name]
    assert_equal(name, ours, oracle.evaluate(bars), oracle.n, scale_of(name, bars))


def scale_of(name: str, bars: Bars) -> Reals | float:
    """What a field's values are made of, a candle: 0 where that is not larger than they are."""
    return SCALES[name][0](bars) if name in SCALES else 0.0
