"""Kraken's wire, from the exchange's side: WebSocket v2 and the public part of REST. Pure.

https://docs.kraken.com/api/docs/websocket-v2/book, .../trade, .../heartbeat, .../guides/spot-ws-book-v2
Where a published capture (August 2026, 9,932 frames) disagrees with the documentation it is believed: heartbeats come
every second, not only when there is nothing else to say; a book's snapshot has a time too.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast
from zlib import crc32

import orjson

from wick.sim import klines
from wick.sim.book import Book, DepthUpdate, changes
from wick.sim.http import HttpRequest
from wick.sim.market import QuoteEvent, TradeEvent
from wick.sim.symbols import Listing
from wick.sim.wires import Answer, Limits, Session, Subscription, Symbol, Turned, View, Wire
from wick.sim.wires._common import microseconds, names_of, number_of, object_of, stamped, stepped
from wick.sim.wires._text import decimals, fixed, rfc3339

DEPTHS = (10, 25, 100, 500, 1000)
_CHECKED = 10  # levels a side in the checksum, whatever the depth
_SNAPSHOT_TRADES, _MAX_TRADES, _MAX_CANDLES = 50, 1000, 720
# Minutes. Weeks, which begin on Thursdays, and half months are left out here.
_INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d"}
_CHANNELS = ("trade", "book", "ticker")
_FIELDS = {"trade": "trade", "book": "depth", "ticker": "quote"}
# REST, and version 1 of the WebSocket, call a few assets otherwise; old ones have a letter for their class in front.
# https://support.kraken.com/articles/360000920306-api-symbols-and-tickers
_V1 = {"BTC": "XBT", "DOGE": "XDG"}
_X = {"XBT", "ETH", "LTC", "XRP", "XLM", "ETC", "XMR", "ZEC", "REP", "MLN", "XDG"}
_Z = {"USD", "EUR", "GBP", "JPY", "CAD"}


class _Book(NamedTuple):
    """The form of a book's subscription."""

    depth: int
    snapshot: bool


class _Session(Session):
    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Subscription] = {}  # by symbol and channel: one book a symbol

    def greeting(self, now_ms: int) -> Answer:
        return Answer([_status("online", now_ms)])

    def asks(self, message: bytes) -> bool:
        request = object_of(message)
        return request is not None and request.get("method") == "subscribe"

    def heartbeat(self, view: View, now_ms: int) -> Sequence[bytes]:
        return [b'{"channel":"heartbeat"}'] if self._streams else ()

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        request = object_of(message)
        if request is None:
            return Answer([_refusal(now_ms, {}, "Malformed request")], refused=True)
        match request.get("method"):
            case "ping":
                return Answer([_reply(now_ms, {"method": "pong"}, request)])
            case "subscribe" if refuse:
                return Answer([_refusal(now_ms, request, "Exceeded msg rate")], refused=True)
            case "subscribe" | "unsubscribe":
                return self._request(request, view, now_ms)
        return Answer([_refusal(now_ms, request, "Unsupported method")], refused=True)

    def _request(self, request: dict[str, Any], view: View, now_ms: int) -> Answer:
        params = request.get("params")
        params = params if isinstance(params, dict) else {}
        channel, symbols = params.get("channel"), names_of(params.get("symbol"))
        if channel not in _CHANNELS:
            return Answer([_refusal(now_ms, request, "Channel field must be present and valid")], refused=True)
        if symbols is None:
            return Answer([_refusal(now_ms, request, "Symbol(s) not found")], refused=True)
        depth = params.get("depth", DEPTHS[0])
        if channel == "book" and (type(depth) is not int or depth not in DEPTHS):
            return Answer([_refusal(now_ms, request, "Subscription depth not supported")], refused=True)
        snapshot = params.get("snapshot", True) is not False
        options: dict[str, Any] = {"snapshot": snapshot}
        form: Hashable = snapshot
        if channel == "book":
            options, form = {"depth": depth, "snapshot": snapshot}, _Book(depth, snapshot)
        elif channel == "ticker":
            form = params.get("event_trigger") == "bbo"
            options = {"event_trigger": "bbo" if form else "trades", "snapshot": snapshot}
        frames: list[bytes] = []
        add: list[Subscription] = []
        remove: list[Subscription] = []
        refused = False
        for name in symbols:  # each gets an answer of its own
            held = self._streams.get((name, channel))
            error = None
            if name not in view.symbols():
                error = f"Currency pair not supported {name}"
            elif request["method"] == "subscribe":
                if held is not None:
                    error = "Already subscribed"
                else:
                    # A ticker that follows trades, not the best prices, stays silent here.
                    field = "ticker" if channel == "ticker" and not form else _FIELDS[channel]
                    self._streams[name, channel] = stream = Subscription(name, field, form)
                    add.append(stream)
            elif held is None or (isinstance(held.form, _Book) and held.form.depth != depth):
                error = "Subscription Not Found"
            else:
                remove.append(self._streams.pop((name, channel)))
            if error is not None:
                refused = True
                frames.append(_refusal(now_ms, request, error, symbol=name))
            else:
                result = {"channel": channel, **options, "symbol": name}
                frames.append(_reply(now_ms, {"method": request["method"], "result": result, "success": True}, request))
        return Answer(frames, add, remove, refused)


