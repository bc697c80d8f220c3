"""Candles of before the system was started, as the sink would have stored them: history for the page to show."""

import time
from pathlib import Path

from wick.market.intervals import DAY, by_name
from wick.storage.sqlite import SqliteStore

ROWS = 1_200  # more than two pages of the API as the web page asks for them


def write_history(path: Path, symbol: str = "BTC-USDT", interval: str = "1m") -> None:
    """ROWS closed candles in a row, the newest of which closes with the present minute."""
    table = by_name(interval)
    open_ms = table.open_ms(int(time.time() * 1000))
    rows = []
    price = 6_180_000
    for step in range(ROWS):
        close_ms, open_ms = open_ms, table.open_ms(open_ms - 1)
        opened = price + (step * 7919) % 2_000 - 1_000
        high, low = max(price, opened) + 300, min(price, opened) - 300
        prices, volumes = [opened, high, low, price], [500_000, 500_000 * price, 40, 200_000, 200_000 * price]
        # The taker bought 2 of 5 BTC; the running delta has been above and below that.
        exact = [-100_000, 50_000, -150_000, -12_345_678, open_ms - open_ms % DAY, 123_456, 200_000, -200_000]
        real = [price / 100, -0.2, 0.125, 0.0012, -1.5]
        rows.append(
            ["binance", symbol, interval, open_ms, close_ms, 0, 1, 2, 5, *prices, *volumes, 1, 40, *exact, *real]
        )
        price = opened
    store = SqliteStore(path)
    store.write(rows, {})
    store.close()
