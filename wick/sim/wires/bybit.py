"""Bybit v5's wire for spot, from the exchange's side: the public WebSocket and REST. Pure.

https://bybit-exchange.github.io/docs/v5/ws/connect, .../websocket/public/orderbook, .../trade, .../market/recent-trade,
.../market/kline.
The order of fields, the words of answers and the ids of trades are those of published captures of stream.bybit.com
(spot, September and October 2026); the documentation shows those of the linear contracts (UUIDs, an empty `ret_msg`).
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

from wick.sim import klines
from wick.sim.book import Book, DepthUpdate, changes
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import Listing
from wick.sim.wires import Answer, Limits, Session, Subscription, Symbol, Turned, View, Wire
from wick.sim.wires._common import cut, names_of, newest_first, number_of, object_of, uuid_of
from wick.sim.wires._text import plain

MAX_ARGS, MAX_ARGS_LENGTH = 10, 21_000  # of a request on spot; characters of all that a connection asks for
_MAX_TRADES, _MAX_IN_A_MESSAGE, _MAX_KLINES = 60, 1024, 1000
_KLINES = {"1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "240": "4h", "D": "1d", "M": "1M"}
_BOOK = re.compile(r"orderbook\.(1|50|200|1000)\.(.+)")
_SILENT = re.compile(r"(?:tickers|kline\.[0-9DWM]+|lt)\.(.+)")


class _Session(Session):
    def __init__(self) -> None:
        self._topics: dict[str, Subscription] = {}
        self._quoted: dict[str, int] = {}  # update ids of best prices at the last heartbeat

    def asks(self, message: bytes) -> bool:
        request = object_of(message)
        return request is not None and request.get("op") == "subscribe"

    def heartbeat(self, view: View, now_ms: int) -> Sequence[bytes]:
        """orderbook.1 tells a state again, with the `u` that it had, that has not changed for three seconds."""
        frames, seen = [], {}
        for stream in self._topics.values():
            quote = view.quote(stream.symbol) if stream.channel == "quote" else None
            if quote is not None:
                seen[stream.symbol] = quote.update_id
                if self._quoted.get(stream.symbol) == quote.update_id:
                    frames.append(_quote_frame(stream.symbol, quote, now_ms))
        self._quoted = seen
        return frames

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        request = object_of(message)
        if request is None:
            return self._refused({}, "Failed to decode incoming data:readObjectStart: expect { or n")
        op = request.get("op")
        if op == "ping":
            return Answer([_reply(request, True, "pong", "ping")])
        if op not in ("subscribe", "unsubscribe"):
            return self._refused(request, "error:invalid op")
        if refuse and op == "subscribe":
            return self._refused(request, "error:too many requests")
        topics = names_of(request.get("args"))
        if topics is None:
            return self._refused(request, "Params Error")
        if len(topics) > MAX_ARGS:
            return self._refused(request, f"args size >{MAX_ARGS}")
        if op == "unsubscribe":
            gone = [self._topics.pop(topic) for topic in topics if topic in self._topics]
            return Answer([_reply(request, True, "unsubscribe", op)], remove=gone)
        return self._subscribe(request, topics, view)

    def _subscribe(self, request: dict[str, Any], topics: list[str], view: View) -> Answer:
        """One wrong topic, and none of the request is subscribed to."""
        new: dict[str, Subscription] = {}
        for topic in topics:
            stream = _stream_of(topic)
            if stream is None:
                return self._refused(request, f"error:handler not found,topic:{topic}")
            if stream.symbol not in view.symbols():
                return self._refused(request, f"Invalid symbol :[{topic}]")
            if topic in self._topics:
                return self._refused(request, f"error:already subscribed,topic:{topic}")
            new[topic] = stream
        if sum(map(len, (*self._topics, *new))) > MAX_ARGS_LENGTH:
            return self._refused(request, f"args length >{MAX_ARGS_LENGTH}")
        self._topics.update(new)
        return Answer([_reply(request, True, "subscribe", "subscribe")], add=list(new.values()))

    @staticmethod
    def _refused(request: dict[str, Any], reason: str) -> Answer:
        op = request.get("op")
        return Answer([_reply(request, False, reason, op if isinstance(op, str) else "")], refused=True)


def _stream_of(topic: str) -> Subscription | None:
    if topic.startswith("publicTrade."):
        return Subscription(topic.partition(".")[2], "trade")
    if found := _BOOK.fullmatch(topic):
        depth, symbol = int(found[1]), found[2]
        return Subscription(symbol, "quote") if depth == 1 else Subscription(symbol, "depth", depth)
    if found := _SILENT.fullmatch(topic):
        return Subscription(found[1], "other", topic)
    return None


def _reply(request: dict[str, Any], success: bool, text: str, op: str) -> bytes:
    body: dict[str, Any] = {"success": success, "ret_msg": text, "conn_id": "d9avrj8i70nu0j2a80n0-9cfc4"}
    if isinstance(request.get("req_id"), str):
        body["req_id"] = request["req_id"]
    return orjson.dumps({**body, "op": op})


def trade_id(symbol: str, number: int) -> str:
    """Spot's: nineteen digits that grow with holes. Half of the symbols have UUIDs, as linear contracts do."""
    if crc32(symbol.encode()) % 2 == 0:
        return uuid_of(symbol, number)
    return str(2_290_000_000_000_000_000 + number * 3 + number * 7919 % 3)


