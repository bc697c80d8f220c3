"""The baseline: what one writes first. Twelve candle objects a pair, updated tick by tick, in floats.

Favoured over wick: it gets decoded Python values, knows no order flow, no late or double trade, no grace, no exact
sum, and does not look for what has changed.
"""

from typing import Any

from wick.market.intervals import INTERVALS, Interval

Tick = tuple[str, int, float, float, bool]  # symbol, time in ms, price, quantity, whether the taker bought


class Candle:
    """One interval of one pair."""

    __slots__ = (
        "buy_quote_volume", "buy_volume", "close", "close_ms", "closed", "count", "high", "interval", "low", "open",
        "open_ms", "quote_volume", "volume",
    )  # fmt: skip

    def __init__(self, interval: Interval, closed: list[dict[str, Any]]) -> None:
        self.interval, self.closed = interval, closed
        self.open_ms = self.close_ms = self.count = 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = self.quote_volume = self.buy_volume = self.buy_quote_volume = 0.0

    def update(self, time_ms: int, price: float, quantity: float, taker_buy: bool) -> None:
        if time_ms >= self.close_ms:
            self.roll(time_ms, price)
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        self.close = price
        self.volume += quantity
        self.quote_volume += price * quantity
        self.count += 1
        if taker_buy:
            self.buy_volume += quantity
            self.buy_quote_volume += price * quantity

    def roll(self, time_ms: int, price: float) -> None:
        """Close this candle, if it was one, and open the one that holds `time_ms`."""
        if self.count:
            self.closed.append(self.row())
        self.open_ms = self.interval.open_ms(time_ms)
        self.close_ms = self.interval.close_ms(self.open_ms)
        self.open = self.high = self.low = self.close = price
        self.volume = self.quote_volume = self.buy_volume = self.buy_quote_volume = 0.0
        self.count = 0

    def row(self) -> dict[str, Any]:
        return {
            "interval": self.interval.name, "open_time": self.open_ms, "close_time": self.close_ms,
            "open": self.open, "high": self.high, "low": self.low, "close": self.close,
            "volume": self.volume, "quote_volume": self.quote_volume, "count": self.count,
            "taker_buy_volume": self.buy_volume, "taker_buy_quote_volume": self.buy_quote_volume,
        }  # fmt: skip


class Pair:
    """The twelve candles of a pair; closed ones go to `closed`."""

    __slots__ = ("candles",)

    def __init__(self, closed: list[dict[str, Any]]) -> None:
        self.candles = [Candle(interval, closed) for interval in INTERVALS]

    def update(self, time_ms: int, price: float, quantity: float, taker_buy: bool) -> None:
        for candle in self.candles:
            candle.update(time_ms, price, quantity, taker_buy)


class Engine:
    """All pairs."""

    def __init__(self) -> None:
        self.pairs: dict[str, Pair] = {}
        self.closed: list[dict[str, Any]] = []

    def take(self, ticks: list[Tick]) -> None:
        pairs = self.pairs
        for symbol, time_ms, price, quantity, taker_buy in ticks:
            pair = pairs.get(symbol)
            if pair is None:
                pair = pairs[symbol] = Pair(self.closed)
            pair.update(time_ms, price, quantity, taker_buy)
