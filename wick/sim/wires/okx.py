"""OKX v5's wire for spot, from the exchange's side: the public WebSocket and REST. Pure.

https://www.okx.com/docs-v5/en/#overview-websocket, #order-book-trading-market-data-ws-trades-channel,
#order-book-trading-market-data-ws-order-book-channel, #order-book-trading-market-data-get-candlesticks-history; the
words of refusals are those of published captures (2026).
"""

import re
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any

import orjson

from wick.market.foreign import SECONDS
from wick.market.intervals import DAY
from wick.sim import klines
from wick.sim.book import DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import Listing
from wick.sim.wires import Answer, Limits, Session, Subscription, Symbol, Turned, View, Wire
from wick.sim.wires._common import newest_first, number_of, object_of
from wick.sim.wires._text import plain

_CHANNELS = {"trades": "trade", "books": "depth", "bbo-tbt": "quote"}
_CONN_ID = "a4d3ae55"
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
MAX_LENGTH = 64 * 1024  # of a request
REQUESTS = (480, 3_600_000)  # (un)subscribes of a connection in so many milliseconds
_MAX_TRADES, _MAX_HISTORY, _MAX_CANDLES = 500, 100, 300
_BARS = {"1s": SECONDS, "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "4H": "4h",
         "1Dutc": "1d", "1Wutc": "1w", "1Mutc": "1M"}  # fmt: skip
_SECONDS_KEPT_MS = 90 * DAY
_CANDLES = "/api/v5/market/history-candles"
_OF_INSTRUMENT = (
    "/api/v5/market/trades", "/api/v5/market/history-trades", "/api/v5/market/books", _CANDLES,
)  # fmt: skip


class _Session(Session):
    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Subscription] = {}  # by channel and instrument
        self._asked: deque[int] = deque(maxlen=REQUESTS[0])
        self._told: dict[str, int] = {}  # update ids of the books at the last heartbeat

    def asks(self, message: bytes) -> bool:
        request = object_of(message)
        return request is not None and request.get("op") == "subscribe"

    def heartbeat(self, view: View, now_ms: int) -> Sequence[bytes]:
        """A book that has not changed for long says so: no levels, both ids those of the message before."""
        frames, seen = [], {}
        for stream in self._streams.values():
            book = view.told(stream.symbol) if stream.channel == "depth" else None
            if book is not None:
                seen[stream.symbol] = book.update_id
                if self._told.get(stream.symbol) == book.update_id:
                    frames.append(_book_frame(stream.symbol, "update", {}, {}, book.update_id, book.update_id, now_ms))
        self._told = seen
        return frames

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        if message == b"ping":
            return Answer([b"pong"])
        request = object_of(message)
        op = request.get("op") if request is not None else None
        args = request.get("args") if request is not None else None
        if request is None or op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            return self._invalid(message)
        if "id" in request and not (isinstance(request["id"], str) and _ID.fullmatch(request["id"])):
            return self._invalid(message)
        if len(message) > MAX_LENGTH:
            return self._invalid(b"the request is too long")
        if len(self._asked) == REQUESTS[0] and now_ms - self._asked[0] < REQUESTS[1]:
            return Answer([_error(request, "60014", "Requests too frequent")], refused=True)
        self._asked.append(now_ms)
        frames: list[bytes] = []
        add: list[Subscription] = []
        remove: list[Subscription] = []
        refused = False
        for arg in args:  # each gets an answer of its own
            place = self._place(arg, view)
            if place is None or (refuse and op == "subscribe"):
                refused = True
                frames.append(_refusal(request, arg) if place is None else _refusal_by_tier(request))
                continue
            if op == "subscribe" and place not in self._streams:
                self._streams[place] = stream = Subscription(place[1], _CHANNELS[place[0]])
                add.append(stream)
            elif op == "unsubscribe" and place in self._streams:
                remove.append(self._streams.pop(place))
            frames.append(_event(request, {"event": op, "arg": {"channel": place[0], "instId": place[1]}}))
        return Answer(frames, add, remove, refused)

    @staticmethod
    def _place(arg: object, view: View) -> tuple[str, str] | None:
        if not isinstance(arg, dict):
            return None
        channel, instrument = arg.get("channel"), arg.get("instId")
        if not isinstance(channel, str) or not isinstance(instrument, str):
            return None
        return (channel, instrument) if channel in _CHANNELS and instrument in view.symbols() else None

    @staticmethod
    def _invalid(message: bytes) -> Answer:
        text = f"Invalid request: {message[:1000].decode(errors='replace')}"
        return Answer([_error({}, "60012", text)], refused=True)


def _event(request: dict[str, Any], body: dict[str, Any]) -> bytes:
    """An answer, with the client's `id` if it has sent one."""
    own = {"id": request["id"]} if "id" in request else {}
    return orjson.dumps({**own, **body, "connId": _CONN_ID})


def _error(request: dict[str, Any], code: str, text: str) -> bytes:
    return _event(request, {"event": "error", "msg": text, "code": code})