def _reply(now_ms: int, body: dict[str, Any], request: dict[str, Any]) -> bytes:
    """With the client's `req_id`, if it has sent one, and the times of both ends, a little apart."""
    if type(request.get("req_id")) is int:
        body["req_id"] = request["req_id"]
    body["time_in"] = microseconds(now_ms * 1000)
    body["time_out"] = microseconds(now_ms * 1000 + 45)
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _refusal(now_ms: int, request: dict[str, Any], error: str, **more: str) -> bytes:
    method = request.get("method")
    body = {"error": error, "success": False, **more}
    return _reply(now_ms, body | ({"method": method} if isinstance(method, str) else {}), request)


def _status(system: str, now_ms: int) -> bytes:
    number = 12_393_906_104_000_000_000 + now_ms  # more than 2^53, as the venue's are
    data = [{"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": number}]
    return orjson.dumps({"channel": "status", "type": "update", "data": data})


# ---- books


def checksum(asks: Sequence[tuple[str, str]], bids: Sequence[tuple[str, str]]) -> int:
    """CRC32 of the ten best levels (price, quantity; best first): digits only, without leading zeros, asks first."""
    texts = (text for side in (asks, bids) for level in side[:_CHECKED] for text in level)
    return crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())


def _texts(symbol: Symbol, side: Mapping[int, int], count: int | None = None) -> list[tuple[str, str]]:
    """Levels at the full precision of their steps, zeros at the end included."""
    return [(stepped(p, symbol.tick), stepped(q, symbol.lot)) for p, q in islice(side.items(), count)]


def _checksum_of(symbol: Symbol, book: Book) -> int:
    return checksum(_texts(symbol, book.asks, _CHECKED), _texts(symbol, book.bids, _CHECKED))


def _levels(levels: Sequence[tuple[str, str]]) -> str:
    return "[" + ",".join(f'{{"price":{price},"qty":{quantity}}}' for price, quantity in levels) + "]"


def _book_frame(
    kind: str, symbol: Symbol, bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]], crc: int, now_ms: int
) -> bytes:
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol.native}","bids":{_levels(bids)},'
        f'"asks":{_levels(asks)},"checksum":{crc},"timestamp":"{microseconds(now_ms * 1000)}"}}]}}'
    ).encode()


def _trade_frame(kind: str, symbol: Symbol, trades: Sequence[tuple[TradeEvent, int]]) -> bytes:
    """All in one message; with their times in microseconds."""
    parts = [
        f'{{"symbol":"{symbol.native}","side":"{"sell" if trade.buyer_is_maker else "buy"}",'
        f'"price":{stepped(trade.price, symbol.tick)},"qty":{stepped(trade.quantity, symbol.lot)},'
        f'"ord_type":"{"limit" if trade.trade_id % 3 else "market"}","trade_id":{trade.trade_id},'
        f'"timestamp":"{microseconds(time_us)}"}}'
        for trade, time_us in trades
    ]
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(parts)}]}}'.encode()


