"""Frames of any venue, as its simulated exchange writes them: for benchmarks, and for fuzzing the parsers. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import _common  # noqa: F401 (it brings the wick of this tree)

from wick import exchanges
from wick.market.trades import Topic
from wick.sim.http import HttpRequest
from wick.sim.market import Market, QuoteEvent, TradeEvent
from wick.sim.view import MarketView
from wick.sim.wires import Subscription, load

START_MS = 1_723_161_600_000
TICK_MS = 10


def session(
    venue_id: str, count: int = 10, rate: float = 500.0, seed: int = 1, channels: Sequence[str] = ("trade", "depth")
) -> Iterator[bytes]:
    """What connections receive that subscribe to everything, for ever: acknowledgements, snapshots, then the market.

    `count` symbols, `rate` trades a second over all; time passes as fast as frames are taken.
    """
    wire, venue = load(venue_id), exchanges.load(venue_id)
    market = Market(seed, count, rate, START_MS)
    view = MarketView(wire, market)
    known = view.symbols()
    streams: dict[tuple[str, str], list[Subscription]] = defaultdict(list)
    by_path: dict[str, list[Topic]] = defaultdict(list)
    for channel in (one for one in channels if one in venue.channels):
        by_path[venue.path(channel).partition("?")[0]] += [Topic(venue.symbol(name), channel) for name in known]
    connections = []
    for path, topics in by_path.items():
        connection = wire.session(HttpRequest("GET", path, {}, {}, b"", b""))
        connections.append(connection)
        yield from connection.greeting(START_MS).frames
        for request in venue.subscribe(topics):
            answer = connection.receive(request.raw, view, START_MS, False)
            yield from answer.frames
            for one in answer.add:
                if one.channel == "depth":
                    view.listen(one.symbol)
                streams[one.symbol, one.channel].append(one)
                yield from wire.opening(known[one.symbol], one.channel, one.form, view, START_MS)
    now_ms, depth_ms, heartbeat_ms = START_MS, START_MS + wire.depth_ms, START_MS + wire.heartbeat_ms
    names = view.names
    while True:
        now_ms += TICK_MS
        made: dict[str, list[TradeEvent]] = defaultdict(list)
        quotes: dict[str, QuoteEvent] = {}
        for event in view.advance(now_ms):
            if isinstance(event, TradeEvent):
                made[names[event.pair]].append(event)
            else:
                quotes[names[event.pair]] = event
        for name, trades in made.items():
            for one in streams[name, "trade"]:
                yield from wire.trades(known[name], one.form, trades, now_ms)
        for name, quote in quotes.items():
            for one in streams[name, "quote"]:
                yield from wire.quote(known[name], one.form, quote, now_ms)
        if now_ms >= depth_ms:
            depth_ms += wire.depth_ms
            for index, update in view.updates():
                for one in streams[names[index], "depth"]:
                    yield from wire.depth(known[names[index]], one.form, update, now_ms)
        if wire.heartbeat_ms and now_ms >= heartbeat_ms:
            heartbeat_ms += wire.heartbeat_ms
            for connection in connections:
                yield from connection.heartbeat(view, now_ms)
