"""What every metric of a candle has to be: whole histories evaluated by TA-Lib (kind L) or numpy and pandas (kind O).

Nothing of the engine is used here. Two rules keep the oracles' own rounding out of what is measured:

- TA-Lib is fed whole ticks and lots as float64 (so where it has a threshold, it acts on those), times whatever makes
  its own divisions come out even; a price is scaled to real units at the end.
- Where TA-Lib keeps a running sum of what is not whole (an error stays when its cause has left the window), or of
  squares, it is asked window by window, about prices relative to the window's last close where only differences count.

Every parameter is given: nothing here rests on a default.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import talib
from numpy.lib.stride_tricks import sliding_window_view

from tests.metrics.bars import Bars, Reals

SMA = 0  # TA-Lib's number of the moving average's type
BUCKETS = 50


@dataclass(frozen=True)
class Oracle:
    """How a field is evaluated: with TA-Lib ("L") or by its own formula ("O"), from candle `n` on (NaN before)."""

    kind: str
    n: int
    evaluate: Callable[[Bars], Reals]  # one float64 a candle, in real units


ORACLES: dict[str, Oracle] = {}
# What remembers the whole history; every other field is decided by its last n candles.
RECURSIVE = frozenset({
    "adx_14", "atr_14", "ema_20", "ema_50", "kama_10", "macd", "macd_signal", "minus_di_14", "obv", "plus_di_14",
    "psar", "rsi_14", "supertrend_10_3", "tsi_25_13",
})  # fmt: skip


def _oracle(kind: str, n: int, *names: str) -> Callable[[Callable[[Bars], Reals]], Callable[[Bars], Reals]]:
    """Declare a function as the oracle of a field (its own name, where none is given)."""

    def declare(function: Callable[[Bars], Reals]) -> Callable[[Bars], Reals]:
        for name in names or (function.__name__,):
            assert name not in ORACLES, name
            ORACLES[name] = Oracle(kind, n, function)
        return function

    return declare


# Columns ----------------------------------------------------------------------------------------------------------


def _reals(whole: np.ndarray) -> Reals:
    return whole.astype(np.float64)


def _hlc(bars: Bars, factor: int = 1) -> tuple[Reals, Reals, Reals]:
    return tuple(_reals(column * factor) for column in (bars.high, bars.low, bars.close))  # type: ignore[return-value]


def _price(bars: Bars, ticks: Reals) -> Reals:
    return ticks / 10**bars.price_decimals


def _previous(column: np.ndarray) -> Reals:
    """The candle before: NaN for the first."""
    return np.concatenate(([np.nan], _reals(column[:-1])))


def _ratio(above: np.ndarray, below: np.ndarray, nothing: float = 0.0) -> Reals:
    """above / below, and `nothing` where both are 0."""
    above, below = _reals(above), _reals(below)
    return np.divide(above, below, out=np.where(np.isnan(above), np.nan, nothing), where=below != 0)


def _log_ratio(above: np.ndarray, below: np.ndarray) -> Reals:
    """ln(above / below) to the last bit also where they are close: their quotient is rounded, their difference not."""
    above, below = _reals(above), _reals(below)
    near = np.abs(above - below) < below / 2
    return np.where(near, np.log1p(np.where(near, (above - below) / below, 0.0)), np.log(above / below))


def _windows(column: Reals, n: int) -> Reals:
    """The last n values at every candle (NaN where there are fewer): one row a candle."""
    return sliding_window_view(np.concatenate((np.full(n - 1, np.nan), column)), n)


def by_window(function: Callable[..., Reals], n: int, *columns: Reals) -> Reals:
    """The last value that a function has for the last n candles alone, at every candle."""
    out = np.full(len(columns[0]), np.nan)
    for end in range(n, len(out) + 1):
        out[end - 1] = function(*(column[end - n : end] for column in columns))[-1]
    return out


# One candle, or two -----------------------------------------------------------------------------------------------


@_oracle("O", 2)
def log_return(bars: Bars) -> Reals:
    return _log_ratio(bars.close, _previous(bars.close))


@_oracle("L", 2)
def true_range(bars: Bars) -> Reals:
    return _price(bars, talib.TRANGE(*_hlc(bars)))


@_oracle("O", 1)
def body_ratio(bars: Bars) -> Reals:
    return _ratio(bars.close - bars.open, bars.high - bars.low)


@_oracle("O", 1)
def upper_wick_ratio(bars: Bars) -> Reals:
    return _ratio(bars.high - np.maximum(bars.open, bars.close), bars.high - bars.low)


@_oracle("O", 1)
def lower_wick_ratio(bars: Bars) -> Reals:
    return _ratio(np.minimum(bars.open, bars.close) - bars.low, bars.high - bars.low)


@_oracle("O", 1)
def close_location(bars: Bars) -> Reals:
    return _ratio(bars.close - bars.low, bars.high - bars.low, nothing=0.5)


# Order flow -------------------------------------------------------------------------------------------------------


@_oracle("O", 21)
def amihud_20(bars: Bars) -> Reals:
    turnover = _reals(bars.quote_volume) / 10 ** (bars.price_decimals + bars.quantity_decimals)
    moved = np.abs(log_return(bars))
    impact = np.divide(moved, turnover, out=np.where(np.isnan(moved), np.nan, 0.0), where=turnover > 0)
    return _windows(impact, 20).mean(axis=1)


@_oracle("O", BUCKETS)
def vpin_50(bars: Bars) -> Reals:
    out = np.full(len(bars), np.nan)
    volume, delta = _reals(bars.volume), _reals(2 * bars.buy_volume - bars.volume)
    for end in range(BUCKETS, len(bars) + 1):
        traded = np.flatnonzero(bars.volume[end - BUCKETS : end]) + end - BUCKETS
        volumes = np.concatenate(([0.0], np.cumsum(volume[traded])))
        deltas = np.concatenate(([0.0], np.cumsum(delta[traded])))
        total = volumes[-1]
        edges = np.interp(total * np.arange(BUCKETS + 1) / BUCKETS, volumes, deltas)
        out[end - 1] = np.abs(np.diff(edges)).sum() / total if total else 0.0
    return out


@_oracle("L", 1)
def obv(bars: Bars) -> Reals:
    return talib.OBV(_reals(bars.close), _reals(bars.volume)) / 10**bars.quantity_decimals


@_oracle("O", 20)
def cmf_20(bars: Bars) -> Reals:
    location = _ratio(2 * bars.close - bars.high - bars.low, bars.high - bars.low)
    volume = _reals(bars.volume)
    return _ratio(_windows(location * volume, 20).sum(axis=1), _windows(volume, 20).sum(axis=1))


@_oracle("L", 15)
def mfi_14(bars: Bars) -> Reals:
    def mfi(*columns: Reals) -> Reals:
        return talib.MFI(*columns, timeperiod=14)

    return by_window(mfi, 15, *_hlc(bars, 3), _reals(bars.volume))


# Momentum ---------------------------------------------------------------------------------------------------------


@_oracle("L", 15)
def rsi_14(bars: Bars) -> Reals:
    return talib.RSI(_reals(bars.close), timeperiod=14)


def _macd(bars: Bars) -> tuple[Reals, Reals, Reals]:
    # Only differences count: near 0 they keep more digits. The median is no spike.
    return talib.MACD(_reals(bars.close - int(np.median(bars.close))), fastperiod=12, slowperiod=26, signalperiod=9)


@_oracle("L", 34)
def macd(bars: Bars) -> Reals:
    return _price(bars, _macd(bars)[0])


@_oracle("L", 34)
def macd_signal(bars: Bars) -> Reals:
    return _price(bars, _macd(bars)[1])


def _stoch(*columns: Reals) -> tuple[Reals, Reals]:
    return talib.STOCH(
        *columns, fastk_period=14, slowk_period=3, slowk_matype=SMA, slowd_period=3, slowd_matype=SMA
    )  # fmt: skip


@_oracle("L", 18)
def stoch_k(bars: Bars) -> Reals:
    return by_window(lambda *columns: _stoch(*columns)[0], 18, *_hlc(bars))


@_oracle("L", 18)
def stoch_d(bars: Bars) -> Reals:
    return by_window(lambda *columns: _stoch(*columns)[1], 18, *_hlc(bars))


@_oracle("L", 20)
def cci_20(bars: Bars) -> Reals:
    # Times 3 the typical price is whole, times 20 their average is: a price that equals it is seen to.
    return talib.CCI(*_hlc(bars, 60), timeperiod=20)


@_oracle("L", 11)
def roc_10(bars: Bars) -> Reals:
    # TA-Lib's ROC takes 1 from the rounded quotient; its ROCP divides the difference.
    return 100 * talib.ROCP(_reals(bars.close), timeperiod=10)


@_oracle("L", 28)
def adx_14(bars: Bars) -> Reals:
    return talib.ADX(*_hlc(bars), timeperiod=14)


@_oracle("L", 15)
def plus_di_14(bars: Bars) -> Reals:
    return talib.PLUS_DI(*_hlc(bars), timeperiod=14)


@_oracle("L", 15)
def minus_di_14(bars: Bars) -> Reals:
    return talib.MINUS_DI(*_hlc(bars), timeperiod=14)


def seeded_ema(values: pd.Series, period: int) -> pd.Series:
    """An EMA that begins with the mean of its first `period` values, as TA-Lib's does, by pandas."""
    values = values.dropna()
    seed = values.iloc[period - 1 : period] * 0 + values.iloc[:period].mean()
    smooth = pd.concat([seed, values.iloc[period:]]).ewm(alpha=2 / (period + 1), adjust=False).mean()
    return smooth.reindex(values.index)


