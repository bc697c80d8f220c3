"""The demo source: the market's events as frames, for those who subscribed, in real time."""

from typing import TYPE_CHECKING, Any

from wick.sim import wire
from wick.sim.book import DepthFeed, book
from wick.sim.connection import Connection, text_frame
from wick.sim.market import Market, TradeEvent
from wick.sim.symbols import UNITS

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

DEPTH_MS = 100
MAX_BEHIND_MS = 5000  # a process that slept for longer goes on from now instead of making up for it


class Topic:
    """One stream of the market and its subscribers."""

    __slots__ = ("clients", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: dict[Connection, None] = {}

    def deliver(self, payload: bytes) -> None:
        """To every subscriber; encoded once for those of raw and once for those of combined streams."""
        raw = combined = b""
        for client in self.clients:
            if client.combined:
                combined = combined or text_frame(wire.wrapped(self.name, payload))
                client.send_frame(combined)
            else:
                raw = raw or text_frame(payload)
                client.send_frame(raw)


class Demo:
    """The demo market behind the server's interface (see `server.Source`)."""

    def __init__(self, seed: int = 1, count: int = 300, rate: float = 400.0) -> None:
        self._arguments = (seed, count, rate)

    def start(self, server: "ExchangeServer") -> None:
        self._server = server
        self.market = market = Market(*self._arguments, start_ms=server.now_ms() // DEPTH_MS * DEPTH_MS)
        self._next_depth_ms = market.time_ms + DEPTH_MS
        names = [listing.symbol for listing in market.listings]
        self._names = [name.encode() for name in names]
        self._index = {name: index for index, name in enumerate(names)}
        self._trades = [Topic(f"{name.lower()}@trade") for name in names]
        self._quotes = [Topic(f"{name.lower()}@bookTicker") for name in names]
        self._depths = [Topic(f"{name.lower()}@depth@100ms") for name in names]
        self._topics = {topic.name: topic for topic in (*self._trades, *self._quotes, *self._depths)}
        self._depth_index = {topic.name: index for index, topic in enumerate(self._depths)}
        self._feeds: dict[int, DepthFeed] = {}  # of the symbols whose depth someone reads
        self._infos = {
            listing.symbol: wire.symbol_info(
                listing.symbol, listing.base, listing.quote, wire.decimal(listing.tick).decode(),
                wire.decimal(listing.lot).decode(),
            )
            for listing in market.listings
        }  # fmt: skip

    def pulse(self, now_ms: int) -> None:
        if now_ms - self.market.time_ms > MAX_BEHIND_MS:
            self._server.counters["skipped_ms"] += now_ms - self.market.time_ms
            self._server.log.warning("the process slept: skipped %d ms", now_ms - self.market.time_ms)
            self.market.skip_to(now_ms)
        while now_ms >= self._next_depth_ms:
            self._emit(self._next_depth_ms)
            self._emit_depth(self._next_depth_ms)
            self._next_depth_ms = max(self._next_depth_ms, self.market.time_ms) + DEPTH_MS
        self._emit(now_ms)

    def _emit(self, until_ms: int) -> None:
        publish = self._server.publish
        for event in self.market.advance(until_ms):
            if isinstance(event, TradeEvent):
                topic = self._trades[event.pair]
                if topic.clients:
                    payload = wire.trade(self._names[event.pair], event, event.time_ms + 1)
                    publish(topic, topic.name, payload)
            else:
                topic = self._quotes[event.pair]
                if topic.clients:
                    publish(topic, topic.name, wire.book_ticker(self._names[event.pair], event))

    def _emit_depth(self, now_ms: int) -> None:
        for index, feed in self._feeds.items():
            update = feed.update()
            if update is not None:
                topic = self._depths[index]
                self._server.publish(topic, topic.name, wire.depth_update(self._names[index], update, now_ms))

    # ---- subscriptions

    def joined(self, connection: Connection) -> None:
        pass

    def subscribe(self, connection: Connection, streams: list[str]) -> None:
        """Streams that the exchange does not have are accepted and stay silent, as at Binance."""
        for name in streams:
            if (topic := self._topics.get(name)) is not None:
                topic.clients[connection] = None
            if (index := self._depth_index.get(name)) is not None and index not in self._feeds:
                self._feeds[index] = DepthFeed(self.market.pairs[index])

    def unsubscribe(self, connection: Connection, streams: list[str]) -> None:
        for name in streams:
            if (topic := self._topics.get(name)) is not None:
                topic.clients.pop(connection, None)
            if (index := self._depth_index.get(name)) is not None and not self._depths[index].clients:
                self._feeds.pop(index, None)

    def left(self, connection: Connection) -> None:
        self.unsubscribe(connection, list(connection.streams))

    # ---- REST

    def symbols(self) -> dict[str, dict[str, Any]]:
        return self._infos

    def depth(self, symbol: str, limit: int) -> bytes:
        index = self._index[symbol]
        feed = self._feeds.get(index)
        return wire.depth_body(feed.snapshot() if feed else book(self.market.pairs[index]), limit)

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[dict[str, Any]]:
        history = self.market.pairs[self._index[symbol]].history
        found = history.latest(limit) if from_id is None else history.since(from_id, limit)
        return [_trade_body(trade) for trade in found]


def _trade_body(trade: TradeEvent) -> dict[str, Any]:
    quote_quantity = trade.price * trade.quantity // UNITS
    return wire.trade_body(
        trade.trade_id, wire.decimal(trade.price).decode(), wire.decimal(trade.quantity).decode(),
        wire.decimal(quote_quantity).decode(), trade.time_ms, trade.buyer_is_maker,
    )  # fmt: skip
