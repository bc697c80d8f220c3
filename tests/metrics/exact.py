"""The metrics once more, from their definitions alone: Python's integers, fractions and decimals, a loop a metric.

Slow, so for short histories; exact but for a last root, logarithm or conversion. Neither TA-Lib, numpy nor the engine
is used. A function takes candles and says what the field is at each, None where it is not defined. What TA-Lib's
definition leaves open (how a recursion begins, what 0/0 is) is said where it matters.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

from tests.metrics.bars import Bars

Number = Fraction | float
Values = list[Number | None]
Definition = Callable[["Candles"], Values]

EXACT: dict[str, Definition] = {}


class Candles:
    """The columns of a history as lists of Python's integers: ticks and lots."""

    def __init__(self, bars: Bars) -> None:
        self.o, self.h, self.l, self.c = (column.tolist() for column in (bars.open, bars.high, bars.low, bars.close))
        self.v, self.buy, self.turnover = bars.volume.tolist(), bars.buy_volume.tolist(), bars.quote_volume.tolist()
        self.tick = Fraction(1, 10**bars.price_decimals)
        self.lot = Fraction(1, 10**bars.quantity_decimals)
        self.n = len(bars)

    def true_range(self, i: int) -> int:
        return max(self.h[i], self.c[i - 1]) - min(self.l[i], self.c[i - 1])

    def moved(self) -> list[int]:
        """Close by close, from the second candle on."""
        return [now - before for before, now in zip(self.c, self.c[1:], strict=False)]


def exactly(name: str, bars: Bars) -> list[float]:
    """A field at every candle, rounded to float64 once: NaN where it is not defined."""
    return [math.nan if value is None else float(value) for value in EXACT[name](Candles(bars))]


def _exact(*names: str) -> Callable[[Definition], Definition]:
    def declare(function: Definition) -> Definition:
        for name in names or (function.__name__,):
            EXACT[name] = function
        return function

    return declare


def _ratio(above: int | Fraction, below: int | Fraction, nothing: Fraction = Fraction(0)) -> Fraction:
    return Fraction(above) / below if below else nothing


def _mean(values: Sequence[int | Fraction]) -> Fraction:
    return Fraction(sum(values)) / len(values)


def _from(first: int, n: int, value: Callable[[int], Number]) -> Values:
    """Defined from the candle `first` (counted from 0) on, each by itself."""
    return [None if i < first else value(i) for i in range(n)]


def _after(first: int, values: Sequence[Number]) -> Values:
    return [*([None] * first), *values]


def _ema(values: Sequence[int | Fraction], period: int) -> list[Fraction]:
    """From the last of the first `period` values on, with their mean as the beginning."""
    out = [_mean(values[:period])]
    for value in values[period:]:
        out.append(out[-1] + Fraction(2, period + 1) * (value - out[-1]))
    return out


def _wilder(values: Sequence[int | Fraction], period: int) -> list[Fraction]:
    """Wilder's average: the same with 1/period."""
    out = [_mean(values[:period])]
    for value in values[period:]:
        out.append((out[-1] * (period - 1) + value) / period)
    return out


def _ln(above: int, below: int) -> Decimal:
    with localcontext(prec=50):
        return (Decimal(above) / Decimal(below)).ln()


# One candle, or two -----------------------------------------------------------------------------------------------


@_exact()
def log_return(k: Candles) -> Values:
    return _from(1, k.n, lambda i: float(_ln(k.c[i], k.c[i - 1])))


@_exact()
def true_range(k: Candles) -> Values:
    return _from(1, k.n, lambda i: k.true_range(i) * k.tick)


@_exact()
def body_ratio(k: Candles) -> Values:
    return _from(0, k.n, lambda i: _ratio(k.c[i] - k.o[i], k.h[i] - k.l[i]))


@_exact()
def upper_wick_ratio(k: Candles) -> Values:
    return _from(0, k.n, lambda i: _ratio(k.h[i] - max(k.o[i], k.c[i]), k.h[i] - k.l[i]))


@_exact()
def lower_wick_ratio(k: Candles) -> Values:
    return _from(0, k.n, lambda i: _ratio(min(k.o[i], k.c[i]) - k.l[i], k.h[i] - k.l[i]))


@_exact()
def close_location(k: Candles) -> Values:
    return _from(0, k.n, lambda i: _ratio(k.c[i] - k.l[i], k.h[i] - k.l[i], Fraction(1, 2)))


# Order flow -------------------------------------------------------------------------------------------------------


