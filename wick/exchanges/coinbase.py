"""Coinbase Exchange: addresses, limits, requests, bytes to events. Pure.

Formats: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels and .../overview. `side` is the maker's, of
`match` as of REST's trades: `sell` means that the taker bought. `trade_id` is contiguous per product. Once a second a
heartbeat tells the newest one, so that a hole shows though nothing trades (0 where it does not know).
"""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from wick.errors import ParseError, shown
from wick.exchanges import Hole, Instrument, Limits, Refused, Request, Venue, _batch
from wick.exchanges import _text as text
from wick.exchanges._columns import Columns, Layout, Row
from wick.exchanges._cursor import Cursor
from wick.exchanges._klines import kline
from wick.exchanges._text import DECIMALS, MAX_ID, Names
from wick.market.foreign import Kline, length_ms
from wick.market.trades import Ack, DepthUpdate, Event, LastTrade, PastTrade, Topic, Trade

TOPICS_A_REQUEST = 100
MOST_TRADES = 1_000  # REST gives at a time
_NAME = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")
# As asked for, by topic; and as the answer names them: level2_batch comes back under the name of its pace.
_CHANNELS = {"trade": ("matches", "heartbeat"), "depth": ("level2_batch",)}
_NAMED = {"matches": "trade", "level2_batch": "depth", "level2_50": "depth", "level2": "depth"}
_UNKNOWN_PRODUCT = re.compile(r"([A-Z0-9]{1,20}-[A-Z0-9]{1,20}) is not a valid product")
_CHANGE = rb'\["(?:buy|sell)",%b,%b\]' % (text.PLAIN, text.PLAIN)
_CHANGES = re.compile(rb"\[(?:%b(?:,%b)*+)?+\]" % (_CHANGE, _CHANGE))
# The frame that candles do not need, by its bytes (see `skim`): a part of what `parse` takes, never more.
_UPDATE_FRAME = re.compile(
    rb'\{"type":"l2update","product_id":"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}","changes":%b,'
    rb'"time":"(2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z)"\}' % _CHANGES.pattern
)
_CANDLE = ("time", "low", "high", "open", "close", "volume")
_TAKER_BUY = {"sell": True, "buy": False}  # by the maker's side


def _checked(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "product_id", native)
    return native


_NAMES = Names(_checked)


def _trade(data: dict[str, Any], symbol: str) -> Trade:
    side = data.get("side")
    if side != "sell" and side != "buy":
        raise ParseError("bad side", "side", side)
    return Trade(
        symbol, text.rfc3339_ns(data.get("time"), "time"), text.whole(data, "trade_id"),
        *text.positive(data, "price"), *text.positive(data, "size"), _TAKER_BUY[side],
    )  # fmt: skip


def _snapshot(data: dict[str, Any], symbol: str) -> DepthUpdate:
    at_ns = text.rfc3339_ns(data["time"], "time") if "time" in data else 0  # not every snapshot has one
    return DepthUpdate(symbol, at_ns, 0, 0, text.levels(data, "bids"), text.levels(data, "asks"), is_snapshot=True)


def _update(data: dict[str, Any], symbol: str) -> DepthUpdate:
    changes: Any = data.get("changes")
    try:
        if not _CHANGES.fullmatch(orjson.dumps(changes)):
            raise TypeError
    except TypeError:  # orjson's own, of a hostile nesting, is one too
        raise ParseError("bad levels", "changes", changes) from None
    bids = [[price, size] for side, price, size in changes if side == "buy"]
    asks = [[price, size] for side, price, size in changes if side == "sell"]
    return DepthUpdate(symbol, text.rfc3339_ns(data.get("time"), "time"), 0, 0, bids, asks)


def _subscriptions(data: dict[str, Any]) -> Ack:
    """All that is subscribed on this connection now."""
    topics = []
    try:
        for channel in data["channels"]:
            if channel["name"] in _NAMED:
                topics += [Topic(_NAMES[native], _NAMED[channel["name"]]) for native in channel["product_ids"]]
    except (KeyError, TypeError):
        raise ParseError("corrupt frame", "channels", data.get("channels")) from None
    return Ack(None, None, tuple(topics))