@_oracle("O", 38)
def tsi_25_13(bars: Bars) -> Reals:
    moved = pd.Series(_reals(bars.close)).diff()

    def smooth(values: pd.Series) -> Reals:
        return seeded_ema(seeded_ema(values, 25), 13).reindex(moved.index).to_numpy()

    return 100 * _ratio(smooth(moved), smooth(moved.abs()))


@_oracle("L", 29)
def ultosc(bars: Bars) -> Reals:
    # Its running sums are of whole ticks: exact.
    return talib.ULTOSC(*_hlc(bars), timeperiod1=7, timeperiod2=14, timeperiod3=28)


# Trend ------------------------------------------------------------------------------------------------------------


@_oracle("L", 20)
def sma_20(bars: Bars) -> Reals:
    return _price(bars, talib.SMA(_reals(bars.close), timeperiod=20))


@_oracle("L", 20)
def ema_20(bars: Bars) -> Reals:
    return _price(bars, talib.EMA(_reals(bars.close), timeperiod=20))


@_oracle("L", 50)
def ema_50(bars: Bars) -> Reals:
    return _price(bars, talib.EMA(_reals(bars.close), timeperiod=50))


@_oracle("O", 19)
def hma_16(bars: Bars) -> Reals:
    weights = 36 * 136  # of a WMA over 8, over 16: their quotients are whole

    def hma(close: Reals) -> Reals:
        fast = talib.WMA(close * weights, timeperiod=8)
        slow = talib.WMA(close * weights, timeperiod=16)
        return talib.WMA(2 * fast - slow, timeperiod=4)

    return _price(bars, by_window(hma, 19, _reals(bars.close)) / weights)


