"""Candles for tests of stores: rows with zeros where nothing else is told, and many versions of a few; and which stores
there are: those with a server are slow tests."""

from functools import cache
from random import Random
from typing import Any

import pytest

from wick.market.intervals import by_name
from wick.market.schema import (
    CANDLE_FIELDS,
    CLOSED,
    EMPTY,
    FOREIGN,
    FORMED_FIELDS,
    METRIC_FIELDS,
    PARTIAL,
    UNKNOWN,
)  # fmt: skip
from wick.metrics.pattern_table import masks
from wick.metrics.streams import Streams

STORES = ["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgres", "timescale"))]
F = {name: index for index, name in enumerate(CANDLE_FIELDS)}


def row(
    open_ms: int = 0, symbol: str = "BTC-USDT", interval: str = "1m", venue: str = "binance", **fields: Any
) -> list[Any]:
    """[venue, symbol, interval, *CANDLE_FIELDS]; the masks are those of `patterns`."""
    values: dict[str, Any] = dict.fromkeys(CANDLE_FIELDS, 0) | {"patterns": bytes(61)}
    values |= {"open_time_ms": open_ms, "close_time_ms": open_ms + 60_000} | fields
    if values["patterns"] is not None:
        values["bull"], values["bear"] = masks(values["patterns"])
    return [venue, symbol, interval, *values.values()]


# Three candles, each in three revisions, as somebody saw them who came in the middle, as the venue gave them, and as
# somebody computed their metrics who had begun a minute or an hour before, had just begun (one metric is not defined
# yet), or computes none.
HISTORIES: tuple[dict[str, Any], ...] = (
    {"obv_anchor_ms": -60_000}, {"obv_anchor_ms": -3_600_000}, {"obv_anchor_ms": 0, "vpin_50": None},
    dict.fromkeys(METRIC_FIELDS),
)  # fmt: skip
VERSIONS = [
    row(open_ms, revision=revision, flags=1 | flag, trade_count=10 * revision + flag, **history)
    for open_ms in (0, 60_000, 120_000)
    for revision in range(3)
    for flag in (0, PARTIAL, FOREIGN)
    for history in HISTORIES
]


@cache
def made(count: int, seed: int = 1, interval: str = "1m", first_ms: int = 1_719_792_000_000) -> list[list[Any]]:
    """`count` candles of a market, one behind the other, with all their metrics; some without a trade."""
    random, length = Random(seed), by_name(interval).close_ms(first_ms) - first_ms
    rows, price, cvd, trade = [], 61_837_63, 0, 1_000
    for number in range(count):
        open_, volume = price + random.randint(-2, 2), random.randint(1, 10**6)
        close = open_ + random.randint(-300, 300)
        high, low = max(open_, close) + random.randint(0, 90), min(open_, close) - random.randint(0, 90)
        trades = random.randint(1, 500)
        if random.random() < 0.1:
            open_ = high = low = close = price
            volume = trades = 0
        bought = random.randint(0, volume)
        delta, price = 2 * bought - volume, close
        cvd, trade = cvd + delta, trade + trades
        turnover = volume * ((high + low) // 2) + (random.randint(-volume, volume) if volume else 0)
        told = {
            "open_time_ms": first_ms + number * length, "close_time_ms": first_ms + (number + 1) * length,
            "flags": CLOSED if trades else CLOSED | EMPTY, "price_decimals": 2, "quantity_decimals": 5, "open": open_,
            "high": max(high, open_), "low": min(low, open_), "close": close, "volume": volume,
            "quote_volume": min(max(turnover, low * volume), high * volume), "trade_count": trades,
            "taker_buy_volume": bought, "taker_buy_quote_volume": bought * ((high + low) // 2),
            "first_trade_id": trade - trades + 1 if trades else trade, "last_trade_id": trade, "delta": delta,
            "delta_max": max(delta, 0) + random.randint(0, 99), "delta_min": min(delta, 0) - random.randint(0, 99),
            "cvd": cvd, "cvd_anchor_ms": first_ms, "max_trade_size": volume // 3, "large_trade_volume": volume // 4,
            "large_trade_delta": -(volume // 5),
            "delta_ratio": delta / volume if volume else 0.0, "tick_rv": random.random() / 1000,
            "avg_trade_size": volume / trades / 1e5 if trades else 0.0, "kyle_lambda": random.gauss(0, 1e-4),
            "ofi": random.gauss(0, 100), "book_imbalance": random.uniform(-1, 1),
            "quoted_spread_bps": random.random(), "effective_spread_bps": random.gauss(0.1, 0.1),
            "microprice_dev_bps": random.gauss(0, 0.01), "depth_imbalance_10bps": random.uniform(-1, 1),
        }  # fmt: skip
        told["vwap"] = told["quote_volume"] / volume / 1e2 if volume else None
        rows.append([*[told.get(name, 0) for name in FORMED_FIELDS], *UNKNOWN])
    return [["binance", "BTC-USDT", interval, *row] for row in Streams().enrich([0] * count, rows)]
