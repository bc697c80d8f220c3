"""A venue in this process: some minutes of trades, asked over its simulated wire without a socket."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from wick import exchanges
from wick.market.trades import Trade
from wick.roles.asking import AskError
from wick.sim import wires
from wick.sim.history import History
from wick.sim.http import HttpRequest
from wick.sim.market import TradeEvent
from wick.sim.symbols import UNITS
from wick.sim.wires import Symbol
from wick.sim.wires.binance import Form

START_MS = 1_723_165_200_000  # 2024-08-09 01:00:00 UTC
SYMBOL = "BTC-USDT"


class View:
    """One symbol's trades from half a minute before START_MS on, about four a second, with quiet times."""

    def __init__(self, symbol: Symbol, minutes: float) -> None:
        self._symbol, self._history, random = symbol, History(10**6), Random(7)
        at_ms, price = START_MS - 30_000, 60_000 * UNITS
        for trade_id in range(1_000, 1_000_000):
            at_ms += random.choice([0, 0, 1, 40, 300, 900] if random.random() < 0.998 else [20_000, 70_000])
            if at_ms >= START_MS + minutes * 60_000:
                break
            price += random.randint(-30, 30) * symbol.tick
            lots = random.randint(1, 2_000) * symbol.lot
            self._history.add(TradeEvent(0, at_ms, trade_id, price, lots, random.random() < 0.5))

    def symbols(self) -> dict[str, Symbol]:
        return {self._symbol.native: self._symbol}

    def trades(self, _: str, limit: int) -> Sequence[TradeEvent]:
        return self._history.latest(limit)

    def trades_from(self, _: str, first_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history.since(first_id, limit)

    def trades_between(self, _: str, first_id: int, last_id: int, limit: int) -> Sequence[TradeEvent]:
        return self._history.between(first_id, last_id, limit)

    def trades_since(self, _: str, time_ms: int, limit: int) -> Sequence[TradeEvent]:
        return self._history.later(time_ms, limit)

    def past_price(self, _: str, time_ms: int) -> int | None:
        return 60_000 * UNITS + time_ms % 997 * self._symbol.tick


class PastVenue:
    """What `Asking` is. `fails_at`: the number of the question that finds nobody."""

    def __init__(self, venue_id: str = "binance", minutes: float = 20) -> None:
        self.venue, self.wire = exchanges.load(venue_id), wires.load(venue_id)
        self.symbol = Symbol(self.venue.native(SYMBOL), "BTC", "USDT", UNITS // 100, UNITS // 10**5)
        self.view: Any = View(self.symbol, minutes)
        self.now_ms = round(START_MS + minutes * 60_000)
        self.asked: list[str] = []
        self.fails_at = 0

    def ask(self, path: str, _weight: int, parse: Callable[[bytes], Any]) -> Any:
        self.asked.append(path)
        if len(self.asked) == self.fails_at:
            raise AskError("nobody answers", is_away=True)
        parts = urlsplit(path)
        request = HttpRequest("GET", parts.path, dict(parse_qsl(parts.query)), {}, b"", b"")
        status, body = self.wire.rest(request, self.view, self.now_ms)
        assert status == 200, body
        return parse(body)

    @property
    def trades(self) -> list[Trade]:
        """All of SYMBOL, as the stream tells them."""
        told = self.view.trades_from("", 0, 10**9)
        frames = self.wire.trades(self.symbol, Form("trade", b"btcusdt@trade"), told, self.now_ms)
        return [event for frame in frames for event in self.venue.parse(frame)]