@_oracle("L", 11)
def kama_10(bars: Bars) -> Reals:
    return _price(bars, talib.KAMA(_reals(bars.close), timeperiod=10))


def _bands(close: Reals) -> tuple[Reals, Reals, Reals]:
    return talib.BBANDS(close, timeperiod=20, nbdevup=2.0, nbdevdn=2.0, matype=SMA)


@_oracle("L", 20)
def bb_percent_b(bars: Bars) -> Reals:
    def percent_b(close: Reals) -> Reals:
        upper, _, lower = _bands(close - close[-1])
        return _ratio(-lower, upper - lower)

    return by_window(percent_b, 20, _reals(bars.close))


@_oracle("L", 20)
def bb_bandwidth(bars: Bars) -> Reals:
    def bandwidth(close: Reals) -> Reals:
        upper, middle, lower = _bands(close - close[-1])
        return (upper - lower) / (middle + close[-1])

    return by_window(bandwidth, 20, _reals(bars.close))


@_oracle("L", 20)
def donchian_upper_20(bars: Bars) -> Reals:
    return _price(bars, talib.MAX(_reals(bars.high), timeperiod=20))


@_oracle("L", 20)
def donchian_lower_20(bars: Bars) -> Reals:
    return _price(bars, talib.MIN(_reals(bars.low), timeperiod=20))


@_oracle("L", 15)
def atr_14(bars: Bars) -> Reals:
    return _price(bars, talib.ATR(*_hlc(bars), timeperiod=14))


@_oracle("O", 11)
def supertrend_10_3(bars: Bars) -> Reals:
    high, low, close = _hlc(bars)
    middle, reach = (high + low) / 2, 3 * talib.ATR(high, low, close, timeperiod=10)
    out = np.full(len(bars), np.nan)
    up = True
    for i in range(10, len(bars)):
        over, under = middle[i] + reach[i], middle[i] - reach[i]
        if i == 10:  # nothing to turn from
            upper, lower = over, under
        else:
            if over < upper or close[i - 1] > upper:
                upper = over
            if under > lower or close[i - 1] < lower:
                lower = under
            up = close[i] >= lower if up else close[i] > upper
        out[i] = lower if up else -upper
    return _price(bars, out)


@_oracle("L", 2)
def psar(bars: Bars) -> Reals:
    high, low, _ = _hlc(bars)
    return _price(bars, talib.SAR(high, low, acceleration=0.02, maximum=0.2))


# Volatility -------------------------------------------------------------------------------------------------------


@_oracle("O", 20)
def garman_klass_20(bars: Bars) -> Reals:
    spread, body = _log_ratio(bars.high, bars.low), _log_ratio(bars.close, bars.open)
    return np.sqrt(_windows(spread**2 / 2 - (2 * np.log(2) - 1) * body**2, 20).mean(axis=1))


@_oracle("O", 21)
def realized_vol_20(bars: Bars) -> Reals:
    return _windows(log_return(bars), 20).std(axis=1, ddof=1)
