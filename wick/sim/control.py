"""What tests steer and check the simulated exchange with, beside the venue's own paths. Symbols are the venue's names.

- `GET /_faults`: counters, what faults have still to do, when clients tried to connect, every fault's parameters.
- `POST /_faults`: switch one on.
- `GET /_truth`: every symbol with the first and the last trade id that is kept.
- `GET /_truth?symbol=S[&from_id=N&limit=M]`: the trades as the stream tells them, with the market's ids.
- `GET /_book?symbol=S`: the book as the depth stream has told it up to its last update.
"""

from typing import TYPE_CHECKING, Any

import orjson
from gevent import sleep, spawn

from wick.sim import faults as table
from wick.sim.connection import Connection
from wick.sim.faults import FaultError, concerns
from wick.sim.http import HttpRequest
from wick.sim.market import TradeEvent
from wick.sim.wires._text import fixed

if TYPE_CHECKING:
    from wick.sim.server import ExchangeServer

PATHS = ("/_faults", "/_truth", "/_book")
MAX_TRUTH = 1_000_000


class Control:
    def __init__(self, server: "ExchangeServer") -> None:
        self._server = server

    def is_asked(self, request: HttpRequest) -> bool:
        return request.path in PATHS

    def answer(self, request: HttpRequest) -> tuple[int, bytes]:
        try:
            if request.path == "/_truth":
                return 200, orjson.dumps(self._truth(request.query))
            if request.path == "/_book":
                return 200, orjson.dumps(self._book(request.query))
            if request.method == "POST":
                return 200, orjson.dumps(self.switch(orjson.loads(request.body)))
            server = self._server
            attempts = list(server.attempts)
            return 200, orjson.dumps({**self.state(), "attempts": attempts, "faults": table.table(self._possible)})
        except orjson.JSONDecodeError as error:
            return 400, orjson.dumps({"error": {"field": "", "message": f"invalid JSON: {error}"}})
        except FaultError as error:
            detail = {"field": error.field, "message": error.message, "valid": str(error.valid)}
            return 400, orjson.dumps({"error": detail})

    def state(self) -> dict[str, Any]:
        """Counters of what was done, and what the faults have still to do."""
        server = self._server
        return {
            "connections": len(server.connections),
            "counters": {**server.counters, **server.faults.counters},
            "pending": server.faults.pending(),
        }

    # ---- the truth

    def _truth(self, query: dict[str, str]) -> dict[str, Any]:
        source = self._server.source
        if "symbol" not in query:
            return {"symbols": {name: source.history(name).ids for name in source.view.symbols()}}
        history = source.history(self._symbol(query))
        from_id, limit = _number(query, "from_id", 0), _number(query, "limit", MAX_TRUTH)
        first_id, last_id = history.ids
        return {
            "trades": [_told(trade) for trade in self._server.wire.told(history.since(from_id, limit))],
            "first_id": first_id,
            "last_id": last_id,
        }

    def _book(self, query: dict[str, str]) -> dict[str, Any]:
        symbol = self._symbol(query)
        book = self._server.source.view.told(symbol)
        if book is None:
            raise FaultError("symbol", f"nothing is known of a book of {symbol!r}", "a symbol of the demo market")
        bids, asks = ([[fixed(price), fixed(quantity)] for price, quantity in side.items()] for side in book[1:3])
        return {"update_id": book.update_id, "bids": bids, "asks": asks}

    def _symbol(self, query: dict[str, str]) -> str:
        symbol = query.get("symbol", "")
        if symbol not in self._server.source.view.symbols():
            raise FaultError("symbol", f"{symbol!r} is not listed", "a symbol that the exchange lists")
        return symbol

    # ---- faults

    def switch(self, request: object) -> dict[str, Any]:
        """Switch a fault on: `{"fault": "gap", "symbol": "BTCUSDT"}`; FaultError if there is none such."""
        fault, params = table.checked(request)
        server = self._server
        if params.get("symbol", "*") != "*":
            self._symbol(params)
        if not self._possible(fault.name):
            raise FaultError("fault", f"{server.wire.id} has no {fault.name}", "a fault that the venue can have")
        if fault.name in ("clear", *table.OF_THE_MARKET):
            server.source.fault(fault.name, params)
        server.log.info("fault %s %s", fault.name, params)
        match fault.name:
            case "cut" | "silence" | "close" | "shutdown":
                getattr(self, f"_{fault.name}")(**params)
            case "clock_skew":
                server.skew_ms = params["skew_ms"]
            case "freeze" | "sequence_reset":
                pass  # the source's
            case _:
                server.faults.switch(fault.name, params, server.market_ms())
        if fault.name == "clear":
            server.skew_ms = 0
            for connection in server.connections:
                connection.speak()
        return self.state()

    def _possible(self, name: str) -> bool:
        """Whether the venue can have this fault."""
        wire = self._server.wire
        if name == "depth_gap":
            return "depth" not in wire.unchecked
        return name not in table.OF_SOME_VENUES or name in wire.faults

    def _of(self, symbol: str, channel: str) -> list[Connection]:
        """The connections that have such a stream; without a wish, all."""
        wanted = {"symbol": symbol, "channel": channel}
        return [
            connection
            for connection in self._server.connections
            if (symbol, channel) == ("*", "*") or any(concerns(wanted, *topic) for topic in connection.topics)
        ]

    def _cut(self, reset: bool, symbol: str, channel: str) -> None:
        for connection in self._of(symbol, channel):
            connection.cut(reset)
            self._server.counters["cut"] += 1

    def _silence(self, seconds: float, symbol: str, channel: str) -> None:
        for connection in self._of(symbol, channel):
            connection.silence(seconds)
            self._server.counters["silence"] += 1

    def _close(self, after_s: float, code: int, symbol: str, channel: str) -> None:
        spawn(self._close_later, self._of(symbol, channel), after_s, code)

    def _shutdown(self, after_s: float) -> None:
        notice, code = self._server.wire.shutdown(self._server.now_ms())
        connections = list(self._server.connections)
        for connection in connections:
            if notice:
                connection.deliver(notice)
            self._server.counters["shutdown"] += 1
        spawn(self._close_later, connections, after_s, code)

    def _close_later(self, connections: list[Connection], after_s: float, code: int) -> None:
        sleep(after_s)
        for connection in connections:
            connection.close(code, "Forced by a fault")
            self._server.counters["close"] += 1


def _told(trade: TradeEvent) -> list[Any]:
    taker = "sell" if trade.buyer_is_maker else "buy"
    return [trade.trade_id, fixed(trade.price), fixed(trade.quantity), taker, trade.time_ms]


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise FaultError(name, f"{text!r} is no number", "a whole number")
    return int(text)
