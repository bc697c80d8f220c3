"""Bybit v5 spot: addresses, subscribe frames, bytes to events. Pure.

Formats: https://bybit-exchange.github.io/docs/v5/websocket/public/trade and .../orderbook. `S` is the taker's side.
Trade ids are UUIDs or numbers and tell no order, so that a hole is only known from a disconnection; REST has the newest
trades alone, and cannot be asked for others. Block trades (`BT`) are agreed off the book: they are no market trades and
give no event. RPI trades (`RPI`) are matched on it, with resting orders that only some takers may meet: they count.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from wick.errors import ParseError, shown
from wick.exchanges import NOT_NOW, REFUSED, Instrument, Limits, Refused, Request, Venue
from wick.exchanges._batch import take
from wick.exchanges._columns import Columns, Layout, Row
from wick.exchanges._cursor import Cursor
from wick.exchanges._klines import kline
from wick.exchanges._quote import best
from wick.exchanges._text import (
    DECIMALS,
    EARLIEST_MS,
    LATEST_MS,
    MAX_ID,
    Names,
    answer,
    check_numbers,
    levels,
    name,
    positive,
    time_ns,
    whole,
)  # fmt: skip
from wick.market.foreign import Kline, end_ms
from wick.market.trades import Ack, DepthUpdate, Event, Quote, Topic, Trade

DEPTH = 200
ARGS_A_REQUEST = 10  # spot takes no more: https://bybit-exchange.github.io/docs/v5/ws/connect
WIRE_CHANNELS = {"trade": "publicTrade", "quote": "orderbook.1", "depth": f"orderbook.{DEPTH}"}
CHANNELS = {wire: channel for channel, wire in WIRE_CHANNELS.items()}
# It has weeks and months too, and does not document when they begin: wick's are made of days.
CANDLES = {"1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "4h": "240", "1d": "D"}
_CANDLE = ("time", "open", "high", "low", "close", "volume", "quote_volume")
# Codes that say "later", with status 200: https://bybit-exchange.github.io/docs/v5/error
BUSY = (10000, 10006, 10016, 10018)
# Longest first, so that BTCUSDT is BTC-USDT and not BTCUSD-T. A name with none of them stays as it is.
QUOTE_ASSETS = sorted(
    [
        "USDT", "USDC", "USDE", "USDQ", "USDR", "USD1", "USDD", "XUSD", "RLUSD", "DAI", "BTC", "ETH", "SOL", "MNT",
        "EUR", "EURQ", "EURR", "EURC", "GBP", "BRL", "BRZ", "PLN", "TRY", "AED", "KZT", "ARS", "AUD", "CZK", "USD",
    ],
    key=len,
    reverse=True,
)  # fmt: skip
_NAME = re.compile(r"[^\W_]{2,40}")
_NAMED = re.compile(r"(publicTrade|orderbook\.[0-9]+)\.([^\W_]{2,40})")


def normalise(native: str) -> str:
    """`BTCUSDT` -> `BTC-USDT`."""
    for asset in QUOTE_ASSETS:
        if native.endswith(asset) and len(native) > len(asset):
            return f"{native[: -len(asset)]}-{asset}"
    return native


def _made(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "s", native)
    return normalise(native)


_NAMES = Names(_made)


def key(text: str) -> int:
    """A trade's id as 63 bits: a number is itself; of a UUID the last 16 digits, but for their first bit."""
    if len(text) == 36:
        return int(text[19:23] + text[24:], 16) & MAX_ID
    if not text.isdigit() or (number := int(text)) > MAX_ID:
        raise ValueError
    return number


# ---------------------------------------------------------------------- events


def _trade(data: dict[str, Any]) -> Trade:
    (price, price_decimals), (quantity, quantity_decimals) = positive(data, "p"), positive(data, "v")
    side, text = data.get("S"), data.get("i")
    if side not in ("Buy", "Sell"):
        raise ParseError("bad side", "S", side)
    try:
        trade_id = key(text if type(text) is str else "")
    except ValueError:
        raise ParseError("bad id", "i", text) from None
    return Trade(
        name(data, "s", _NAMES), time_ns(data.get("T"), "T"), trade_id, price, price_decimals, quantity,
        quantity_decimals, side == "Buy",
    )  # fmt: skip


def _trades(rows: Any) -> list[Event]:
    """By rising time, as the documentation says that they come."""
    if type(rows) is not list:
        raise ParseError("corrupt frame", "data", rows)
    trades: list[Event] = []
    for data in rows:
        if type(data) is not dict or type(block := data.get("BT", False)) is not bool:
            raise ParseError("corrupt frame", "data", data)
        if not block:
            trades.append(_trade(data))
    return trades


