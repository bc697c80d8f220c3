"""Coinbase Exchange's wire, from the exchange's side: the public WebSocket feed and REST. Pure.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels, .../overview, .../rest-api/pagination,
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
Where the documentation is silent, as published captures of ws-feed.exchange.coinbase.com (August to October 2026) have
it: the answer calls `level2_batch` by its other name `level2_50`, and a match has no zeros at the end of its numbers.
"""

from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from wick.sim import klines
from wick.sim.book import DepthUpdate
from wick.sim.http import HttpRequest
from wick.sim.market import TradeEvent
from wick.sim.symbols import UNITS, Listing
from wick.sim.wires import Answer, Limits, Session, Subscription, Symbol, Turned, View, Wire
from wick.sim.wires._common import (
    microseconds,
    moment_us,
    names_of,
    newest_first,
    number_of,
    object_of,
    stepped,
    uuid_of,
)
from wick.sim.wires._text import fixed, plain, rfc3339

_CHANNELS = {"matches": "trade", "level2_batch": "depth", "level2_50": "depth", "heartbeat": "heartbeat",
             "ticker": "ticker", "ticker_batch": "ticker", "status": "status"}  # fmt: skip
_NAMES = {"trade": "matches", "depth": "level2_50", "heartbeat": "heartbeat", "ticker": "ticker", "status": "status"}
_FOR_MEMBERS = ("level2", "level3", "full", "user")
_MAX_TRADES, _MAX_CANDLES = 1000, 300
_GRANULARITIES = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 86400: "1d"}  # seconds; six hours are left out here


def _error(message: str, reason: str) -> bytes:
    return orjson.dumps({"type": "error", "message": message, "reason": reason})


class _Session(Session):
    def __init__(self) -> None:
        self._streams: dict[Subscription, None] = {}

    def asks(self, message: bytes) -> bool:
        request = object_of(message)
        return request is not None and request.get("type") == "subscribe"

    def receive(self, message: bytes, view: View, now_ms: int, refuse: bool) -> Answer:
        request = object_of(message)
        if request is None:
            return Answer([_error("Malformed JSON", "")], refused=True)
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            return Answer([_error("Failed to subscribe", f"{kind} is not a valid type")], refused=True)
        if refuse and kind == "subscribe":
            return Answer([_error("Failed to subscribe", "subscribe rate limit exceeded")], refused=True)
        streams = self._streams_of(request, view, kind)
        if isinstance(streams, str):
            return Answer([_error(f"Failed to {kind}", streams)], refused=True)
        if kind == "subscribe":
            new = [stream for stream in streams if stream not in self._streams]
            self._streams.update(dict.fromkeys(new))
            return Answer([self._subscriptions()], add=[stream for stream in new if stream.symbol])
        gone = [stream for stream in streams if stream in self._streams]
        for stream in gone:
            del self._streams[stream]
        return Answer([self._subscriptions()], remove=[stream for stream in gone if stream.symbol])

    def _streams_of(self, request: dict[str, Any], view: View, kind: str) -> list[Subscription] | str:
        """The streams that a request names, or why it is refused, all of it.

        A channel is a name, for all products of the request, or an object with products of its own. Without products
        a channel can be unsubscribed as a whole.
        """
        channels, products = request.get("channels"), request.get("product_ids")
        if not isinstance(channels, list) or not channels:
            return "You must specify at least one channel"
        streams: dict[Subscription, None] = {}
        listed = view.symbols()
        for channel in channels:
            own = isinstance(channel, dict) and "product_ids" in channel
            name = channel.get("name") if isinstance(channel, dict) else channel
            if name in _FOR_MEMBERS:
                return "level2, level3, and full channels now require authentication."
            if not isinstance(name, str) or name not in _CHANNELS:
                return f"{name} is not a valid channel"
            named = names_of(channel["product_ids"] if own else products)
            if name == "status":
                named = [""]
            if named is None and kind == "unsubscribe":
                named = [stream.symbol for stream in self._streams if stream.channel == _CHANNELS[name]]
            if named is None:
                return f"You need to specify at least one product ID for channel {name}"
            for product in named:
                if product not in listed and name != "status":
                    return f"{product} is not a valid product"
                streams[Subscription(product, _CHANNELS[name])] = None
        return list(streams)

    def _subscriptions(self) -> bytes:
        """All that the connection is subscribed to now: the answer to every request that is not refused."""
        channels: dict[str, list[str]] = {}
        for stream in self._streams:
            channels.setdefault(_NAMES[stream.channel], []).append(stream.symbol)
        entries = [
            {"name": name, "product_ids": [product for product in products if product], "account_ids": None}
            for name, products in channels.items()
        ]
        return orjson.dumps({"type": "subscriptions", "channels": entries})

    def heartbeat(self, view: View, now_ms: int) -> Sequence[bytes]:
        frames = []
        for stream in self._streams:
            if stream.channel == "heartbeat":
                latest = view.trades(stream.symbol, 1)
                trade_id = latest[0].trade_id if latest else 0
                frames.append(
                    b'{"type":"heartbeat","last_trade_id":%d,"product_id":"%b","sequence":%d,"time":"%b"}'
                    % (trade_id, stream.symbol.encode(), _sequence(trade_id), microseconds(now_ms * 1000).encode())
                )
        return frames


