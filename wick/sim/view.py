"""The demo market as a venue may tell it (see `wires.View`): names, what was traded, books. Pure."""

from collections.abc import Iterable, Sequence
from math import sin

from wick.market.intervals import DAY, HOUR
from wick.sim.book import Book, DepthFeed, DepthUpdate, book, books
from wick.sim.history import History
from wick.sim.market import Event, Market, QuoteEvent, Stand, TradeEvent
from wick.sim.wires import Symbol, Wire, symbols

HISTORY = 150_000  # trades that are kept over all symbols, by their activity
LEAST_HISTORY = 500  # of a symbol
PAST_WAVES = ((HOUR / 6, 0.002), (DAY / 6, 0.01), (30 * DAY / 6, 0.05))  # of prices: a radian, height


class MarketView:
    """A market, and what has been told of it."""

    def __init__(self, wire: Wire, market: Market, history: int = HISTORY) -> None:
        self.market = market
        self.skew_ms = 0  # of the exchange's clock
        self.newest_first = False
        self.names = [symbol.native for symbol in symbols(wire, market.listings)]
        self.index = {name: index for index, name in enumerate(self.names)}
        self.histories = [History(max(LEAST_HISTORY, int(history * share))) for share in market.shares.tolist()]
        self.feeds: dict[int, DepthFeed] = {}  # of the symbols whose depth someone reads
        self._shifts: dict[int, int] = {}  # of the ids of books that nobody reads now: ids never come again
        self._symbols = {symbol.native: symbol for symbol in symbols(wire, market.listings)}

    def remember(self, trades: Iterable[TradeEvent]) -> None:
        """Those of the market before this one."""
        for trade in trades:
            self.histories[trade.pair].add(trade)

    def stands(self) -> list[Stand]:
        """Where the market stands, with the ids that were told."""
        shifts = self._shifts | {index: feed.shift for index, feed in self.feeds.items()}
        stands = enumerate(self.market.stands())
        return [stand._replace(update_id=stand.update_id + shifts.get(index, 0)) for index, stand in stands]

    def advance(self, until_ms: int) -> list[Event]:
        """What has happened since the last call, at the exchange's time."""
        events = self.market.advance(until_ms)
        if self.skew_ms:
            events = [event._replace(time_ms=event.time_ms + self.skew_ms) for event in events]
        for event in events:
            if isinstance(event, TradeEvent):
                self.histories[event.pair].add(event)
        return events

    def listen(self, symbol: str) -> None:
        """From now on `updates` tells of this symbol's book."""
        index = self.index[symbol]
        if index not in self.feeds:
            self.feeds[index] = DepthFeed(self.market.pairs[index], self._shifts.get(index, 0))

    def leave(self, symbol: str) -> None:
        index = self.index[symbol]
        if (feed := self.feeds.pop(index, None)) is not None:
            self._shifts[index] = feed.shift

    def updates(self, reset_shifts: dict[int, int] | None = None) -> list[tuple[int, DepthUpdate]]:
        """The books that have changed since the last call, by index. `reset_shifts`: those that begin anew."""
        changed = [(index, feed) for index, feed in self.feeds.items() if feed.changed]
        if not changed:
            return []
        now = books([feed.pair for _, feed in changed])
        shifts = reset_shifts or {}
        return [
            (index, feed.update(state, shifts.get(index))) for (index, feed), state in zip(changed, now, strict=True)
        ]

    def restated(self) -> list[tuple[int, DepthUpdate]]:
        """Of every book that has not changed an update that changes nothing."""
        return [(index, feed.restated()) for index, feed in self.feeds.items() if not feed.changed]

    # ---- wires.View

    def symbols(self) -> dict[str, Symbol]:
        return self._symbols

    def trades(self, symbol: str, limit: int) -> Sequence[TradeEvent]:
        latest = self._history(symbol).latest(limit)
        return latest[::-1] if self.newest_first else latest

    def trades_from(self, symbol: str, first_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).since(first_id, limit)

    def trades_between(self, symbol: str, first_id: int, last_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).between(first_id, last_id, limit)

    def trades_since(self, symbol: str, time_ms: int, limit: int) -> Sequence[TradeEvent]:
        return self._history(symbol).later(time_ms, limit)

    def past_price(self, symbol: str, time_ms: int) -> int | None:
        """Waves of an hour, a day and a month around the oldest price that is kept."""
        kept = self._history(symbol).since(0, 1)
        if not kept:
            return None
        waves = sum(sin(time_ms / length) * height for length, height in PAST_WAVES)
        return round(kept[0].price * (1 + waves) / (tick := self._symbols[symbol].tick)) * tick

    def quote(self, symbol: str) -> QuoteEvent | None:
        index = self.index[symbol]
        return self.market.pairs[index].quote(index, self.market.time_ms + self.skew_ms)

    def told(self, symbol: str) -> Book | None:
        index = self.index[symbol]
        feed = self.feeds.get(index)
        return feed.told if feed else self._unread(index)

    def snapshot(self, symbol: str) -> Book | None:
        index = self.index[symbol]
        feed = self.feeds.get(index)
        return feed.snapshot() if feed else self._unread(index)

    def _unread(self, index: int) -> Book:
        now = book(self.market.pairs[index])
        return now._replace(update_id=now.update_id + self._shifts.get(index, 0))

    def _history(self, symbol: str) -> History:
        return self.histories[self.index[symbol]]
