"""A venue's wire without sockets: one client's session before a small demo market, driven by the test."""

import json
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any

from wick.sim.book import DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import Market, QuoteEvent, TradeEvent
from wick.sim.symbols import UNITS
from wick.sim.view import MarketView
from wick.sim.wires import Answer, Subscription, Symbol, Wire

START_MS = 1_790_000_000_000
STEP_MS = 10


class Bench:
    """What the server does with a wire, for one client, at the time that the test says."""

    def __init__(self, wire: Wire, path: str, *, count: int = 3, rate: float = 900.0) -> None:
        self.wire, self.now_ms = wire, START_MS
        self.market = Market(7, count, rate, START_MS)
        self.view = MarketView(wire, self.market)
        self.session = wire.session(HttpRequest("GET", path, {}, {}, b"", b""))
        self.streams: list[Subscription] = []
        self.traded: dict[str, list[TradeEvent]] = {name: [] for name in self.view.names}  # since the start
        self._depth_at = START_MS

    def ask(self, request: Any, refuse: bool = False) -> Answer:
        """Send a request (bytes, or what becomes JSON)."""
        message = request if isinstance(request, bytes) else json.dumps(request).encode()
        answer = self.session.receive(message, self.view, self.now_ms, refuse)
        for stream in answer.remove:
            self.streams.remove(stream)
        self.streams += answer.add
        for stream in answer.add:
            if stream.channel == "depth":
                self.view.listen(stream.symbol)
        return answer

    def openings(self, answer: Answer) -> list[bytes]:
        symbols = self.view.symbols()
        return [
            frame
            for stream in answer.add
            for frame in self.wire.opening(symbols[stream.symbol], stream.channel, stream.form, self.view, self.now_ms)
        ]

    def subscribe(self, request: Any) -> list[bytes]:
        """Send a request that must be accepted: all frames that follow at once."""
        answer = self.ask(request)
        assert not answer.refused, answer.frames
        return [*answer.frames, *self.openings(answer)]

    def run(self, ms: int, *, reset: Iterable[str] = (), wrong_checksum: bool = False) -> list[bytes]:
        """What the client gets while the market goes on for so long; the faults concern the first depth updates."""
        frames: list[bytes] = []
        shifts = {self.view.index[name]: self.wire.reset_shift for name in reset}
        for _ in range(ms // STEP_MS):
            self.now_ms += STEP_MS
            for pair, run in groupby(self.view.advance(self.now_ms), lambda event: event.pair):
                events, name = list(run), self.view.names[pair]
                trades = [event for event in events if isinstance(event, TradeEvent)]
                self.traded[name] += trades
                if trades:
                    frames += self._of(name, "trade", partial(self._trades, trades))
                if quotes := [event for event in events if isinstance(event, QuoteEvent)]:
                    frames += self._of(name, "quote", partial(self._quote, quotes[-1]))
            if self.now_ms - self._depth_at >= self.wire.depth_ms:
                self._depth_at = self.now_ms
                for index, update in self.view.updates(shifts):
                    update = update._replace(wrong_checksum=wrong_checksum)
                    frames += self._of(self.view.names[index], "depth", partial(self._depth, update))
                    wrong_checksum = False
                shifts = {}
        return frames

    def _of(self, name: str, channel: str, made: Callable[[Symbol, Hashable], Sequence[bytes]]) -> list[bytes]:
        symbol = self.view.symbols()[name]
        wanted = [one for one in self.streams if (one.symbol, one.channel) == (name, channel)]
        return [frame for stream in wanted for frame in made(symbol, stream.form)]

    def _trades(self, trades: list[TradeEvent], symbol: Symbol, form: Hashable) -> Sequence[bytes]:
        return self.wire.trades(symbol, form, trades, self.now_ms)

    def _quote(self, quote: QuoteEvent, symbol: Symbol, form: Hashable) -> Sequence[bytes]:
        return self.wire.quote(symbol, form, quote, self.now_ms)

    def _depth(self, update: DepthUpdate, symbol: Symbol, form: Hashable) -> Sequence[bytes]:
        return self.wire.depth(symbol, form, update, self.now_ms)

    def rest_bytes(self, path: str, **query: str) -> tuple[int, bytes]:
        return self.wire.rest(HttpRequest("GET", path, query, {}, b"", b""), self.view, self.now_ms)

    def rest(self, path: str, **query: str) -> tuple[int, Any]:
        """Status and body (numbers that are no whole ones as text)."""
        status, body = self.rest_bytes(path, **query)
        return status, json.loads(body, parse_float=str) if body else None


def parsed(frames: Iterable[bytes]) -> list[Any]:
    """Numbers that are no whole ones stay text."""
    return [json.loads(frame, parse_float=str) for frame in frames]


def units(text: str | int) -> int:
    """A number as a venue writes it, in 1e-8."""
    return int(Decimal(text) * UNITS)


def apply(side: dict[int, int], levels: Iterable[Sequence[Any]]) -> None:
    """Levels (price, quantity, whatever) as a client applies them: 0 removes."""
    for price, quantity, *_ in levels:
        if units(quantity):
            side[units(price)] = units(quantity)
        else:
            side.pop(units(price), None)


def sides(bids: dict[int, int], asks: dict[int, int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Best first."""
    return sorted(bids.items(), reverse=True), sorted(asks.items())


def nonsense(requests: list[Any], count: int = 400) -> list[bytes]:
    """Bytes that a client could send: mutations of good requests, and worse."""
    chance = random.Random(5)
    values: list[Any] = [None, True, 0, -1, 1.5, "", "x", [], {}, [[]], [{}], "\x00é", 2**70, ["BTC"], {"channel": []}]
    made = [b"", b"\xff\xfe", b"null", b"[]", b"1", b'"ping"', b"{", b"ping ", b'{"id":"\\ud800"}', b"[" * 2000]
    for _ in range(count):
        request = json.loads(json.dumps(chance.choice(requests)))
        holder = request
        while (places := list(_places(holder))) and chance.random() < 0.7:
            inner = [holder[place] for place in places if isinstance(holder[place], dict | list) and holder[place]]
            if not inner:
                break
            holder = chance.choice(inner)
        if places := list(_places(holder)):
            holder[chance.choice(places)] = chance.choice(values)
        raw = json.dumps(request).encode()
        made.append(raw if chance.random() < 0.8 else raw[: chance.randrange(len(raw))])
    return made


def _places(holder: Any) -> Iterable[Any]:
    return holder.keys() if isinstance(holder, dict) else range(len(holder))