def _sequence(number: int) -> int:
    return 115_000_000_000 + number


def _levels(side: Mapping[int, int], best_is_highest: bool) -> list[list[str]]:
    return [[plain(p), plain(q)] for p, q in sorted(side.items(), reverse=best_is_highest)]


def _book_frame(
    topic: str, kind: str, symbol: str, bids: Mapping[int, int], asks: Mapping[int, int], u: int, seq: int, now_ms: int
) -> bytes:
    data = {"s": symbol, "b": _levels(bids, True), "a": _levels(asks, False), "u": u, "seq": _sequence(seq)}
    return orjson.dumps({"topic": topic, "ts": now_ms, "type": kind, "data": data, "cts": now_ms - 4})


def _quote_frame(symbol: str, quote: QuoteEvent, now_ms: int) -> bytes:
    bids, asks = {quote.bid: quote.bid_quantity}, {quote.ask: quote.ask_quantity}
    topic, update_id = f"orderbook.1.{symbol}", quote.update_id
    return _book_frame(topic, "snapshot", symbol, bids, asks, update_id, update_id, now_ms)


def _snapshot(symbol: str, depth: int, book: Book, now_ms: int) -> bytes:
    bids, asks = cut(book.bids, depth), cut(book.asks, depth)
    topic = f"orderbook.{depth}.{symbol}"
    return _book_frame(topic, "snapshot", symbol, bids, asks, book.number, book.update_id, now_ms)