@_exact()
def amihud_20(k: Candles) -> Values:
    def impact(i: int) -> Fraction:
        return _ratio(abs(Fraction(_ln(k.c[i], k.c[i - 1]))), k.turnover[i] * k.tick * k.lot)

    impacts = [Fraction(0), *(impact(i) for i in range(1, k.n))]
    return _from(20, k.n, lambda i: _mean(impacts[i - 19 : i + 1]))


@_exact()
def vpin_50(k: Candles) -> Values:
    """Poured candle by candle into 50 buckets, each closed when it is full; volumes are times 50, so all are whole."""

    def poured(i: int) -> Fraction:
        total = sum(k.v[i - 49 : i + 1])
        if not total:
            return Fraction(0)
        room, imbalance, out = total, Fraction(0), Fraction(0)
        for volume, buy in zip(k.v[i - 49 : i + 1], k.buy[i - 49 : i + 1], strict=True):
            left = 50 * volume
            while left:
                part = min(left, room)
                imbalance += Fraction(part * (2 * buy - volume), volume)
                left, room = left - part, room - part
                if not room:
                    out += abs(imbalance)
                    room, imbalance = total, Fraction(0)
        return out / (50 * total)

    return _from(49, k.n, poured)


@_exact()
def obv(k: Candles) -> Values:
    out = [k.v[0]]
    for i in range(1, k.n):
        out.append(out[-1] + k.v[i] * ((k.c[i] > k.c[i - 1]) - (k.c[i] < k.c[i - 1])))
    return [lots * k.lot for lots in out]


@_exact()
def cmf_20(k: Candles) -> Values:
    flow = [_ratio((c - low) - (h - c), h - low) * v for h, low, c, v in zip(k.h, k.l, k.c, k.v, strict=True)]
    return _from(19, k.n, lambda i: _ratio(sum(flow[i - 19 : i + 1]), sum(k.v[i - 19 : i + 1])))


@_exact()
def mfi_14(k: Candles) -> Values:
    typical = [sum(prices) for prices in zip(k.h, k.l, k.c, strict=True)]  # times 3

    def mfi(i: int) -> Fraction:
        days = range(i - 13, i + 1)
        up = sum(typical[j] * k.v[j] for j in days if typical[j] > typical[j - 1])
        down = sum(typical[j] * k.v[j] for j in days if typical[j] < typical[j - 1])
        return 100 * _ratio(up, up + down)

    return _from(14, k.n, mfi)


# Momentum ---------------------------------------------------------------------------------------------------------


@_exact()
def rsi_14(k: Candles) -> Values:
    up, down = (_wilder([max(sign * move, 0) for move in k.moved()], 14) for sign in (1, -1))
    return _after(14, [100 * _ratio(gain, gain + loss) for gain, loss in zip(up, down, strict=True)])


def _macd(k: Candles) -> tuple[list[Fraction], list[Fraction]]:
    """From the 26th candle, and its signal from the 34th: the fast average begins there too, not at the 12th."""
    line = [fast - slow for fast, slow in zip(_ema(k.c[14:], 12), _ema(k.c, 26), strict=True)]
    return line, _ema(line, 9)


@_exact()
def macd(k: Candles) -> Values:
    return _after(33, [value * k.tick for value in _macd(k)[0][8:]])


@_exact()
def macd_signal(k: Candles) -> Values:
    return _after(33, [value * k.tick for value in _macd(k)[1]])


def _fast_k(k: Candles, i: int) -> Fraction:
    lowest, highest = min(k.l[i - 13 : i + 1]), max(k.h[i - 13 : i + 1])
    return 100 * _ratio(k.c[i] - lowest, highest - lowest)


def _slow_k(k: Candles, i: int) -> Fraction:
    return _mean([_fast_k(k, j) for j in range(i - 2, i + 1)])


@_exact()
def stoch_k(k: Candles) -> Values:
    return _from(17, k.n, lambda i: _slow_k(k, i))


@_exact()
def stoch_d(k: Candles) -> Values:
    return _from(17, k.n, lambda i: _mean([_slow_k(k, j) for j in range(i - 2, i + 1)]))


@_exact()
def cci_20(k: Candles) -> Values:
    typical = [Fraction(sum(prices), 3) for prices in zip(k.h, k.l, k.c, strict=True)]

    def cci(i: int) -> Fraction:
        window = typical[i - 19 : i + 1]
        mean = _mean(window)
        return _ratio(typical[i] - mean, Fraction(15, 1000) * _mean([abs(price - mean) for price in window]))

    return _from(19, k.n, cci)


@_exact()
def roc_10(k: Candles) -> Values:
    return _from(10, k.n, lambda i: 100 * Fraction(k.c[i] - k.c[i - 10], k.c[i - 10]))


