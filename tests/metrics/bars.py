"""Candle histories that the metrics are tried on: seeded, in whole ticks and lots, from a quiet market to a broken one.

Nothing of the engine is used here. Every history is a `Bars` of any length from a seed; `HISTORIES` names them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64] | NDArray[np.object_]
Reals = NDArray[np.float64]
Rng = np.random.Generator

START_MS = 1_723_118_400_000  # 2024-08-08 12:00 UTC
MINUTE_MS = 60_000
SPIKE_AT = 100  # the candle of a spike: everything is defined before it, and the window behind it is the longest part
SPIKE_UNITS = 10**12


@dataclass(frozen=True)
class Bars:
    """One pair's closed candles, oldest first: whole numbers, each column of the same length.

    Prices are in ticks of 10^-price_decimals, volumes in lots of 10^-quantity_decimals, `quote_volume` in ticks times
    lots (Python's integers where int64 does not hold them). A candle without trades is flat at the previous close.
    """

    open_ms: NDArray[np.int64]
    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    volume: NDArray[np.int64]
    buy_volume: NDArray[np.int64]
    quote_volume: Whole
    price_decimals: int
    quantity_decimals: int

    def __len__(self) -> int:
        return len(self.close)

    def __getitem__(self, some: slice) -> "Bars":
        """The candles of a slice."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: v[some] for name, v in columns.items() if isinstance(v, np.ndarray)})


Generator = Callable[[int, int], Bars]  # (candles, seed)


def random_walk(n: int, seed: int, price: int = 6_000_000, price_decimals: int = 2) -> Bars:
    """BTC at 60,000.00: volatility comes in clusters, a candle opens near where the last one closed."""
    rng = np.random.default_rng(seed)
    scale = 3e-4 * price * np.exp(np.convolve(rng.normal(0, 0.3, n + 19), np.ones(20) / 4, "valid"))
    close = np.maximum(price + np.cumsum(np.rint(rng.standard_t(4, n) * scale)).astype(np.int64), price // 10)
    opened = _after(close, price) + rng.integers(-5, 6, n)
    return _candles(rng, opened, close, wick=scale, price_decimals=price_decimals)


def rich(n: int, seed: int) -> Bars:
    """A coin at 1,000,000.00: 10^8 ticks, and a candle moves only a few of them."""
    rng = np.random.default_rng(seed)
    close = 100_000_000 + np.cumsum(rng.integers(-3, 4, n))
    return _candles(rng, _after(close, 100_000_000), close, wick=np.full(n, 2.0))


def dust(n: int, seed: int) -> Bars:
    """A coin at 1e-8: one to twenty ticks of the last decimal."""
    rng = np.random.default_rng(seed)
    close = _fold(10 + np.cumsum(rng.integers(-2, 3, n)), 1, 20)
    return _candles(rng, _after(close, 10), close, wick=np.full(n, 1.0), top=20, price_decimals=8, quantity_decimals=0)


def ties(n: int, seed: int) -> Bars:
    """A dozen prices in all, so that equal highs, lows, closes and typical prices are the rule."""
    rng = np.random.default_rng(seed)
    close = _fold(100 + np.cumsum(rng.integers(-2, 3, n)), 94, 106)
    return _candles(rng, _after(close, 100), close, wick=np.full(n, 1.0), lots=3.0, quantity_decimals=1)


def gaps(n: int, seed: int) -> Bars:
    """Candles that open far from where the last one closed."""
    rng = np.random.default_rng(seed)
    close = 6_000_000 + np.cumsum(np.rint(rng.normal(0, 4_000, n)).astype(np.int64))
    jumps = np.where(rng.random(n) < 0.3, np.rint(rng.normal(0, 30_000, n)), 0).astype(np.int64)
    close += np.cumsum(jumps)
    close = np.maximum(close, 500_000)
    return _candles(rng, np.maximum(_after(close, 6_000_000) + jumps, 1), close, wick=np.full(n, 2_000.0))


def trending(n: int, seed: int) -> Bars:
    """Up without a single down move for two thirds, then down without a single up move, at a nearly even pace."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(900, 1_101, n)
    steps[2 * n // 3 :] *= -1
    close = 3_000_000 + np.cumsum(steps)
    return _candles(rng, _after(close, 3_000_000), close, wick=np.full(n, 100.0))


def constant(n: int, seed: int) -> Bars:
    """Trades at one price only."""
    rng = np.random.default_rng(seed)
    close = np.full(n, 6_000_000, dtype=np.int64)
    return _candles(rng, close, close, wick=np.zeros(n))


def silent(n: int, seed: int) -> Bars:
    """Not a single trade: flat candles without volume."""
    return _without_trades(constant(n, seed), np.full(n, True))


def quiet_runs(n: int, seed: int) -> Bars:
    """A market that sleeps again and again, for a few candles or for longer than every window."""
    rng = np.random.default_rng(seed)
    bars = random_walk(n, seed)
    asleep = np.zeros(n, dtype=bool)
    at = 5
    while at < n:
        length = int(rng.choice([1, 3, 15, 25, 60]))
        asleep[at : at + length] = True
        at += length + int(rng.integers(1, 40))
    return _without_trades(bars, asleep)


def stopped(n: int, seed: int) -> Bars:
    """A market of few ticks that stops at a tenth and wakes at the end: what decays comes below every threshold."""
    return _without_trades(ties(n, seed), (np.arange(n) >= n // 10) & (np.arange(n) < 19 * n // 20))


def one_trade(n: int, seed: int) -> Bars:
    """One trade a candle: open, high, low and close are one price."""
    rng = np.random.default_rng(seed)
    close = 6_000_000 + np.cumsum(rng.integers(-500, 501, n))
    return _candles(rng, close, close, wick=np.zeros(n), lots=1_000.0)


def price_spike(n: int, seed: int, at: int = SPIKE_AT) -> Bars:
    """`random_walk`, but one candle trades up to 10^12 units and closes there; the next opens where it was before."""
    bars = random_walk(n, seed)
    price = SPIKE_UNITS * 10**bars.price_decimals
    turnover = (int(bars.low[at]) + price) // 2 * int(bars.volume[at])
    return _with(bars, at, high=price, close=price, quote_volume=turnover)


def volume_spike(n: int, seed: int, at: int = SPIKE_AT) -> Bars:
    """`random_walk`, but one candle trades 10^12 units."""
    bars = random_walk(n, seed)
    volume = SPIKE_UNITS * 10**bars.quantity_decimals
    return _with(bars, at, volume=volume, buy_volume=volume // 3, quote_volume=int(bars.close[at]) * volume)


HISTORIES: dict[str, Generator] = {
    generator.__name__: generator
    for generator in (
        random_walk, rich, dust, ties, gaps, trending, constant, silent, quiet_runs, stopped, one_trade,
        price_spike, volume_spike,
    )
}  # fmt: skip
SPIKES: dict[str, Generator] = {"price_spike": price_spike, "volume_spike": volume_spike}  # random_walk is without it


def _candles(
    rng: Rng,
    opened: NDArray[np.int64],
    close: NDArray[np.int64],
    *,
    wick: Reals,
    top: int | None = None,
    lots: float = 20_000.0,
    price_decimals: int = 2,
    quantity_decimals: int = 3,
) -> Bars:
    """Candles around given opens and closes: wicks of about `wick` ticks (within 1 to `top`), `lots` a candle."""
    n = len(close)
    high = np.maximum(opened, close) + np.rint(np.abs(rng.normal(0, 1, n)) * wick).astype(np.int64)
    low = np.minimum(opened, close) - np.rint(np.abs(rng.normal(0, 1, n)) * wick).astype(np.int64)
    high, low = np.minimum(high, top or high), np.maximum(low, 1)
    volume = 1 + np.rint(lots * rng.lognormal(0, 1, n)).astype(np.int64)
    return Bars(
        open_ms=START_MS + MINUTE_MS * np.arange(n, dtype=np.int64),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        buy_volume=np.minimum(np.rint(volume * rng.beta(2, 2, n)).astype(np.int64), volume),
        quote_volume=low * volume + (high - low) * volume * rng.integers(0, 1_001, n) // 1_000,
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
    )


def _with(bars: Bars, at: int, **values: int) -> Bars:
    """One candle with other values: a column becomes one of Python's integers where int64 does not hold them."""
    columns = {}
    for name, value in values.items():
        column = getattr(bars, name).astype(np.int64 if value < 2**63 else object)
        column[at] = value
        columns[name] = column
    return replace(bars, **columns)


def _without_trades(bars: Bars, asleep: NDArray[np.bool_]) -> Bars:
    """The trades of some candles never took place: they are flat at the last close before them."""
    awake = np.where(asleep, -1, np.arange(len(bars)))
    last = np.maximum.accumulate(awake)
    close = np.where(last < 0, bars.open[0], bars.close[np.maximum(last, 0)])
    flat = {name: np.where(asleep, close, getattr(bars, name)) for name in ("open", "high", "low", "close")}
    empty = {name: np.where(asleep, 0, getattr(bars, name)) for name in ("volume", "buy_volume", "quote_volume")}
    return replace(bars, **flat, **empty)


def _after(close: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Where the last candle closed."""
    return np.concatenate(([first], close[:-1])).astype(np.int64)


def _fold(values: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    """A walk that is reflected at both ends."""
    span = high - low
    return low + span - np.abs((values - low) % (2 * span) - span)
