"""Binance spot's wire, from the exchange's side. Pure.

Texts are as the venue writes them, field for field; prices and quantities always have eight decimals.
Source: https://developers.binance.com/docs/binance-spot-api-docs (web-socket-streams, rest-api) and captures.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import orjson

from wick.errors import WickError
from wick.market.foreign import length_ms
from wick.sim import klines
from wick.sim.book import Book, DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import UNITS, Listing
from wick.sim.wires import Answer, Limits, Session, Subscription, Symbol, Turned, View, Wire
from wick.sim.wires._binance_requests import RequestError, is_stream, parse_request, result

MAX_STREAMS = 1024
MAX_DEPTH, MAX_TRADES, MAX_KLINES = 5000, 1000, 1000
_ALL = 10**9
CHANNELS = {"trade": "trade", "bookTicker": "quote", "depth@100ms": "depth"}


class Form(NamedTuple):
    """How a stream's events are written: the kind that the stream's name says, and the name where they are wrapped."""

    kind: str
    wrapped: bytes


def decimal(units: int) -> bytes:
    return b"%d.%08d" % divmod(units, UNITS)


def levels(side: Mapping[int, int]) -> bytes:
    return b"[" + b",".join([b'["%b","%b"]' % (decimal(p), decimal(q)) for p, q in side.items()]) + b"]"


class BinanceSession(Session):
    """The streams of a connection by name, and whether their events are wrapped."""

    def __init__(self, channels: Mapping[str, str], combined: bool, names: list[str]) -> None:
        self._channels, self._combined, self._first = channels, combined, names
        self._streams: dict[str, Subscription] = {}

    def greeting(self, now_ms: int) -> Answer:
        return Answer(add=self._added(self._first))

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        try:
            method, params, request_id = parse_request(message)
            if method == "SUBSCRIBE":
                if refuse:
                    raise RequestError(2, "Invalid request: refused", request_id)
                if len(self._streams.keys() | set(params)) > MAX_STREAMS:
                    raise RequestError(2, "Invalid request: too many streams", request_id)
                return Answer([result(None, request_id)], add=self._added(params))
            if method == "UNSUBSCRIBE":
                gone = [self._streams.pop(name) for name in dict.fromkeys(params) if name in self._streams]
                return Answer([result(None, request_id)], remove=gone)
            if method == "LIST_SUBSCRIPTIONS":
                return Answer([result(list(self._streams), request_id)])
            if method == "GET_PROPERTY":
                return Answer([result(self._combined, request_id)])
            before, names = list(self._streams.values()), list(self._streams)
            self._combined, self._streams = params[1], {}
            after = self._added(names)
            changed = before != after
            return Answer([result(None, request_id)], after if changed else (), before if changed else ())
        except RequestError as error:
            return Answer([error.frame], refused=True)

    def asks(self, message: bytes) -> bool:
        try:
            return parse_request(message).method == "SUBSCRIBE"
        except RequestError:
            return False

    def _added(self, names: list[str]) -> list[Subscription]:
        new = {name: subscription(self._channels, name, self._combined) for name in names if name not in self._streams}
        self._streams.update(new)
        return list(new.values())


def subscription(channels: Mapping[str, str], name: str, combined: bool) -> Subscription:
    """To the stream with this name. One that the exchange does not have is accepted and stays silent, as at Binance."""
    symbol, _, kind = name.partition("@")
    return Subscription(symbol.upper(), channels.get(kind, f"@{kind}"), Form(kind, name.encode() if combined else b""))


class RestError(WickError):
    """A REST request that is answered with Binance's error body."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = orjson.dumps({"code": code, "msg": message})