def _sequence(trade_id: int) -> int:
    """Of the product's full channel: it counts orders too, so those of two matches lie apart."""
    return trade_id * 7 + 3


def _maker_side(trade: TradeEvent) -> str:
    return "buy" if trade.buyer_is_maker else "sell"


def _time(trade: TradeEvent) -> str:
    return microseconds(moment_us(trade.time_ms))


def _match(kind: str, symbol: Symbol, trade: TradeEvent) -> bytes:
    maker, taker = (uuid_of(symbol.native, trade.trade_id, who) for who in ("maker", "taker"))
    return (
        f'{{"type":"{kind}","trade_id":{trade.trade_id},"maker_order_id":"{maker}","taker_order_id":"{taker}",'
        f'"side":"{_maker_side(trade)}","size":"{plain(trade.quantity)}","price":"{plain(trade.price)}",'
        f'"product_id":"{symbol.native}","sequence":{_sequence(trade.trade_id)},"time":"{_time(trade)}"}}'
    ).encode()


class _Coinbase(Wire):
    id = "coinbase"
    contiguous_ids = True
    batches = True
    depth_ms = 50
    heartbeat_ms = 1000
    # https://docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits, .../rest-api/rate-limits
    unchecked = frozenset({"depth"})  # level2 has no sequence, and TCP loses nothing
    limits = Limits(messages=(100, 1.0), connects=(8, 1.0), rest=(10, 1.0), first_s=5.0)

    def native(self, listing: Listing) -> str:
        return f"{listing.base}-{listing.quote}"

    def session(self, request: HttpRequest) -> Session:
        if request.path != "/":
            raise Turned(404, b'{"message":"NotFound"}')
        return _Session()

    # ---- frames

    def opening(self, symbol: Symbol, channel: str, form: Hashable, view: View, now_ms: int) -> Sequence[bytes]:
        if channel == "trade":
            return [_match("last_match", symbol, trade) for trade in view.trades(symbol.native, 1)]
        book = view.told(symbol.native) if channel == "depth" else None
        if book is None:
            return ()
        asks, bids = (_levels(symbol, side.items()) for side in (book.asks, book.bids))
        return [orjson.dumps({"type": "snapshot", "product_id": symbol.native, "asks": asks, "bids": bids})]

    def trades(self, symbol: Symbol, form: Hashable, trades: Sequence[TradeEvent], now_ms: int) -> Sequence[bytes]:
        return [_match("match", symbol, trade) for trade in trades]

    def depth(self, symbol: Symbol, form: Hashable, update: DepthUpdate, now_ms: int) -> Sequence[bytes]:
        changes = [
            [side, *level]
            for side, levels in (("buy", update.bids), ("sell", update.asks))
            for level in _levels(symbol, levels.items())
        ]
        if not changes:
            return ()
        time = microseconds(now_ms * 1000)
        return [orjson.dumps({"type": "l2update", "product_id": symbol.native, "changes": changes, "time": time})]

    # ---- REST

    def rest(self, request: HttpRequest, view: View, now_ms: int) -> tuple[int, bytes]:
        match request.path.strip("/").split("/"):
            case ["time"]:
                return 200, orjson.dumps({"iso": rfc3339(now_ms, 3), "epoch": now_ms / 1000})
            case ["products"]:
                return 200, orjson.dumps([_product(symbol) for symbol in view.symbols().values()])
            case ["products", native, *rest] if native in view.symbols():
                return self._of_product(rest, view.symbols()[native], request.query, view, now_ms)
        return 404, b'{"message":"NotFound"}'

    def _of_product(
        self, rest: list[str], symbol: Symbol, query: dict[str, str], view: View, now_ms: int
    ) -> tuple[int, bytes]:
        match rest:
            case []:
                return 200, orjson.dumps(_product(symbol))
            case ["book"]:
                return _book_body(symbol, query.get("level", "1"), view, now_ms)
            case ["candles"]:
                return _candles_body(symbol, query, view, now_ms)
            case ["trades"]:
                # The newest page of those after `before` and before `after`, both exclusive.
                before, after = number_of(query.get("before"), 0), number_of(query.get("after"), 1 << 62)
                limit = number_of(query.get("limit"), _MAX_TRADES)
                if before is None or after is None or not limit:
                    return 400, b'{"message":"Invalid pagination"}'
                found = view.trades_between(symbol.native, before + 1, after - 1, min(limit, _MAX_TRADES))
                return 200, orjson.dumps([_trade_body(trade) for trade in newest_first(found)])
        return 404, b'{"message":"NotFound"}'

    def rest_error(self, status: int) -> bytes:
        if status == 429:
            return b'{"message":"Public rate limit exceeded"}'
        return b'{"message":"Internal server error"}' if status >= 500 else b'{"message":"Forbidden"}'