def _error(data: dict[str, Any]) -> Ack:
    """`{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}`: with it the product."""
    parts = [data[field] for field in ("message", "reason") if field in data]
    error = ": ".join(part if type(part) is str else shown(part) for part in parts)[:200]
    symbols = _UNKNOWN_PRODUCT.findall(error)
    return Ack(None, error or "error", tuple(Topic(one, channel) for one in symbols for channel in _CHANNELS))


def _events(data: Any) -> list[Event]:
    """What a decoded message says."""
    if type(data) is not dict:
        raise ParseError("corrupt frame", "JSON", data)
    kind = data.get("type")
    if kind == "subscriptions":
        return [_subscriptions(data)]
    if kind == "error":
        return [_error(data)]
    if kind not in ("match", "last_match", "l2update", "snapshot", "heartbeat"):
        raise ParseError("unknown event", "type", kind)
    symbol = text.name(data, "product_id", _NAMES)
    if kind == "l2update":
        return [_update(data, symbol)]
    if kind == "snapshot":
        return [_snapshot(data, symbol)]
    if kind == "heartbeat":
        newest = text.whole(data, "last_trade_id")
        return [LastTrade(symbol, newest)] if newest else []
    trade = _trade(data, symbol)
    return [PastTrade(*trade) if kind == "last_match" else trade]


def _walk(at: Cursor, _: bytes) -> Row:
    """A flawless match (see `columns`)."""
    at.literal(b'{"type":"match","trade_id":')
    trade_id = at.integer()
    at.literal(b',"maker_order_id":"')
    at.opaque()
    at.literal(b'","taker_order_id":"')
    at.opaque()
    at.literal(b'","side":"')
    taker_buy = at.either(b"sell", b"buy")  # the maker's side
    at.literal(b'","size":"')
    quantity = at.decimal()
    at.literal(b'","price":"')
    price = at.decimal()
    at.literal(b'","product_id":"')
    codes = at.codes(at.name(b'"'))
    at.literal(b'","sequence":')
    at.integer()
    at.literal(b',"time":"')
    event_ns = at.rfc3339()
    at.literal(b'Z"}')
    return codes, event_ns, trade_id, price, quantity, taker_buy, None


_LAYOUT = Layout(b'"type":"match"', _walk, _NAMES)