def _book(frame: dict[str, Any], depth: str) -> DepthUpdate | Quote:
    """`u` grows by 1 a message of a topic; with u = 1 the service began anew, whatever the message calls itself."""
    data, kind = frame.get("data"), frame.get("type")
    if type(data) is not dict:
        raise ParseError("corrupt frame", "data", data)
    if kind not in ("snapshot", "delta"):
        raise ParseError("unknown event", "type", kind)
    symbol, update_id = name(data, "s", _NAMES), whole(data, "u")
    bids, asks = levels(data, "b"), levels(data, "a")
    is_snapshot = kind == "snapshot" or update_id == 1
    if depth == "1":  # always the whole level: a change of one side alone would be no quote
        if not is_snapshot:
            raise ParseError("unknown event", "type", kind)
        return best(symbol, update_id, bids, asks)
    field = "cts" if "cts" in frame else "ts"  # the matching engine's time, else the gateway's
    at_ns = time_ns(frame.get(field), field)
    return DepthUpdate(symbol, at_ns, update_id, update_id, bids, asks, is_snapshot=is_snapshot)


def _ack(frame: dict[str, Any]) -> Ack:
    """One a request. One bad topic refuses all of them, and only that one is named."""
    request_id: object = frame.get("req_id")
    if type(request_id) is str and request_id.isdigit() and request_id.isascii() and len(request_id) < 20:
        request_id = int(request_id)
    if frame.get("success") is True:
        return Ack(request_id, None)
    error = frame.get("ret_msg")
    text = (error if type(error) is str else shown(error))[:200]
    named = [(CHANNELS.get(topic), native) for topic, native in _NAMED.findall(text)]
    return Ack(
        request_id, text or "refused", tuple(Topic(normalise(native), channel) for channel, native in named if channel)
    )


def _events(frame: Any) -> list[Event]:
    """What a decoded message says."""
    if type(frame) is not dict:
        raise ParseError("corrupt frame", "JSON", frame)
    topic, operation = frame.get("topic"), frame.get("op")
    if type(topic) is str:
        kind, _, rest = topic.partition(".")
        if kind == "publicTrade":
            return _trades(frame.get("data"))
        if kind == "orderbook":
            return [_book(frame, rest.partition(".")[0])]
    elif operation in ("ping", "pong"):
        return []
    elif operation in ("subscribe", "unsubscribe") or frame.get("success") is False:
        return [_ack(frame)]
    raise ParseError("unknown event", "topic", topic)


def _read(values: list[Any], start: int, taken: list[Event | Refused]) -> None:
    """Append the events of each decoded message. Flawless trades are recognised here, the rest by `_events`."""
    add, decimals, names, new = taken.append, DECIMALS, _NAMES, tuple.__new__
    for place, frame in enumerate(values, start):
        before = len(taken)
        try:
            if frame["topic"][:12] == "publicTrade." and type(frame["data"]) is list:
                for data in frame["data"]:
                    price, price_decimals = decimals[data["p"]]
                    quantity, quantity_decimals = decimals[data["v"]]
                    time_ms, side = data["T"], data["S"]
                    if not (
                        price
                        and quantity
                        and type(time_ms) is int
                        and EARLIEST_MS <= time_ms < LATEST_MS
                        and (side == "Buy" or side == "Sell")
                        and data["BT"] is False
                    ):
                        raise ValueError
                    add(new(Trade, (
                        names[data["s"]], time_ms * 1_000_000, key(data["i"]), price, price_decimals, quantity,
                        quantity_decimals, side == "Buy", 1,
                    )))  # fmt: skip
                continue
        except (KeyError, AttributeError, TypeError, ValueError, ParseError):
            pass
        del taken[before:]
        try:
            taken += _events(frame)
        except ParseError as error:
            add(Refused(place, error))


# The frames that candles do not need, by their bytes (see `skim`): a part of what `parse` takes, never more.
# Possessive, so that a long book which fails does so at once.
_PLAIN, _MS, _ID = rb'"[0-9]{1,10}+(?:\.[0-9]{1,8}+)?+"', rb"1[3-9][0-9]{11}", rb"[1-9][0-9]{0,17}"
_LEVELS = rb"\[(?:\[P,P\](?:,\[P,P\])*+)?\]".replace(b"P", _PLAIN)
_BOOK_FRAME = re.compile(
    rb'\{"topic":"orderbook\.(1|200)\.[A-Z0-9]{2,40}",(?:"ts":%b,)?"type":"(snapshot|delta)",(?:"ts":%b,)?'
    rb'"data":\{"s":"[A-Z0-9]{2,40}","b":%b,"a":%b,"u":%b,"seq":%b\},"cts":(%b)\}'
    % (_MS, _MS, _LEVELS, _LEVELS, _ID, _ID, _MS)
)


def _head(at: Cursor) -> None:
    at.literal(b'{"topic":"publicTrade.')
    at.codes(at.name(b'"'))
    at.literal(b'","ts":')
    at.unused_milliseconds()
    at.literal(b',"type":"snapshot","data":[')