def _levels(symbol: Symbol, levels: Iterable[tuple[int, int]]) -> list[list[str]]:
    """Prices with the quote's decimals, sizes always with eight."""
    return [[stepped(price, symbol.tick), fixed(quantity)] for price, quantity in levels]


def _product(symbol: Symbol) -> dict[str, Any]:
    return {
        "id": symbol.native, "base_currency": symbol.base, "quote_currency": symbol.quote,
        "quote_increment": plain(symbol.tick), "base_increment": plain(symbol.lot),
        "display_name": f"{symbol.base}-{symbol.quote}", "min_market_funds": "1", "margin_enabled": False,
        "post_only": False, "limit_only": False, "cancel_only": False, "status": "online", "status_message": "",
        "trading_disabled": False, "fx_stablecoin": False, "max_slippage_percentage": "0.02000000",
        "auction_mode": False, "high_bid_limit_percentage": "",
    }  # fmt: skip


def _trade_body(trade: TradeEvent) -> dict[str, Any]:
    return {"trade_id": trade.trade_id, "side": _maker_side(trade), "size": fixed(trade.quantity),
            "price": fixed(trade.price), "time": _time(trade)}  # fmt: skip


def _candles_body(symbol: Symbol, query: dict[str, str], view: View, now_ms: int) -> tuple[int, bytes]:
    """Newest first; none of a time in which nothing was traded. The one that runs is among them."""
    length = number_of(query.get("granularity"), 60) or 0
    if length not in _GRANULARITIES:
        return 400, b'{"message":"Unsupported granularity"}'
    end_ms, most = now_ms, _MAX_CANDLES
    start_ms = end_ms - most * length * 1000
    if "start" in query and "end" in query:
        try:
            start_ms, end_ms = (
                round(datetime.fromisoformat(query[name]).timestamp() * 1000) for name in ("start", "end")
            )
        except ValueError:
            return 400, b'{"message":"Invalid start"}'
        if (end_ms - start_ms) // (length * 1000) >= most:
            text = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
            return 400, orjson.dumps({"message": text})
    found = klines.candles(view, symbol, _GRANULARITIES[length], start_ms, min(end_ms, now_ms), most, newest=True)
    rows = [
        f"[{one.open_ms // 1000},{','.join(map(_number, (one.low, one.high, one.open, one.close, one.volume)))}]"
        for one in reversed(found)
        if one.volume
    ]
    return 200, f"[{','.join(rows)}]".encode()


def _number(units: int) -> str:
    """A JSON number; small ones have an exponent."""
    return plain(units) if units >= UNITS // 10_000 else repr(units / UNITS)


def _book_body(symbol: Symbol, level: str, view: View, now_ms: int) -> tuple[int, bytes]:
    if level not in ("1", "2"):
        return 400, b'{"message":"Invalid level"}'
    book = view.snapshot(symbol.native)
    if book is None:
        return 404, b'{"message":"NotFound"}'
    asks, bids = (
        [[price, size, 1] for price, size in _levels(symbol, list(side.items())[: 1 if level == "1" else None])]
        for side in (book.asks, book.bids)
    )
    return 200, orjson.dumps({
        "bids": bids, "asks": asks, "sequence": book.update_id, "auction_mode": False, "auction": None,
        "time": microseconds(now_ms * 1000),
    })  # fmt: skip


WIRE = _Coinbase()
