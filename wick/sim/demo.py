"""The demo source: the market's events as the venue's frames, for those who subscribed, in real time."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import orjson

from wick.market.trades import Topic
from wick.sim import book
from wick.sim.book import DepthUpdate
from wick.sim.connection import Connection, text_frame
from wick.sim.history import History
from wick.sim.market import Event, Market, QuoteEvent, Stand, TradeEvent
from wick.sim.view import HISTORY, MarketView
from wick.sim.wires import Subscription

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

START_MS = 100  # the market begins at a whole multiple
RESTATE_MS = 500  # while the market is frozen: who joins now can synchronise his book, and nobody takes it for silence
SAVED_MS, MOST_SAVED = 120_000, 10_000  # of trades, by symbol: the feed ends before the exchange does
VERSION = 1  # of what is saved
MAX_BEHIND_MS = 5000  # a process that slept for longer goes on from now instead of making up for it


def _read(saved: bytes) -> tuple[list[Stand], list[TradeEvent]]:
    try:
        known = orjson.loads(saved)
        if known["version"] != VERSION:
            raise ValueError(f"version {known['version']}, not {VERSION}")
        stands = [Stand(*stand) for stand in known["stands"]]
        trades = [TradeEvent(*trade) for trade in known["trades"]]
        if not {trade.pair for trade in trades} <= {*range(len(stands))}:
            raise ValueError("trades of symbols that are not there")
    except (KeyError, TypeError) as error:
        raise ValueError(f"not what an exchange saves: {error}") from error
    return stands, trades


class Stream:
    """One stream in one form, and its subscribers."""

    __slots__ = ("clients",)

    def __init__(self) -> None:
        self.clients: dict[Connection, None] = {}

    def deliver(self, payload: bytes) -> None:
        """To every subscriber; encoded once."""
        frame = text_frame(payload)
        for client in self.clients:
            client.send_frame(frame)


Streams = dict[Hashable, Stream]  # of one topic, by form


class Demo:
    """The demo market behind the server's interface (see `server.Source`)."""

    def __init__(
        self, seed: int = 1, count: int = 300, rate: float = 400.0, history: int = HISTORY, saved: bytes = b""
    ) -> None:
        """`saved`: what another one gave when it was stopped. ValueError where it is not that."""
        self._arguments, self._history = (seed, count, rate), history
        self._stands, self._trades = _read(saved) if saved else ([], [])

    def start(self, server: "ExchangeServer") -> None:
        self._server, self._wire, self._faults = server, server.wire, server.faults
        market = Market(*self._arguments, start_ms=server.now_ms() // START_MS * START_MS, saved=self._stands)
        self.view = MarketView(server.wire, market, self._history)
        places = {listing.symbol: index for index, listing in enumerate(market.listings)}
        of = [places.get(stand.symbol) for stand in self._stands]
        self.view.remember(trade._replace(pair=pair) for trade in self._trades if (pair := of[trade.pair]) is not None)
        self._stands, self._trades = [], []
        self._next_depth_ms = market.time_ms + server.wire.depth_ms
        self._frozen_until_ms = self._next_restate_ms = 0
        self._resets: dict[int, int] = {}  # fault sequence_reset: by index, how far the ids of its book are to jump
        names = self.view.names
        self._symbols = list(self.view.symbols().values())
        self._topics = {channel: [Topic(name, channel) for name in names] for channel in ("trade", "quote", "depth")}
        self._streams: dict[str, list[Streams]] = {channel: [{} for _ in names] for channel in self._topics}

    def save(self) -> bytes:
        """What the next one is to go on with: where the market stands, and what was traded lately, so that who was
        away a little longer than we were can still ask for it."""
        since_ms = self.view.market.time_ms - SAVED_MS
        trades = [trade for each in self.view.histories for trade in each.later(since_ms, MOST_SAVED)]
        return orjson.dumps({"version": VERSION, "stands": self.view.stands(), "trades": trades}, default=list)

    def pulse(self, now_ms: int) -> None:
        market = self.view.market
        if now_ms - market.time_ms > MAX_BEHIND_MS:
            self._server.counters["skipped_ms"] += now_ms - market.time_ms
            self._server.log.warning("the process slept: skipped %d ms", now_ms - market.time_ms)
            market.skip_to(now_ms)
        if now_ms < self._frozen_until_ms:
            market.skip_to(now_ms)
            if now_ms >= self._next_restate_ms:
                self._next_restate_ms = now_ms + RESTATE_MS
                self._emit_updates(self.view.restated(), now_ms)
        while now_ms >= self._next_depth_ms:
            self._emit(self._next_depth_ms)
            self._emit_depth(self._next_depth_ms)
            self._next_depth_ms = max(self._next_depth_ms, market.time_ms) + self._wire.depth_ms
        self._emit(now_ms)

    def _emit(self, until_ms: int) -> None:
        events = self.view.advance(until_ms)
        if self._wire.batches:
            for pair, run in groupby(events, lambda event: event.pair):
                self._emit_batch(pair, list(run))
            return
        trades, quotes = self._streams["trade"], self._streams["quote"]
        for event in events:
            if isinstance(event, TradeEvent):
                if streams := trades[event.pair]:
                    self._emit_trades(streams, event.pair, [event])
            elif streams := quotes[event.pair]:
                self._emit_quote(streams, event)

    def _emit_batch(self, pair: int, events: Sequence[Event]) -> None:
        """What happened to one symbol at one time: all its trades, then its last quote."""
        if streams := self._streams["trade"][pair]:
            trades = [event for event in events if isinstance(event, TradeEvent)]
            self._emit_trades(streams, pair, trades)
        if streams := self._streams["quote"][pair]:
            for event in reversed(events):
                if isinstance(event, QuoteEvent):
                    self._emit_quote(streams, event)
                    break

    def _emit_trades(self, streams: Streams, pair: int, trades: Sequence[TradeEvent]) -> None:
        topic = self._topics["trade"][pair]
        if self._faults.active:
            trades = [trade for trade in trades if not self._faults.take("gap", topic.symbol, "trade")]
        if trades:
            now_ms = self._server.now_ms()
            for form, stream in streams.items():
                for payload in self._wire.trades(self._symbols[pair], form, trades, now_ms):
                    self._server.publish(stream, topic, payload)

    def _emit_quote(self, streams: Streams, quote: QuoteEvent) -> None:
        now_ms = self._server.now_ms()
        for form, stream in streams.items():
            for payload in self._wire.quote(self._symbols[quote.pair], form, quote, now_ms):
                self._server.publish(stream, self._topics["quote"][quote.pair], payload)

    def _emit_depth(self, now_ms: int) -> None:
        updates = self.view.updates(self._resets)
        for index, _ in updates:
            self._resets.pop(index, None)
        self._emit_updates(updates, now_ms)

    def _emit_updates(self, updates: Iterable[tuple[int, DepthUpdate]], now_ms: int) -> None:
        told_ms = now_ms + self.view.skew_ms
        for index, update in updates:
            topic, symbol = self._topics["depth"][index], self._symbols[index]
            if self._faults.active:
                if self._faults.take("depth_gap", topic.symbol, "depth"):
                    continue
                update = self._faulty(update, topic, index)
            for form, stream in self._streams["depth"][index].items():
                for payload in self._wire.depth(symbol, form, update, told_ms):
                    self._server.publish(stream, topic, payload)

    def _faulty(self, update: DepthUpdate, topic: Topic, index: int) -> DepthUpdate:
        if self._faults.take("crossed", topic.symbol, "depth"):
            update = book.crossed(update, self._symbols[index].tick, self._symbols[index].lot)
        if self._faults.take("wrong_checksum", topic.symbol, "depth"):
            update = update._replace(wrong_checksum=True)
        return update

    # ---- faults of the market

    def fault(self, name: str, params: Mapping[str, Any]) -> None:
        match name:
            case "freeze":
                self._frozen_until_ms = self._server.market_ms() + int(params["seconds"] * 1000)
            case "clock_skew":
                self.view.skew_ms = params["skew_ms"]
            case "sequence_reset":
                wanted = self.view.feeds if params["symbol"] == "*" else [self.view.index[params["symbol"]]]
                self._resets |= dict.fromkeys(wanted, self._wire.reset_shift)
                self._server.counters["sequence_reset"] += len(wanted)
            case "clear":
                self._frozen_until_ms, self.view.skew_ms, self._resets = 0, 0, {}

    # ---- subscriptions

    def joined(self, connection: Connection) -> None:
        pass

    def subscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None:
        for symbol, channel, form in subscriptions:
            index = self.view.index.get(symbol)
            if index is None or channel not in self._streams:
                continue
            if channel == "depth":
                self.view.listen(symbol)
            # First what the stream begins with: what comes next follows it.
            self.view.newest_first = channel == "trade" and bool(self._faults.take("newest_first", symbol, channel))
            topic, now_ms = self._topics[channel][index], self._server.now_ms()
            for payload in self._wire.opening(self._symbols[index], channel, form, self.view, now_ms):
                self._server.publish(connection, topic, payload)
            self.view.newest_first = False
            self._streams[channel][index].setdefault(form, Stream()).clients[connection] = None

    def unsubscribe(self, connection: Connection, subscriptions: Sequence[Subscription]) -> None:
        for symbol, channel, form in subscriptions:
            index = self.view.index.get(symbol)
            if index is None or channel not in self._streams:
                continue
            streams = self._streams[channel][index]
            if (stream := streams.get(form)) is not None:
                stream.clients.pop(connection, None)
                if not stream.clients:
                    del streams[form]
            if channel == "depth" and not streams:
                self.view.leave(symbol)

    def left(self, connection: Connection) -> None:
        self.unsubscribe(connection, list(connection.subscriptions))

    def history(self, symbol: str) -> History:
        return self.view.histories[self.view.index[symbol]]
