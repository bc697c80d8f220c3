"""Drawn candles of many streams, in whole ticks and lots: walks that hold still now and then."""

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000.0

Prices = NDArray[np.float64]  # (candles, streams)


def drawn(candles: int, streams: int, seed: int = 1) -> tuple[Prices, Prices, Prices, Prices]:
    """Open, high, low, close."""
    random = np.random.default_rng(seed)

    def steps(scale: float) -> Prices:
        return np.rint(random.normal(0, scale, (candles, streams)))

    body = steps(20) * (random.random((candles, streams)) < 0.9)
    close = 100_000 + np.cumsum(body + steps(1), axis=0)
    open_ = close - body
    return open_, np.maximum(open_, close) + np.abs(steps(8)), np.minimum(open_, close) - np.abs(steps(8)), close


def taken(candles: int, streams: int, seed: int = 1) -> NDArray[np.float64]:
    """As a bank takes them: time, open, high, low, close, turnover, volume, delta; (candles, 8, streams)."""
    random = np.random.default_rng(seed)
    prices = drawn(candles, streams, seed)
    time = np.repeat(np.arange(candles)[:, None] * MINUTE_MS, streams, axis=1)
    volume = np.rint(np.exp(random.normal(8, 1, (candles, streams))))
    delta = np.rint(volume * random.uniform(-1, 1, (candles, streams)))
    return np.stack([time, *prices, volume * prices[3], volume, delta], axis=1)