def _directional(k: Candles) -> list[tuple[Fraction, Fraction]]:
    """+DI and -DI from the 15th candle on. TA-Lib's sums begin with 13 moves, and are smoothed from the 14th on."""
    moves = []
    for i in range(1, k.n):
        up, down = k.h[i] - k.h[i - 1], k.l[i - 1] - k.l[i]
        moves.append((up if up > max(down, 0) else 0, down if down > max(up, 0) else 0, k.true_range(i)))
    sums = [Fraction(sum(column)) for column in zip(*moves[:13], strict=True)]
    out = []
    for move in moves[13:]:
        sums = [total - total / 14 + part for total, part in zip(sums, move, strict=True)]
        out.append((100 * _ratio(sums[0], sums[2]), 100 * _ratio(sums[1], sums[2])))
    return out


@_exact()
def plus_di_14(k: Candles) -> Values:
    return _after(14, [plus for plus, _ in _directional(k)])


@_exact()
def minus_di_14(k: Candles) -> Values:
    return _after(14, [minus for _, minus in _directional(k)])


@_exact()
def adx_14(k: Candles) -> Values:
    """Wilder's average of the directional index; a candle that has none (0/0) leaves it, and counts 0 at its start."""
    indices = [
        100 * abs(plus - minus) / (plus + minus) if plus + minus else None for plus, minus in _directional(k)
    ]  # fmt: skip
    out = [_mean([index or Fraction(0) for index in indices[:14]])]
    for index in indices[14:]:
        out.append(out[-1] if index is None else (out[-1] * 13 + index) / 14)
    return _after(27, out)


@_exact()
def tsi_25_13(k: Candles) -> Values:
    moves = _ema(_ema(k.moved(), 25), 13)
    sizes = _ema(_ema([abs(move) for move in k.moved()], 25), 13)
    return _after(37, [100 * _ratio(move, size) for move, size in zip(moves, sizes, strict=True)])


@_exact()
def ultosc(k: Candles) -> Values:
    def average(i: int, period: int) -> Fraction:
        days = range(i - period + 1, i + 1)
        bought = sum(k.c[j] - min(k.l[j], k.c[j - 1]) for j in days)
        return _ratio(bought, sum(k.true_range(j) for j in days))

    return _from(28, k.n, lambda i: 100 * (4 * average(i, 7) + 2 * average(i, 14) + average(i, 28)) / 7)


# Trend ------------------------------------------------------------------------------------------------------------


@_exact()
def sma_20(k: Candles) -> Values:
    return _from(19, k.n, lambda i: _mean(k.c[i - 19 : i + 1]) * k.tick)


@_exact()
def ema_20(k: Candles) -> Values:
    return _after(19, [value * k.tick for value in _ema(k.c, 20)])


@_exact()
def ema_50(k: Candles) -> Values:
    return _after(49, [value * k.tick for value in _ema(k.c, 50)])