class _Bybit(Wire):
    id = "bybit"
    contiguous_ids = False
    batches = True
    depth_ms = 100
    heartbeat_ms = 3000
    # 500 connections in five minutes from an address, 600 REST requests in five seconds; without a ping or a
    # subscription the connection ends in the end: .../v5/ws/connect, .../v5/rate-limit. Messages: undocumented.
    limits = Limits(messages=(100, 1.0), connects=(500, 300.0), rest=(600, 5.0), idle_s=600.0, first_s=60.0)
    faults = frozenset({"sequence_reset"})

    def native(self, listing: Listing) -> str:
        return listing.base + listing.quote

    def session(self, request: HttpRequest) -> Session:
        if request.path != "/v5/public/spot":
            raise Turned(404, b"")
        return _Session()

    # ---- frames

    def opening(self, symbol: Symbol, channel: str, form: Hashable, view: View, now_ms: int) -> Sequence[bytes]:
        if channel == "quote":
            quote = view.quote(symbol.native)
            return [_quote_frame(symbol.native, quote, now_ms)] if quote else ()
        book = view.told(symbol.native) if channel == "depth" else None
        return [_snapshot(symbol.native, _depth_of(form), book, now_ms)] if book else ()

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        rows = [
            {
                "i": trade_id(symbol.native, trade.trade_id), "T": trade.time_ms, "p": plain(trade.price),
                "v": plain(trade.quantity), "S": "Sell" if trade.buyer_is_maker else "Buy",
                "seq": _sequence(trade.trade_id), "s": symbol.native, "BT": False, "RPI": False,
            }
            for trade in trades
        ]  # fmt: skip
        topic = f"publicTrade.{symbol.native}"
        return [
            orjson.dumps({"topic": topic, "ts": now_ms, "type": "snapshot", "data": rows[at : at + _MAX_IN_A_MESSAGE]})
            for at in range(0, len(rows), _MAX_IN_A_MESSAGE)
        ]

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        return [_quote_frame(symbol.native, quote, now_ms)]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        depth, native = _depth_of(form), symbol.native
        if update.number == 1:  # the service has begun anew: the whole book
            return [_snapshot(native, depth, update.book, now_ms)]
        bids, asks = (
            changes(cut(before, depth), cut(now, depth))
            for before, now in ((update.before.bids, update.book.bids), (update.before.asks, update.book.asks))
        )
        topic = f"orderbook.{depth}.{native}"
        return [_book_frame(topic, "delta", native, bids, asks, update.number, update.last_id, now_ms)]

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        query, path = request.query, request.path
        if path == "/v5/market/time":
            time = {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 10**6)}
            return _answer(time, now_ms)
        if path not in _PATHS:
            return 404, b""
        if query.get("category") != "spot":
            return _failed(10001, "Illegal category", now_ms)
        if path.endswith("instruments-info") and "symbol" not in query:
            listed = [_instrument(symbol, number) for number, symbol in enumerate(view.symbols().values())]
            return _answer({"category": "spot", "list": listed}, now_ms)
        symbol = view.symbols().get(query.get("symbol", ""))
        if symbol is None:
            return _failed(10001, "Not supported symbols", now_ms)
        if path.endswith("instruments-info"):
            return _answer({"category": "spot", "list": [_instrument(symbol, 0)]}, now_ms)
        if path.endswith("kline"):
            return _klines(symbol, query, view, now_ms)
        limit = number_of(query.get("limit"), _MAX_TRADES if path.endswith("recent-trade") else 1)
        if not limit:
            return _failed(10001, "params error: limit invalid", now_ms)
        if path.endswith("recent-trade"):
            latest = newest_first(view.trades(symbol.native, min(limit, _MAX_TRADES)))
            return _answer({"category": "spot", "list": [_trade_body(symbol.native, one) for one in latest]}, now_ms)
        book = view.snapshot(symbol.native)
        if book is None:
            return _failed(10001, "Not supported symbols", now_ms)
        bids, asks = _levels(cut(book.bids, min(limit, 200)), True), _levels(cut(book.asks, min(limit, 200)), False)
        body = {"s": symbol.native, "a": asks, "b": bids, "ts": now_ms, "u": book.number}
        return _answer({**body, "seq": _sequence(book.update_id), "cts": now_ms}, now_ms)

    def rest_error(self, status: int) -> bytes:
        if status in (403, 418, 429):
            return orjson.dumps({"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}})
        return orjson.dumps({"retCode": 10016, "retMsg": "Server error.", "result": {}, "retExtInfo": {}})


_PATHS = [f"/v5/market/{name}" for name in ("instruments-info", "recent-trade", "orderbook", "kline")]


def _klines(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    """The newest of those that open from `start` to `end`, newest first; the one that runs among them."""
    name, limit = _KLINES.get(query.get("interval", "")), number_of(query.get("limit"), 200)
    start, end = number_of(query.get("start"), 0), number_of(query.get("end"), now_ms)
    if not name:
        return _failed(10001, "Invalid period!", now_ms)
    if not limit or limit > _MAX_KLINES or start is None or end is None:
        return _failed(10001, "params error: limit invalid", now_ms)
    found = klines.candles(view, symbol, name, start, min(end, now_ms), limit, newest=True)
    rows = [[str(one.open_ms), *map(plain, one[2:8])] for one in reversed(found)]
    return _answer({"symbol": symbol.native, "category": "spot", "list": rows}, now_ms)


def _depth_of(form: Hashable) -> int:
    assert isinstance(form, int)
    return form


def _answer(result: dict[str, Any], now_ms: int, code: int = 0, text: str = "OK") -> tuple[int, bytes]:
    return 200, orjson.dumps({"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": now_ms})


def _failed(code: int, text: str, now_ms: int) -> tuple[int, bytes]:
    """Errors of requests come with status 200."""
    return _answer({}, now_ms, code, text)


def _instrument(symbol: Symbol, number: int) -> dict[str, Any]:
    lot = plain(symbol.lot)
    return {
        "symbolId": number, "symbol": symbol.native, "baseCoin": symbol.base, "quoteCoin": symbol.quote,
        "innovation": "0", "status": "Trading", "marginTrading": "utaOnly", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": lot, "quotePrecision": "0.0000001", "minOrderQty": lot, "maxOrderQty": "83",
            "minOrderAmt": "5", "maxOrderAmt": "8000000", "maxLimitOrderQty": "83", "maxMarketOrderQty": "41.5",
            "postOnlyMaxLimitOrderSize": "60000",
        },
        "priceFilter": {"tickSize": plain(symbol.tick)},
        "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"}, "symbolType": "",
    }  # fmt: skip


def _trade_body(symbol: str, trade: TradeEvent) -> dict[str, Any]:
    return {
        "execId": trade_id(symbol, trade.trade_id), "symbol": symbol, "price": plain(trade.price),
        "size": plain(trade.quantity), "side": "Sell" if trade.buyer_is_maker else "Buy",
        "time": str(trade.time_ms), "isBlockTrade": False, "isRPITrade": False,
        "seq": str(_sequence(trade.trade_id)),
    }  # fmt: skip


WIRE = _Bybit()