class _Kraken(Wire):
    id = "kraken"
    contiguous_ids = True
    batches = True
    depth_ms = 100
    heartbeat_ms = 1000
    # 150 connections in ten minutes from an address; a connection without a subscription ends after a minute; a public
    # REST request a second: https://docs.kraken.com/exchange/guides/websockets/introduction, .../rest/ratelimits
    limits = Limits(messages=(100, 1.0), connects=(150, 600.0), rest=(15, 15.0), first_s=60.0)
    faults = frozenset({"wrong_checksum", "newest_first"})

    def native(self, listing: Listing) -> str:
        return f"{listing.base}/{listing.quote}"

    def session(self, request: HttpRequest) -> Session:
        if request.path != "/v2":
            raise Turned(404, b"")
        return _Session()

    # ---- frames

    def opening(self, symbol: Symbol, channel: str, form: Hashable, view: View, now_ms: int) -> Sequence[bytes]:
        if channel == "trade" and form:
            latest = view.trades(symbol.native, _SNAPSHOT_TRADES)
            if not latest:
                return ()
            since_ms = min(trade.time_ms for trade in latest)
            around = view.trades_since(symbol.native, since_ms, _SNAPSHOT_TRADES + _MAX_TRADES)
            times = {trade.trade_id: time_us for trade, time_us in stamped(around)}
            return [_trade_frame("snapshot", symbol, [(trade, times[trade.trade_id]) for trade in latest])]
        if channel == "quote":
            quote = view.quote(symbol.native)
            return [_ticker_frame("snapshot", symbol, quote)] if quote else ()
        if channel != "depth":
            return ()
        depth, snapshot = cast(_Book, form)
        book = view.told(symbol.native)
        if book is None or not snapshot:
            return ()
        bids, asks = _texts(symbol, book.bids, depth), _texts(symbol, book.asks, depth)
        return [_book_frame("snapshot", symbol, bids, asks, checksum(asks, bids), now_ms)]

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        return [_trade_frame("update", symbol, stamped(trades))]

    def quote(self, symbol: Symbol, form: Hashable, quote: QuoteEvent, now_ms: int) -> Sequence[bytes]:
        return [_ticker_frame("update", symbol, quote)]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        depth = cast(_Book, form).depth
        sides = [
            changes(before, now, depth)
            for before, now in ((update.before.bids, update.book.bids), (update.before.asks, update.book.asks))
        ]
        if not any(sides) and not update.wrong_checksum:
            return ()  # nothing that the client can see has changed
        bids, asks = (_texts(symbol, dict(sorted(side.items()))) for side in sides)
        if bids and update.number % 16 == 0:
            # A message may name a price more than once: the last counts.
            bids.insert(0, (bids[-1][0], stepped(0, symbol.lot)))
        crc = _checksum_of(symbol, update.book) ^ update.wrong_checksum
        return [_book_frame("update", symbol, bids, asks, crc, now_ms)]

    def shutdown(self, now_ms: int) -> tuple[bytes, int]:
        return _status("maintenance", now_ms), 1012

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        query = request.query
        match request.path:
            case "/0/public/Time":
                return _result({"unixtime": now_ms // 1000, "rfc1123": rfc3339(now_ms, 3)})
            case "/0/public/AssetPairs":
                version = query.get("assetVersion", "0") == "1"
                symbols = list(view.symbols().values())
                if "pair" in query:
                    found = [_found(view, name) for name in query["pair"].split(",")]
                    if None in found:
                        return _failed("EQuery:Unknown asset pair")
                    symbols = [symbol for symbol in found if symbol is not None]
                return _result({rest_key(symbol, version): _pair(symbol, version) for symbol in symbols})
            case "/0/public/Trades" | "/0/public/Depth" | "/0/public/OHLC":
                if "pair" not in query:
                    return _failed("EGeneral:Invalid arguments")
                symbol = _found(view, query["pair"])
                if symbol is None:
                    return _failed("EQuery:Unknown asset pair")
                answer = {"Trades": _trades_body, "Depth": _depth_body, "OHLC": _candles_body}
                return answer[request.path.rpartition("/")[2]](symbol, query, view, now_ms)
        return 404, b'{"error":["EGeneral:Unknown method"]}'

    def rest_error(self, status: int) -> bytes:
        error = "EGeneral:Too many requests" if status in (418, 429) else "EService:Unavailable"
        return orjson.dumps({"error": [error]})


def _ticker_frame(kind: str, symbol: Symbol, quote: QuoteEvent) -> bytes:
    """`ticker` with event_trigger "bbo": the best prices; what it tells of the day is not the market's here."""
    bid, ask = stepped(quote.bid, symbol.tick), stepped(quote.ask, symbol.tick)
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol.native}",'
        f'"bid":{bid},"bid_qty":{stepped(quote.bid_quantity, symbol.lot)},'
        f'"ask":{ask},"ask_qty":{stepped(quote.ask_quantity, symbol.lot)},'
        f'"last":{bid},"volume":0.00000000,"vwap":{bid},"low":{bid},"high":{ask},"change":0.0,"change_pct":0.00}}]}}'
    ).encode()


# ---- REST: names and bodies


def _result(result: dict[str, Any]) -> tuple[int, bytes]:
    return 200, orjson.dumps({"error": [], "result": result})


def _failed(error: str) -> tuple[int, bytes]:
    """Errors of requests come with status 200."""
    return 200, orjson.dumps({"error": [error]})


def _old(asset: str) -> str:
    """An asset's code in version 1: XXBT, ZUSD, USDT."""
    name = _V1.get(asset, asset)
    return ("X" if name in _X else "Z" if name in _Z else "") + name


def _altname(symbol: Symbol) -> str:
    return _V1.get(symbol.base, symbol.base) + _V1.get(symbol.quote, symbol.quote)