def _wma(values: Sequence[int | Fraction], period: int) -> Fraction:
    """Of the last `period` values: the newest counts `period` times, the oldest once."""
    weighted = (weight * value for weight, value in enumerate(values[-period:], start=1))
    return Fraction(sum(weighted)) / (period * (period + 1) // 2)


@_exact()
def hma_16(k: Candles) -> Values:
    def raw(i: int) -> Fraction:
        return 2 * _wma(k.c[: i + 1], 8) - _wma(k.c[: i + 1], 16)

    return _from(18, k.n, lambda i: _wma([raw(j) for j in range(i - 3, i + 1)], 4) * k.tick)


@_exact()
def kama_10(k: Candles) -> Values:
    """Begins at the 10th close; a window without a move counts as a straight one."""
    out: list[Fraction] = []
    for i in range(10, k.n):
        noise = sum(abs(k.c[j] - k.c[j - 1]) for j in range(i - 9, i + 1))
        efficiency = _ratio(abs(k.c[i] - k.c[i - 10]), noise, nothing=Fraction(1))
        smoothing = (efficiency * (Fraction(2, 3) - Fraction(2, 31)) + Fraction(2, 31)) ** 2
        before = out[-1] if out else Fraction(k.c[9])
        value = before + smoothing * (k.c[i] - before)
        # Its digits multiply with every candle: 400 bits are kept.
        out.append(Fraction(round(value * 2**400), 2**400))
    return _after(10, [value * k.tick for value in out])


def _deviation(closes: Sequence[int]) -> float:
    n = len(closes)
    return math.sqrt(Fraction(n * sum(c * c for c in closes) - sum(closes) ** 2, n * n))


@_exact()
def bb_percent_b(k: Candles) -> Values:
    def percent_b(i: int) -> float:
        window = k.c[i - 19 : i + 1]
        deviation = _deviation(window)
        return 0.5 + float(k.c[i] - _mean(window)) / (4 * deviation) if deviation else 0.0

    return _from(19, k.n, percent_b)


@_exact()
def bb_bandwidth(k: Candles) -> Values:
    return _from(19, k.n, lambda i: 4 * _deviation(k.c[i - 19 : i + 1]) / float(_mean(k.c[i - 19 : i + 1])))


@_exact()
def donchian_upper_20(k: Candles) -> Values:
    return _from(19, k.n, lambda i: max(k.h[i - 19 : i + 1]) * k.tick)


@_exact()
def donchian_lower_20(k: Candles) -> Values:
    return _from(19, k.n, lambda i: min(k.l[i - 19 : i + 1]) * k.tick)


def _atr(k: Candles, period: int) -> list[Fraction]:
    return _wilder([k.true_range(i) for i in range(1, k.n)], period)


@_exact()
def atr_14(k: Candles) -> Values:
    return _after(14, [value * k.tick for value in _atr(k, 14)])


@_exact()
def supertrend_10_3(k: Candles) -> Values:
    """Up at its first candle whatever that closed at; a band of the trend's side moves in its favour only."""
    out: list[Fraction] = []
    upper = lower = Fraction(0)
    direction = 1
    for i, atr in enumerate(_atr(k, 10), start=10):
        over, under = Fraction(k.h[i] + k.l[i], 2) + 3 * atr, Fraction(k.h[i] + k.l[i], 2) - 3 * atr
        keeps_upper = out and not (over < upper or k.c[i - 1] > upper)
        keeps_lower = out and not (under > lower or k.c[i - 1] < lower)
        upper, lower = upper if keeps_upper else over, lower if keeps_lower else under
        if out and direction == 1 and k.c[i] < lower:
            direction = -1
        elif out and direction == -1 and k.c[i] > upper:
            direction = 1
        out.append(lower if direction == 1 else -upper)
    return _after(10, [value * k.tick for value in out])


@_exact()
def psar(k: Candles) -> Values:
    """Wilder's stop and reverse, in float64: it compares what it has rounded, so a tie is where TA-Lib has it.

    Down at its start where the second low fell by more than the second high rose, else up. A stop is never inside the
    two candles before the one it is for.
    """
    up = not k.l[0] - k.l[1] > max(k.h[1] - k.h[0], 0)
    stop, extreme = (float(k.l[0]), float(k.h[1])) if up else (float(k.h[0]), float(k.l[1]))
    out: list[float] = []
    pace = 0.02
    for i in range(1, k.n):
        last = i - 1 if i > 1 else i  # at the start the candle itself stands for the one before it
        if (k.l[i] <= stop) if up else (k.h[i] >= stop):
            up = not up
            stop, pace = extreme, 0.02
            # The new stop is the old extreme, outside this candle and the one before it.
            stop = float(min(stop, k.l[last], k.l[i]) if up else max(stop, k.h[last], k.h[i]))
            out.append(stop)
            extreme = float(k.h[i] if up else k.l[i])
        else:
            out.append(stop)
            beyond = k.h[i] > extreme if up else k.l[i] < extreme
            if beyond:
                extreme = float(k.h[i] if up else k.l[i])
                pace = min(pace + 0.02, 0.2)
        stop = stop + pace * (extreme - stop)
        stop = float(min(stop, k.l[last], k.l[i]) if up else max(stop, k.h[last], k.h[i]))
    return _after(1, [value * float(k.tick) for value in out])


# Volatility -------------------------------------------------------------------------------------------------------


@_exact()
def garman_klass_20(k: Candles) -> Values:
    def variance(i: int) -> Decimal:
        spread, body = _ln(k.h[i], k.l[i]), _ln(k.c[i], k.o[i])
        return spread**2 / 2 - (2 * Decimal(2).ln() - 1) * body**2

    variances = [variance(i) for i in range(k.n)]
    return _from(19, k.n, lambda i: float((sum(variances[i - 19 : i + 1]) / 20).sqrt()))


@_exact()
def realized_vol_20(k: Candles) -> Values:
    returns = [Fraction(0), *(Fraction(_ln(k.c[i], k.c[i - 1])) for i in range(1, k.n))]

    def deviation(i: int) -> float:
        window = returns[i - 19 : i + 1]
        mean = _mean(window)
        return math.sqrt(sum((value - mean) ** 2 for value in window) / 19)

    return _from(20, k.n, deviation)