def _refusal(request: dict[str, Any], arg: object) -> bytes:
    named = arg if isinstance(arg, dict) else {}
    text = ",".join(f"{name}:{named[name]}" for name in ("channel", "instId") if name in named)
    advice = "Please use the correct URL, channel and parameters referring to API document."
    return _error(request, "60018", f"Wrong URL or {text or 'channel'} doesn't exist. {advice}")


def _refusal_by_tier(request: dict[str, Any]) -> bytes:
    return _error(request, "64003", "Your trading fee tier doesn't meet the requirement to access this channel")


# ---- data


def _data_frame(channel: str, symbol: str, rows: list[dict[str, Any]], action: str = "") -> bytes:
    arg = {"channel": channel, "instId": symbol}
    return orjson.dumps({"arg": arg, **({"action": action} if action else {}), "data": rows})


def _levels(side: Mapping[int, int], best_is_highest: bool) -> list[list[str]]:
    """Price, quantity, "0", how many orders: none of a level that is removed."""
    levels = sorted(side.items(), reverse=best_is_highest)
    return [[plain(p), plain(q), "0", str(1 + p // 7 % 9) if q else "0"] for p, q in levels]


def _book_frame(
    symbol: str, action: str, bids: Mapping[int, int], asks: Mapping[int, int], previous: int, seq: int, now_ms: int
) -> bytes:
    """The checksum is always 0 since it is deprecated."""
    row = {"asks": _levels(asks, False), "bids": _levels(bids, True), "ts": str(now_ms), "checksum": 0,
           "prevSeqId": previous, "seqId": seq}  # fmt: skip
    return _data_frame("books", symbol, [row], action)


def _bbo_frame(symbol: str, quote: QuoteEvent, now_ms: int) -> bytes:
    asks, bids = _levels({quote.ask: quote.ask_quantity}, False), _levels({quote.bid: quote.bid_quantity}, True)
    row = {"asks": asks, "bids": bids, "ts": str(quote.time_ms), "seqId": quote.update_id}
    return _data_frame("bbo-tbt", symbol, [row])


def _taken(trades: Sequence[TradeEvent]) -> list[list[TradeEvent]]:
    """Those in a row of one moment, price and side."""
    return [list(found) for _, found in groupby(trades, lambda one: (one.time_ms, one.price, one.buyer_is_maker))]


class _Okx(Wire):
    id = "okx"
    # A message stands for `count` trades and has the id of the last of them.
    contiguous_ids = False
    batches = True
    depth_ms = 100
    heartbeat_ms = 5000  # the venue's books speak after "around 60 seconds", which no test waits for
    # Three connections a second; nothing for 30 s ends a connection: #overview-websocket-connect. REST: 20 requests in
    # two seconds for instruments, 100 for trades.
    limits = Limits(messages=(100, 1.0), connects=(3, 1.0), rest=(100, 2.0), idle_s=30.0, first_s=30.0)
    faults = frozenset({"sequence_reset"})
    reset_shift = -1_000_000

    def native(self, listing: Listing) -> str:
        return f"{listing.base}-{listing.quote}"

    def session(self, request: HttpRequest) -> Session:
        if request.path != "/ws/v5/public":
            raise Turned(404, b"")
        return _Session()

    # ---- frames

    def opening(self, symbol: Symbol, channel: str, form: Hashable, view: View, now_ms: int) -> Sequence[bytes]:
        if channel == "quote":
            quote = view.quote(symbol.native)
            return [_bbo_frame(symbol.native, quote, now_ms)] if quote else ()
        book = view.told(symbol.native) if channel == "depth" else None
        if book is None:
            return ()
        return [_book_frame(symbol.native, "snapshot", book.bids, book.asks, -1, book.update_id, now_ms)]

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        """One message for what one taker got at one price: here trades in a row of one moment, price and side."""
        frames = []
        for group in _taken(trades):
            last, quantity = group[-1], sum(trade.quantity for trade in group)
            row = {
                "instId": symbol.native, "tradeId": str(last.trade_id), "px": plain(last.price), "sz": plain(quantity),
                "side": _side(last), "ts": str(last.time_ms), "count": str(len(group)), "source": "0",
                "seqId": _sequence(last.trade_id),
            }  # fmt: skip
            frames.append(_data_frame("trades", symbol.native, [row]))
        return frames

    def told(self, trades: Sequence[TradeEvent]) -> Sequence[TradeEvent]:
        return [group[-1]._replace(quantity=sum(one.quantity for one in group)) for group in _taken(trades)]

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        return [_bbo_frame(symbol.native, quote, now_ms)]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        ids = update.previous_id, update.last_id
        return [_book_frame(symbol.native, "update", update.bids, update.asks, *ids, now_ms)]

    def shutdown(self, now_ms: int) -> tuple[bytes, int]:
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        return orjson.dumps({"event": "notice", "code": "64008", "msg": text, "connId": _CONN_ID}), 1001

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        query, symbols = request.query, view.symbols()
        match request.path:
            case "/api/v5/public/time":
                return _answer([{"ts": str(now_ms)}])
            case "/api/v5/public/instruments":
                if "instType" not in query:
                    return 400, _failure("50014", "Parameter instType can not be empty.")
                if query["instType"] != "SPOT":
                    return 400, _failure("51000", "Parameter instType error")
                if "instId" not in query:
                    return _answer([_instrument(symbol) for symbol in symbols.values()])
                if query["instId"] in symbols:
                    return _answer([_instrument(symbols[query["instId"]])])
                return 200, _failure("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
            case path if path in _OF_INSTRUMENT:
                if "instId" not in query:
                    return 400, _failure("50014", "Parameter instId can not be empty.")
                if query["instId"] not in symbols:
                    return 200, _failure("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
                return self._of_instrument(request.path.rpartition("/")[2], query, view, now_ms)
        return 404, orjson.dumps({"code": 404, "data": {}, "msg": "Not Found"})

    @staticmethod
    def _of_instrument(what: str, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
        symbol = query["instId"]
        if what == "books":
            size, book = number_of(query.get("sz"), 1), view.snapshot(symbol)
            if not size or size > 400 or book is None:
                return 400, _failure("51000", "Parameter sz error")
            asks, bids = _levels(book.asks, False)[:size], _levels(book.bids, True)[:size]
            return _answer([{"asks": asks, "bids": bids, "ts": str(now_ms), "seqId": book.update_id}])
        if what == "history-candles":
            return _candles(view.symbols()[symbol], query, view, now_ms)
        most = _MAX_TRADES if what == "trades" else _MAX_HISTORY
        limit = number_of(query.get("limit"), 100)
        # history-trades, type 1 (by id): the newest page of those before `after` and after `before`, both exclusive.
        before, after = number_of(query.get("before"), 0), number_of(query.get("after"), 1 << 62)
        if not limit or before is None or after is None or query.get("type", "1") != "1":
            return 400, _failure("51000", "Parameter limit error")
        if what == "trades":
            found = view.trades(symbol, min(limit, most))
        else:
            found = view.trades_between(symbol, before + 1, after - 1, min(limit, most))
        return _answer([_trade_body(symbol, trade) for trade in newest_first(found)])

    def weight(self, request: HttpRequest) -> int:
        return 5 if request.path == _CANDLES else 1  # 20 in two seconds

    def rest_error(self, status: int) -> bytes:
        if status in (418, 429):
            return _failure("50011", "Too Many Requests")
        return _failure("50001", "Service temporarily unavailable. Please try again later.")


def _candles(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    """The newest of those that open after `before` and before `after`, newest first; the one that runs says so."""
    name, limit = _BARS.get(query.get("bar", "1m")), number_of(query.get("limit"), 100)
    before, after = number_of(query.get("before"), 0), number_of(query.get("after"), now_ms + 1)
    if name is None:
        return 400, _failure("51000", "Parameter bar error")
    if not limit or before is None or after is None:
        return 400, _failure("51000", "Parameter limit error")
    from_ms = max(before + 1, now_ms - _SECONDS_KEPT_MS) if name == SECONDS else before + 1
    to_ms = min(after - 1, now_ms)
    found = klines.candles(view, symbol, name, from_ms, to_ms, min(limit, _MAX_CANDLES), newest=True)
    rows = [
        [str(one.open_ms), *map(plain, one[2:8]), plain(one.quote_volume), "1" if one.close_ms <= now_ms else "0"]
        for one in reversed(found)
    ]
    return 200, orjson.dumps({"code": "0", "msg": "", "data": rows})


def _side(trade: TradeEvent) -> str:
    """The taker's."""
    return "sell" if trade.buyer_is_maker else "buy"


def _sequence(trade_id: int) -> int:
    return 82_000_000_000 + trade_id


def _answer(data: list[dict[str, Any]]) -> tuple[int, bytes]:
    return 200, orjson.dumps({"code": "0", "msg": "", "data": data})


def _failure(code: str, text: str) -> bytes:
    return orjson.dumps({"code": code, "msg": text, "data": []})


def _instrument(symbol: Symbol) -> dict[str, Any]:
    lot = plain(symbol.lot)
    return {
        "instType": "SPOT", "instId": symbol.native, "instFamily": "", "uly": "", "category": "1",
        "baseCcy": symbol.base, "quoteCcy": symbol.quote, "settleCcy": "", "ctVal": "", "ctMult": "", "ctValCcy": "",
        "optType": "", "stk": "", "listTime": "1548133413000", "expTime": "", "lever": "10",
        "tickSz": plain(symbol.tick), "lotSz": lot, "minSz": lot, "ctType": "", "alias": "", "state": "live",
        "maxLmtSz": "9999999999", "maxMktSz": "1000000", "ruleType": "normal",
    }  # fmt: skip


def _trade_body(symbol: str, trade: TradeEvent) -> dict[str, Any]:
    """REST has each trade by itself."""
    return {"instId": symbol, "side": _side(trade), "sz": plain(trade.quantity), "px": plain(trade.price),
            "source": "0", "tradeId": str(trade.trade_id), "ts": str(trade.time_ms)}  # fmt: skip


WIRE = _Okx()