class Binance(Wire):
    """Spot; the futures' wire differs in what it overrides."""

    id = "binance"
    contiguous_ids = True
    batches = False
    limits = Limits(
        messages=(5, 1.0), connects=(300, 300.0), rest=(6000, 60.0), used_header="x-mbx-used-weight-1m",
        lifetime_s=86_400.0, ping_s=20.0, pong_s=60.0,
    )  # fmt: skip
    faults = frozenset({"sequence_reset"})
    reset_shift = 1000
    lifetime_close = (1001, "The connection is 24 hours old")
    channels: Mapping[str, str] = CHANNELS
    root = "/api/v3"

    def native(self, listing: Listing) -> str:
        return listing.symbol

    def session(self, request: HttpRequest) -> Session:
        if request.query.get("timeUnit", "MILLISECOND").upper() != "MILLISECOND":
            raise _turned(400, "timeUnit: this exchange has MILLISECOND only")
        channels, path = self.at(request.path.rstrip("/"))
        if path == "/stream":
            combined, text = True, request.query.get("streams", "")
        elif path == "/ws" or path.startswith("/ws/"):
            combined, text = False, path[4:]
        else:
            raise _turned(404, "the addresses are /ws, /ws/<stream> and /stream?streams=<stream>/<stream>")
        names = [name for name in text.split("/") if name]
        if not all(is_stream(name) for name in names):
            raise _turned(400, "a stream's name is malformed")
        if len(names) > MAX_STREAMS:
            raise _turned(400, f"a connection has at most {MAX_STREAMS} streams")
        return BinanceSession(channels, combined, names)

    def at(self, path: str) -> tuple[Mapping[str, str], str]:
        """The channels that are had at a path, and what is left of it."""
        return self.channels, path

    # ---- frames

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        assert isinstance(form, Form)
        return [wrapped(form, self.trade(symbol, form.kind, trade)) for trade in trades]

    def trade(self, symbol: Symbol, kind: str, trade: TradeEvent) -> bytes:
        return b'{"e":"trade","E":%d,"s":"%b","t":%d,"p":"%b","q":"%b","T":%d,"m":%b,"M":true}' % (
            trade.time_ms + 1, symbol.native.encode(), trade.trade_id, decimal(trade.price), decimal(trade.quantity),
            trade.time_ms, b"true" if trade.buyer_is_maker else b"false",
        )  # fmt: skip

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        payload = b'{"u":%d,"s":"%b","b":"%b","B":"%b","a":"%b","A":"%b"}' % (
            quote.update_id, symbol.native.encode(), decimal(quote.bid), decimal(quote.bid_quantity),
            decimal(quote.ask), decimal(quote.ask_quantity),
        )  # fmt: skip
        return [wrapped(form, payload)]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        bids = levels(dict(sorted(update.bids.items(), reverse=True)))
        asks = levels(dict(sorted(update.asks.items())))
        payload = b'{"e":"depthUpdate","E":%d,"s":"%b","U":%d,"u":%d,"b":%b,"a":%b}' % (
            now_ms, symbol.native.encode(), update.first_id, update.last_id, bids, asks,
        )  # fmt: skip
        return [wrapped(form, payload)]

    def shutdown(self, now_ms: int) -> tuple[bytes, int]:
        return b'{"e":"serverShutdown","E":%d}' % now_ms, 1001

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        try:
            if request.method != "GET":
                raise RestError(-1000, f"{request.method} is not supported here.", status=405)
            if not request.path.startswith(f"{self.root}/"):
                raise self.no_path(request)
            return 200, self.body(request.path.removeprefix(f"{self.root}/"), request, view, now_ms)
        except RestError as error:
            return error.status, error.body

    def rest_error(self, status: int) -> bytes:
        if status in (418, 429):
            return orjson.dumps({"code": -1003, "msg": "Too many requests."})
        return orjson.dumps({"code": -1001, "msg": "Internal error; unable to process your request."})

    def weight(self, request: HttpRequest) -> int:
        match request.path.removeprefix(f"{self.root}/"):
            case "depth":
                limit = request.query.get("limit", "100")
                size = int(limit) if re.fullmatch(r"[0-9]{1,9}", limit, re.ASCII) else 100
                return 5 if size <= 100 else 25 if size <= 500 else 50 if size <= 1000 else 250
            case "trades" | "historicalTrades":
                return 25
            case "exchangeInfo":
                return 20
            case "aggTrades":
                return 4
            case "klines":
                return 2
        return 1

    def klines(self, query: Mapping[str, str], view: View, now_ms: int, most: int, intervals: Sequence[str]) -> bytes:
        """Up to `most` of the candles between `startTime` and `endTime`; without a start the newest."""
        symbol, limit, name = listed(query, view), limit_of(query, 500, most), query.get("interval", "")
        if name not in intervals:
            raise RestError(-1120, "Invalid interval.")
        to_ms = min(number_of(query, "endTime", now_ms), now_ms)
        if "startTime" in query:
            found = klines.candles(view, symbol, name, number_of(query, "startTime", 0), to_ms, limit, self.matches)
        else:
            early = to_ms - (limit + 1) * length_ms(name)
            found = klines.candles(view, symbol, name, early, to_ms, _ALL, self.matches)[-limit:]
        return orjson.dumps([_kline(one) for one in found])

    def matches(self, trade: TradeEvent) -> int:
        """How many a trade of the stream stands for."""
        return 1

    def body(self, name: str, request: HttpRequest, view: View, now_ms: int) -> bytes:
        query = request.query
        match name:
            case "ping":
                return b"{}"
            case "time":
                return orjson.dumps({"serverTime": now_ms})
            case "exchangeInfo":
                body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
                return orjson.dumps({**body, "symbols": [_info(symbol) for symbol in _wanted(query, view)]})
            case "depth":
                _, book = self.book(query, view, 100, MAX_DEPTH)
                sides = (book.update_id, levels(book.bids), levels(book.asks))
                return b'{"lastUpdateId":%d,"bids":%b,"asks":%b}' % sides
            case "trades" | "historicalTrades":
                symbol, limit = listed(query, view), limit_of(query, 500, MAX_TRADES)
                if name == "historicalTrades" and "fromId" in query:
                    trades = view.trades_from(symbol.native, number_of(query, "fromId", 0), limit)
                else:
                    trades = view.trades(symbol.native, limit)
                return orjson.dumps([_trade_body(trade) for trade in trades])
            case "aggTrades" if "startTime" in query:
                symbol, limit = listed(query, view), limit_of(query, 500, MAX_TRADES)
                trades = view.trades_since(symbol.native, number_of(query, "startTime", 0), limit)
                return orjson.dumps([_aggregate(trade) for trade in trades])
            case "klines":
                return self.klines(query, view, now_ms, MAX_KLINES, klines.INTERVALS)
        raise self.no_path(request)

    def book(self, query: Mapping[str, str], view: View, default: int, most: int) -> tuple[Symbol, Book]:
        """The book that is asked for, cut to the limit."""
        symbol, limit = listed(query, view), limit_of(query, default, most)
        book = view.snapshot(symbol.native)
        if book is None:
            raise RestError(-1000, f"There is no depth snapshot of {symbol.native}.", status=404)
        bids, asks = (dict(islice(side.items(), limit)) for side in (book.bids, book.asks))
        return symbol, book._replace(bids=bids, asks=asks)

    def no_path(self, request: HttpRequest) -> RestError:
        return RestError(-1000, f"No such path: {request.path[:100]}", status=404)


