"""Candles of before the system was started, as the sink would have stored them: history for the page to show."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from wick.market.intervals import DAY, by_name
from wick.market.schema import CANDLE_FIELDS, CLOSED, FOREIGN
from wick.metrics import table
from wick.metrics.bank import Bank
from wick.metrics.pattern_table import masks
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore

ROWS = 1_200  # more than two pages of the API as the web page asks for them
PRICE_DECIMALS, QUANTITY_DECIMALS = 2, 5


# What a venue may leave out of a candle of its own (docs/backfill.md).
UNTOLD = ("trade_count", "taker_buy_volume", "taker_buy_quote_volume", "quote_volume", "delta", "vwap", "cvd")


def write_history(path: Path, symbol: str = "BTC-USDT", interval: str = "1m", foreign: int = 0) -> None:
    """ROWS closed candles in a row, the newest of which closes with the present minute; with metrics and patterns.
    `foreign`: so many, as a venue gave them."""
    store = SqliteStore(path)
    candles = with_metrics(make_candles(interval, foreign or ROWS))
    if foreign:
        candles = [one | dict.fromkeys(UNTOLD) | {"flags": CLOSED | FOREIGN} for one in candles]
    rows = [["binance", symbol, interval, *[one.get(name) for name in CANDLE_FIELDS]] for one in candles]
    store.write(Batch.of_rows(rows), {})
    store.close()


def make_candles(interval: str, count: int = ROWS) -> list[dict[str, Any]]:
    """The candles, oldest first, as far as trades make them."""
    its = by_name(interval)
    open_ms = its.open_ms(int(time.time() * 1000))
    candles = []
    price = 6_180_000
    for step in range(count):
        close_ms, open_ms = open_ms, its.open_ms(open_ms - 1)
        opened = price + (step * 7919) % 2_000 - 1_000
        candles.append(
            {
                "open_time_ms": open_ms, "close_time_ms": close_ms, "revision": 0, "flags": 1,
                "price_decimals": PRICE_DECIMALS, "quantity_decimals": QUANTITY_DECIMALS,
                "open": opened, "high": max(price, opened) + 300, "low": min(price, opened) - 300, "close": price,
                "volume": 500_000, "quote_volume": 500_000 * price, "trade_count": 40,
                "first_trade_id": 1, "last_trade_id": 40,
                # The taker bought 2 of 5 BTC; the running delta has been above and below that.
                "taker_buy_volume": 200_000, "taker_buy_quote_volume": 200_000 * price,
                "delta": -100_000, "delta_max": 50_000, "delta_min": -150_000,
                "cvd": -12_345_678, "cvd_anchor_ms": open_ms - open_ms % DAY, "max_trade_size": 123_456,
                "large_trade_volume": 200_000, "large_trade_delta": -200_000, "vwap": price / 100, "delta_ratio": -0.2,
                "avg_trade_size": 0.125, "tick_rv": 0.0012, "kyle_lambda": -1.5,
            }
        )  # fmt: skip
        price = opened
    return candles[::-1]


def with_metrics(candles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with what the engine makes of closed candles."""
    bank = Bank(19)
    bank.widen(1)
    taken = ("open_time_ms", "open", "high", "low", "close", "quote_volume", "volume", "delta")
    for candle in candles:
        column = np.array([[float(candle[name])] for name in taken])
        values, found = bank.take(np.array([0]), column, np.array([[PRICE_DECIMALS], [QUANTITY_DECIMALS]]))
        for field, value in zip(table.FIELDS, values[:, 0].tolist(), strict=True):
            candle[field.name] = None if value != value else int(value) if field.unit == "ms" else value
        own = found[:, 0].tobytes()
        bull, bear = masks(own)
        candle |= {"bull": bull, "bear": bear, "patterns": own}
    return candles