class Coinbase(Venue):
    """Coinbase Exchange (see `Venue`)."""

    id = "coinbase"
    title = "Coinbase Exchange"
    ws_url = "wss://ws-feed.exchange.coinbase.com"
    rest_url = "https://api.exchange.coinbase.com"
    ws_path = "/"
    symbols_path = "/products"
    channels = ("trade", "depth")  # its ticker speaks with a trade only; the best prices are in the book
    # https://docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits: 8 connects a second, 100 messages a second and
    # address. No bound of streams is told; a connection of full books is slow enough with 100, and is to be spread
    # (.../best-practices). REST: 10 a second, https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits.
    limits = Limits(100, (50, 1.0), (8, 1.0), (10, 1.0))
    empty = "omit"
    contiguous_ids = True
    backfills = True
    depth_from_rest = False
    depth_check = "nothing"
    depth_levels = 0
    backfill_weight = 1
    # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles; six hours too.
    candles = ("1m", "5m", "15m", "1h", "1d")
    candles_a_page = 300

    def symbol(self, native: str) -> str:
        return native.upper()

    def native(self, symbol: str) -> str:
        return symbol.upper()

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("unsubscribe", topics, first_id)

    def _requests(self, kind: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        """The ids are wick's own: Coinbase answers with what is subscribed."""
        asked = tuple(topics)
        requests = []
        for ask_id, at in enumerate(range(0, len(asked), TOPICS_A_REQUEST), first_id):
            some = asked[at : at + TOPICS_A_REQUEST]
            channels: dict[str, list[str]] = {}
            for topic in some:
                for name in _CHANNELS[topic.channel]:
                    channels.setdefault(name, []).append(self.native(topic.symbol))
            listed = [{"name": name, "product_ids": products} for name, products in channels.items()]
            requests.append(Request(orjson.dumps({"type": kind, "channels": listed}), ask_id, some))
        return requests

    def ping(self) -> bytes:
        return b""

    def parse(self, raw: bytes) -> list[Event]:
        try:
            return _events(orjson.loads(raw))
        except orjson.JSONDecodeError as error:
            raise ParseError("corrupt frame", "JSON", str(error)) from None

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        """As `parse`, for many: faster where most are trades."""
        return _batch.take(frames, self.parse, self._read)

    def _read(self, values: list[Any], start: int, taken: list[Event | Refused]) -> None:
        """Append each message's event. Trades that are in order are recognised here, the rest by `_events`."""
        add, decimals, names, taker_buy, time_ns = taken.append, DECIMALS, _NAMES, _TAKER_BUY, text.rfc3339_ns
        for place, data in enumerate(values, start):
            try:
                if data["type"] == "match":
                    price, price_decimals = decimals[data["price"]]
                    quantity, quantity_decimals = decimals[data["size"]]
                    trade_id = data["trade_id"]
                    if price and quantity and type(trade_id) is int and 0 <= trade_id <= MAX_ID:
                        add(tuple.__new__(Trade, (
                            names[data["product_id"]], time_ns(data["time"], "time"), trade_id, price, price_decimals,
                            quantity, quantity_decimals, taker_buy[data["side"]], 1,
                        )))  # fmt: skip
                        continue
            except (KeyError, TypeError, ParseError):
                pass
            try:
                taken += _events(data)
            except ParseError as error:
                add(Refused(place, error))

    def columns(self, frames: Sequence[bytes]) -> Columns | None:
        return _LAYOUT.read(frames)

    def skim(self, raw: bytes) -> int | None:
        update = _UPDATE_FRAME.fullmatch(raw)
        if update is None:
            return None
        try:
            return text.rfc3339_ns(update[1].decode(), "time")
        except ParseError:
            return None

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        instruments = []
        try:
            for row in text.answer(raw, "products", list):
                # A name that no stream could have either must not hide the others.
                if row["status"] != "online" or row.get("trading_disabled") or not _NAME.fullmatch(row["id"]):
                    continue
                steps = text.step(row, "quote_increment"), text.step(row, "base_increment")
                instruments.append(Instrument(row["id"], _NAMES[row["id"]], *steps))
        except (KeyError, TypeError, AttributeError) as error:
            raise ParseError("corrupt answer", "products", repr(error)) from None
        return instruments

    def backfill_path(self, hole: Hole) -> str:
        """Newest first: a page ends at the hole's end. `after` is older than that id."""
        limit = min(hole.last_id - hole.first_id + 1, MOST_TRADES)
        return f"/products/{quote(self.native(hole.symbol))}/trades?limit={limit}&after={hole.last_id + 1}"

    def parse_backfill(self, hole: Hole, raw: bytes) -> list[Trade]:
        rows = text.answer(raw, "trades", list)
        if not all(type(row) is dict for row in rows):
            raise ParseError("corrupt answer", "trades", rows)
        return text.of_hole(hole, [_trade(row, self.symbol(hole.symbol)) for row in rows])

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        """Those that open from `start` to `end`; more than a page are refused. There is none where nothing was traded;
        trades, takers and the turnover are not told."""
        length = length_ms(interval)
        start, end = (_iso(at_ms) for at_ms in (from_ms, from_ms + (count - 1) * length))
        where = f"granularity={length // 1000}&start={start}&end={end}"
        return f"/products/{quote(self.native(symbol))}/candles?{where}"

    def parse_candles(self, raw: bytes) -> list[Kline]:
        """JSON numbers, which are taken by their digits."""
        try:
            rows = json.loads(raw, parse_float=str, parse_int=str)
        except (ValueError, RecursionError) as error:
            raise ParseError("corrupt answer", "candles", str(error)) from None
        if type(rows) is not list:
            raise ParseError("corrupt answer", "candles", rows)
        return [kline(row, _CANDLE, 1000) for row in reversed(rows)]  # newest first


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


VENUE = Coinbase()