def _walk(at: Cursor, _: bytes) -> Row:
    """A flawless row, whose id is a number (see `columns`)."""
    at.literal(b'{"i":"')
    trade_id = at.integer(words=3)
    at.literal(b'","T":')
    event_ns = at.milliseconds()
    at.literal(b',"p":"')
    price = at.decimal()
    at.literal(b'","v":"')
    quantity = at.decimal()
    at.literal(b'","S":"')
    taker_buy = at.either(b"Buy", b"Sell")
    at.literal(b'","seq":')
    at.integer()
    at.literal(b',"s":"')
    codes = at.codes(at.name(b'"'))
    at.literal(b'","BT":false,"RPI":')
    at.either(b"true", b"false")
    at.literal(b"}")
    return codes, event_ns, trade_id, price, quantity, taker_buy, None


_LAYOUT = Layout(b'"publicTrade.', _walk, _NAMES, _head)


class Bybit(Venue):
    """Bybit v5 spot (see `Venue`)."""

    id = "bybit"
    title = "Bybit spot"
    ws_url = "wss://stream.bybit.com"
    ws_path = "/v5/public/spot"
    rest_url = "https://api.bybit.com"
    symbols_path = "/v5/market/instruments-info?category=spot"
    channels = ("trade", "quote", "depth")
    limits = Limits(
        # 21,000 characters of args a connection (https://bybit-exchange.github.io/docs/v5/ws/connect): of 42 each.
        streams=500,
        requests=(10, 1.0),  # our own: no number is published
        connects=(500, 300.0),  # the same page; and no more than 1,000 at once for market data
        # 600 in 5 s and address (https://bybit-exchange.github.io/docs/v5/rate-limit); wick asks for the symbols alone.
        rest=(600, 5.0),
        ping_s=20.0,  # as recommended there
    )
    empty = "flat"  # its klines repeat the last close with volume 0
    contiguous_ids = False
    backfills = False
    depth_from_rest = False
    depth_check = "ids"
    depth_levels = DEPTH
    backfill_weight = 1
    candles = tuple(CANDLES)
    candles_a_page = 1_000

    def symbol(self, native: str) -> str:
        return native if "-" in native else normalise(native.upper())

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "").upper()

    def _requests(self, operation: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        some, requests = [*topics], []
        for number, at in enumerate(range(0, len(some), ARGS_A_REQUEST), first_id):
            chunk = tuple(some[at : at + ARGS_A_REQUEST])
            args = [f"{WIRE_CHANNELS[topic.channel]}.{self.native(topic.symbol)}" for topic in chunk]
            raw = orjson.dumps({"req_id": str(number), "op": operation, "args": args})
            requests.append(Request(raw, number, chunk))
        return requests

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("unsubscribe", topics, first_id)

    def ping(self) -> bytes:
        return b'{"op":"ping"}'

    def parse(self, raw: bytes) -> list[Event]:
        try:
            return _events(orjson.loads(raw))
        except orjson.JSONDecodeError as error:
            raise ParseError("corrupt frame", "JSON", str(error)) from None

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        return take(frames, self.parse, _read)

    def columns(self, frames: Sequence[bytes]) -> Columns | None:
        return _LAYOUT.read(frames)

    def skim(self, raw: bytes) -> int | None:
        book = _BOOK_FRAME.fullmatch(raw)
        if not book:
            return None
        if book[1] == b"1":
            return 0 if book[2] == b"snapshot" else None
        return int(book[3]) * 1_000_000

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        instruments = []
        try:
            for row in orjson.loads(raw)["result"]["list"]:
                # A name that no stream could have either must not hide the others.
                if row["status"] != "Trading" or not _NAME.fullmatch(row["symbol"]):
                    continue
                steps = [row["priceFilter"]["tickSize"], row["lotSizeFilter"]["basePrecision"]]
                check_numbers(steps, "steps")
                instruments.append(Instrument(row["symbol"], _made(row["symbol"]), *steps))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ParseError("corrupt answer", "instruments-info", repr(error)) from None
        return instruments

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        """https://bybit-exchange.github.io/docs/v5/market/kline: those that open from `start` to `end`, the newest of
        them where they are too many. Neither trades nor takers are told."""
        last_ms = end_ms(interval, from_ms, count) - 1
        where = f"category=spot&symbol={quote(self.native(symbol))}&interval={CANDLES[interval]}"
        return f"/v5/market/kline?{where}&start={from_ms}&end={last_ms}&limit={count}"

    def parse_candles(self, raw: bytes) -> list[Kline]:
        told = answer(raw, "kline", dict)
        if (code := told.get("retCode")) != 0:
            raise ParseError(NOT_NOW if code in BUSY else REFUSED, "retMsg", told.get("retMsg"))
        result = told.get("result")
        rows = result.get("list") if type(result) is dict else None
        if type(rows) is not list:
            raise ParseError("corrupt answer", "kline", result)
        return [kline(row, _CANDLE) for row in reversed(rows)]  # newest first


VENUE = Bybit()
