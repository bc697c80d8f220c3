"""OKX v5 spot: addresses, subscribe frames, bytes to events. Pure.

Formats: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel and -ws-order-book-channel.
`side` is the taker's. A message of `trades` stands for `count` fills at one price of one taker; its id is that of the
last one. wick does not rely on their being contiguous: a hole is only known from a disconnection. `checksum` is always
0 by now, and never looked at.
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
from wick.market.foreign import SECONDS, Kline, end_ms
from wick.market.trades import Ack, DepthUpdate, Event, Shutdown, Topic, Trade

DEPTH = 400
ARGS_A_REQUEST = 100  # of at most 64 kB; requests are dear: 480 an hour
WIRE_CHANNELS = {"trade": "trades", "quote": "bbo-tbt", "depth": "books"}
CHANNELS = {wire: channel for channel, wire in WIRE_CHANNELS.items()}
# Days and months are Hong Kong's without "utc". On which day weeks begin is not documented: wick's are made of days.
CANDLES = {
    SECONDS: "1s", "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "4h": "4H",
    "1d": "1Dutc", "1M": "1Mutc",
}  # fmt: skip
_CANDLE = ("time", "open", "high", "low", "close", "volume", "volCcy", "quote_volume", "confirm")
# Codes that say "later": https://www.okx.com/docs-v5/en/#error-code-rest-api
BUSY = ("50001", "50004", "50011", "50013", "50026")
TEXTS_A_LEVEL = 4  # price, quantity, always 0, count of orders
UPGRADE = "64008"  # a notice half a minute before the connection is closed
_NAME = re.compile(r"[^\W_]{1,20}-[^\W_]{1,20}")
_NAMED = re.compile(r"channel:\s*([a-z0-9-]+),\s*instId:\s*([^\W_]{1,20}-[^\W_]{1,20})")


def _made(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "instId", native)
    return native


_NAMES = Names(_made)


# ---------------------------------------------------------------------- events


def _digits(data: dict[str, Any], field: str) -> int:
    """A whole number that is written as a text."""
    text = data.get(field)
    if type(text) is not str or not text.isdecimal() or len(text) > 19 or (number := int(text)) > MAX_ID:
        raise ParseError("bad id", field, text)
    return number


def _time_ns(data: dict[str, Any]) -> int:
    return time_ns(_digits(data, "ts"), "ts")


def _trade(data: dict[str, Any]) -> Trade:
    (price, price_decimals), (quantity, quantity_decimals) = positive(data, "px"), positive(data, "sz")
    side, count = data.get("side"), _digits(data, "count")
    if side not in ("buy", "sell"):
        raise ParseError("bad side", "side", side)
    if not count:
        raise ParseError("bad id", "count", data.get("count"))
    return Trade(
        name(data, "instId", _NAMES), _time_ns(data), _digits(data, "tradeId"), price, price_decimals, quantity,
        quantity_decimals, side == "buy", count,
    )  # fmt: skip


def _book(symbol: str, action: object, data: dict[str, Any]) -> DepthUpdate:
    """It follows the update that ended with `prevSeqId`, also where maintenance lets `seqId` fall below it.

    Where both are equal nothing has changed: OKX sends that once a minute.
    """
    if action not in ("snapshot", "update"):
        raise ParseError("unknown event", "action", action)
    is_snapshot, update_id = action == "snapshot", whole(data, "seqId")
    previous = -1 if is_snapshot else whole(data, "prevSeqId")
    bids, asks = levels(data, "bids", TEXTS_A_LEVEL), levels(data, "asks", TEXTS_A_LEVEL)
    return DepthUpdate(
        symbol, _time_ns(data), update_id, update_id, bids, asks, previous_update_id=previous, is_snapshot=is_snapshot
    )


def _data(frame: dict[str, Any], about: Any, rows: Any) -> list[Event]:
    if type(about) is not dict or type(rows) is not list or {*map(type, rows)} - {dict}:
        raise ParseError("corrupt frame", "data", frame)
    channel = about.get("channel")
    if channel == "trades":
        return [_trade(data) for data in rows]
    symbol = name(about, "instId", _NAMES)
    if channel == "books":
        return [_book(symbol, frame.get("action"), data) for data in rows]
    if channel == "bbo-tbt":
        return [
            best(symbol, whole(data, "seqId"), levels(data, "bids", TEXTS_A_LEVEL), levels(data, "asks", TEXTS_A_LEVEL))
            for data in rows
        ]
    raise ParseError("unknown event", "channel", channel)


def _ack(frame: dict[str, Any]) -> Ack:
    """One a stream. A refusal names it in its text alone."""
    request_id: object = frame.get("id")
    if type(request_id) is str and request_id.isdigit() and request_id.isascii() and len(request_id) < 20:
        request_id = int(request_id)
    about, error = frame.get("arg"), None
    if type(about) is not dict:
        about = {}
    native, channel = about.get("instId"), about.get("channel")
    if frame["event"] == "error":
        parts = (frame.get("code"), frame.get("msg"))
        error = " ".join(part if type(part) is str else shown(part) for part in parts)[:200]
        if named := _NAMED.search(error):
            channel, native = named[1], named[2]
    if type(native) is str and _NAME.fullmatch(native) and type(channel) is str and channel in CHANNELS:
        return Ack(request_id, error, (Topic(native, CHANNELS[channel]),))
    return Ack(request_id, error)


def _events(frame: Any) -> list[Event]:
    """What a decoded message says."""
    if type(frame) is not dict:
        raise ParseError("corrupt frame", "JSON", frame)
    event = frame.get("event")
    if event is None:
        return _data(frame, frame.get("arg"), frame.get("data"))
    if event in ("subscribe", "unsubscribe", "error"):
        return [_ack(frame)]
    if event == "notice":
        return [Shutdown(0)] if frame.get("code") == UPGRADE else []
    if event == "channel-conn-count":
        return []
    raise ParseError("unknown event", "event", event)


def _read(values: list[Any], start: int, taken: list[Event | Refused]) -> None:
    """Append the events of each decoded message. Flawless trades are recognised here, the rest by `_events`."""
    add, decimals, names, new = taken.append, DECIMALS, _NAMES, tuple.__new__
    for place, frame in enumerate(values, start):
        before = len(taken)
        try:
            if frame["arg"]["channel"] == "trades" and "event" not in frame and type(frame["data"]) is list:
                for data in frame["data"]:
                    price, price_decimals = decimals[data["px"]]
                    quantity, quantity_decimals = decimals[data["sz"]]
                    time, side, number, count = data["ts"], data["side"], data["tradeId"], data["count"]
                    if not (
                        price
                        and quantity
                        and (side == "buy" or side == "sell")
                        and time.isdecimal()
                        and number.isdecimal()
                        and len(number) < 19
                        and count.isdecimal()
                        and len(count) < 19
                        and (matches := int(count))
                        and EARLIEST_MS <= (time_ms := int(time)) < LATEST_MS
                    ):
                        raise ValueError
                    add(new(Trade, (
                        names[data["instId"]], time_ms * 1_000_000, int(number), price, price_decimals, quantity,
                        quantity_decimals, side == "buy", matches,
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
_PLAIN, _MS, _ID = rb'"[0-9]{1,10}+(?:\.[0-9]{1,8}+)?+"', rb"1[3-9][0-9]{11}", rb"(?:0|[1-9][0-9]{0,17})"
_LEVELS = rb"\[(?:L(?:,L)*+)?\]".replace(b"L", rb"\[P,P,P,P\]").replace(b"P", _PLAIN)
_NATIVE = rb"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}"
_BOOK_FRAME = re.compile(
    rb'\{"arg":\{"channel":"books","instId":"%b"\},"action":"update","data":\[\{"asks":%b,"bids":%b,"ts":"(%b)",'
    rb'"checksum":-?(?:0|[1-9][0-9]{0,9}),(?:"prevSeqId":%b,"seqId":%b|"seqId":%b,"prevSeqId":%b)\}\]\}'
    % (_NATIVE, _LEVELS, _LEVELS, _MS, _ID, _ID, _ID, _ID)
)
_BEST_FRAME = re.compile(
    rb'\{"arg":\{"channel":"bbo-tbt","instId":"%b"\},"data":\[\{"asks":%b,"bids":%b,"ts":"%b","seqId":%b\}\]\}'
    % (_NATIVE, _LEVELS, _LEVELS, _MS, _ID)
)


def _walk(at: Cursor, _: bytes) -> Row:
    """A flawless message of one trade (see `columns`)."""
    at.literal(b'{"arg":{"channel":"trades","instId":"')
    about = at.name(b'"')
    at.literal(b'"},"data":[{"instId":"')
    name = at.name(b'"')
    at.same(name, about)
    codes = at.codes(name)
    at.literal(b'","tradeId":"')
    trade_id = at.integer()
    at.literal(b'","px":"')
    price = at.decimal()
    at.literal(b'","sz":"')
    quantity = at.decimal()
    at.literal(b'","side":"')
    taker_buy = at.either(b"buy", b"sell")
    at.literal(b'","ts":"')
    event_ns = at.milliseconds()
    at.literal(b'","count":"')
    matches = at.integer()
    at.literal(b'","source":"')
    at.either(b"0", b"1")
    at.literal(b'","seqId":')
    at.integer()
    at.literal(b"}]}")
    return codes, event_ns, trade_id, price, quantity, taker_buy, matches


_LAYOUT = Layout(b'"channel":"trades"', _walk, _NAMES)


class Okx(Venue):
    """OKX v5 spot (see `Venue`)."""

    id = "okx"
    title = "OKX spot"
    ws_url = "wss://ws.okx.com:8443"
    ws_path = "/ws/v5/public"
    rest_url = "https://www.okx.com"
    symbols_path = "/api/v5/public/instruments?instType=SPOT"
    channels = ("trade", "quote", "depth")
    limits = Limits(
        streams=400,  # our own: no number is published
        # https://www.okx.com/docs-v5/en/#overview-websocket-connect: 480 subscribe and unsubscribe requests an hour and
        # connection, 3 connections a second and address; closed after 30 s without a message either way.
        requests=(480, 3600.0),
        connects=(3, 1.0),
        # 20 in 2 s and address (https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments).
        rest=(20, 2.0),
        ping_s=20.0,
    )
    empty = "flat"  # its candles repeat the last close with volume 0
    contiguous_ids = False
    backfills = False
    depth_from_rest = False
    depth_check = "ids"
    depth_levels = DEPTH
    backfill_weight = 1
    candles = tuple(CANDLES)
    candles_a_page = 300  # 100 in documents of before August 2025: https://github.com/ccxt/ccxt/issues/26705

    def symbol(self, native: str) -> str:
        return native.upper()

    def native(self, symbol: str) -> str:
        return symbol.upper()

    def _requests(self, operation: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        some, requests = [*topics], []
        for number, at in enumerate(range(0, len(some), ARGS_A_REQUEST), first_id):
            chunk = tuple(some[at : at + ARGS_A_REQUEST])
            args = [{"channel": WIRE_CHANNELS[one.channel], "instId": self.native(one.symbol)} for one in chunk]
            raw = orjson.dumps({"id": str(number), "op": operation, "args": args})
            requests.append(Request(raw, number, chunk))
        return requests

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("unsubscribe", topics, first_id)

    def ping(self) -> bytes:
        return b"ping"  # a text, no JSON

    def parse(self, raw: bytes) -> list[Event]:
        if raw == b"pong":
            return []
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
        if book:
            return int(book[1]) * 1_000_000
        return 0 if _BEST_FRAME.fullmatch(raw) else None

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        instruments = []
        try:
            for row in orjson.loads(raw)["data"]:
                # A name that no stream could have either must not hide the others.
                if row["state"] != "live" or not _NAME.fullmatch(row["instId"]):
                    continue
                steps = [row["tickSz"], row["lotSz"]]
                check_numbers(steps, "steps")
                instruments.append(Instrument(row["instId"], _made(row["instId"]), *steps))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ParseError("corrupt answer", "instruments", repr(error)) from None
        return instruments

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        """https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history: those that open
        after `before` and before `after`, the newest of them where they are too many. 20 requests in 2 s and address;
        seconds of the last three months. Neither trades nor takers are told."""
        where = f"instId={quote(self.native(symbol))}&bar={CANDLES[interval]}"
        until_ms = end_ms(interval, from_ms, count)
        return f"/api/v5/market/history-candles?{where}&before={from_ms - 1}&after={until_ms}&limit={count}"

    def parse_candles(self, raw: bytes) -> list[Kline]:
        told = answer(raw, "history-candles", dict)
        if (code := told.get("code")) != "0":
            raise ParseError(NOT_NOW if code in BUSY else REFUSED, "msg", told.get("msg"))
        rows = told.get("data")
        if type(rows) is not list or any(type(row) is not list or len(row) < len(_CANDLE) for row in rows):
            raise ParseError("corrupt answer", "history-candles", rows)
        # Newest first; `confirm` is 0 while one is running.
        return [kline(row, _CANDLE) for row in reversed(rows) if row[-1] == "1"]


VENUE = Okx()