def _turned(status: int, message: str) -> Turned:
    return Turned(status, orjson.dumps({"code": -1100, "msg": message}))


def wrapped(form: Hashable, payload: bytes) -> bytes:
    assert isinstance(form, Form)
    return b'{"stream":"%b","data":%b}' % (form.wrapped, payload) if form.wrapped else payload


def _info(symbol: Symbol) -> dict[str, Any]:
    tick, step = decimal(symbol.tick).decode(), decimal(symbol.lot).decode()
    return {
        "symbol": symbol.native, "status": "TRADING", "baseAsset": symbol.base, "baseAssetPrecision": 8,
        "quoteAsset": symbol.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True, "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "922327.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "92141578.00000000", "stepSize": step},
        ],
    }  # fmt: skip


def _wanted(query: Mapping[str, str], view: View) -> list[Symbol]:
    there = view.symbols()
    wanted: object = list(there)
    if "symbol" in query:
        wanted = [query["symbol"]]
    elif "symbols" in query:
        try:
            wanted = orjson.loads(query["symbols"])
        except orjson.JSONDecodeError:
            wanted = None
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise RestError(-1100, "Illegal characters found in parameter 'symbols'; legal range is a list of symbols.")
    if not all(name in there for name in wanted):
        raise _invalid_symbol()
    return [there[name] for name in wanted]


def _trade_body(trade: TradeEvent) -> dict[str, Any]:
    return {
        "id": trade.trade_id, "price": decimal(trade.price).decode(), "qty": decimal(trade.quantity).decode(),
        "quoteQty": decimal(trade.price * trade.quantity // UNITS).decode(), "time": trade.time_ms,
        "isBuyerMaker": trade.buyer_is_maker, "isBestMatch": True,
    }  # fmt: skip


def _aggregate(trade: TradeEvent) -> dict[str, Any]:
    """Of one trade each: this exchange's aggregates are no more."""
    return {
        "a": trade.trade_id // 2, "p": decimal(trade.price).decode(), "q": decimal(trade.quantity).decode(),
        "f": trade.trade_id, "l": trade.trade_id, "T": trade.time_ms, "m": trade.buyer_is_maker, "M": True,
    }  # fmt: skip


def _kline(candle: klines.Candle) -> list[Any]:
    texts = [decimal(number).decode() for number in candle[2:8]]
    bought = [decimal(number).decode() for number in candle[9:]]
    return [candle.open_ms, *texts[:5], candle.close_ms - 1, texts[5], candle.trades, *bought, "0"]


def _invalid_symbol() -> RestError:
    return RestError(-1121, "Invalid symbol.")


def listed(query: Mapping[str, str], view: View) -> Symbol:
    if not query.get("symbol"):
        raise RestError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    symbol = view.symbols().get(query["symbol"])
    if symbol is None:
        raise _invalid_symbol()
    return symbol


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        message = f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        raise RestError(-1100, message)
    return int(text)


def limit_of(query: Mapping[str, str], default: int, most: int) -> int:
    limit = number_of(query, "limit", default)
    if limit == 0:
        raise RestError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


WIRE = Binance()