def rest_key(symbol: Symbol, new_names: bool = False) -> str:
    """XXBTZUSD where both assets have a class, else XBTUSDT (XDGUSD is so by exception)."""
    if new_names:
        return symbol.native
    base, quote = _old(symbol.base), _old(symbol.quote)
    plain = symbol.base == "DOGE" or len(base) < 4 or len(quote) < 4 or base[0] not in "X" or quote[0] not in "XZ"
    return _altname(symbol) if plain else base + quote


def _found(view: View, name: str) -> Symbol | None:
    """By any of a pair's names: XXBTZUSD, XBTUSD, XBT/USD, BTC/USD, BTCUSD."""
    if name in view.symbols():
        return view.symbols()[name]
    for symbol in view.symbols().values():
        if name in (rest_key(symbol), _altname(symbol), _wsname(symbol), symbol.base + symbol.quote):
            return symbol
    return None


def _wsname(symbol: Symbol) -> str:
    return f"{_V1.get(symbol.base, symbol.base)}/{_V1.get(symbol.quote, symbol.quote)}"


def _pair(symbol: Symbol, new_names: bool) -> dict[str, Any]:
    return {
        "altname": _altname(symbol), "wsname": symbol.native if new_names else _wsname(symbol),
        "aclass_base": "currency", "base": symbol.base if new_names else _old(symbol.base),
        "aclass_quote": "currency", "quote": symbol.quote if new_names else _old(symbol.quote),
        "lot": "unit", "cost_decimals": 5, "pair_decimals": decimals(symbol.tick),
        "lot_decimals": decimals(symbol.lot), "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
        "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "margin_call": 80,
        "margin_stop": 40, "ordermin": stepped(symbol.lot, symbol.lot), "costmin": "0.5",
        "tick_size": stepped(symbol.tick, symbol.tick), "status": "online",
    }  # fmt: skip


def _trades_body(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    """The first trades after `since` (exclusive: seconds, or nanoseconds as `last` tells), else the latest."""
    count = number_of(query.get("count"), _MAX_TRADES)
    since = number_of(query.get("since"), -1)
    if not count or since is None:
        return _failed("EGeneral:Invalid arguments")
    count = min(count, _MAX_TRADES)
    if since < 0:
        found = sorted(view.trades(symbol.native, count), key=lambda trade: trade.trade_id)
    else:
        since = since * 10**9 if since < 10**12 else since
        # From the millisecond of `since` on: the times within it follow from the first trade in it.
        found = list(view.trades_since(symbol.native, since // 10**6, count + _MAX_TRADES))
    rows = [(trade, time_us) for trade, time_us in stamped(found) if time_us * 1000 > since][:count]
    last = rows[-1][1] * 1000 if rows else max(since, 0)
    texts = ",".join(
        f'["{fixed(trade.price, max(5, decimals(symbol.tick)))}","{fixed(trade.quantity)}",'
        f'{time_us // 10**6}.{time_us % 10**6:06d},"{"s" if trade.buyer_is_maker else "b"}",'
        f'"{"l" if trade.trade_id % 3 else "m"}","",{trade.trade_id}]'
        for trade, time_us in rows
    )
    return 200, f'{{"error":[],"result":{{"{rest_key(symbol)}":[{texts}],"last":"{last}"}}}}'.encode()


def _candles_body(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    """Those after `since` of the newest 720, and the one that runs, always."""
    name, since = _INTERVALS.get(number_of(query.get("interval"), 1) or 0), number_of(query.get("since"), 0)
    if name is None or since is None:
        return _failed("EGeneral:Invalid arguments")
    found = klines.candles(view, symbol, name, 0, now_ms, _MAX_CANDLES + 1, newest=True)
    digits = decimals(symbol.tick)
    rows = [
        [
            one.open_ms // 1000, *[fixed(price, digits) for price in one[2:6]],
            f"{one.quote_volume / one.volume if one.volume else 0.0:.{digits}f}", fixed(one.volume), one.trades,
        ]
        for one in found
        if one.open_ms > since * 1000 or one is found[-1]
    ]  # fmt: skip
    return _result({rest_key(symbol): rows, "last": found[-2].open_ms // 1000 if len(found) > 1 else 0})


def _depth_body(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    count = number_of(query.get("count"), 100)
    book = view.snapshot(symbol.native)
    if not count or count > 500 or book is None:
        return _failed("EGeneral:Invalid arguments")
    asks, bids = (
        [[price, quantity, now_ms // 1000] for price, quantity in _texts(symbol, side, count)]
        for side in (book.asks, book.bids)
    )
    return _result({rest_key(symbol): {"asks": asks, "bids": bids}})


WIRE = _Kraken()
