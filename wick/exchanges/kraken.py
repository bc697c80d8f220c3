"""Kraken spot, WebSocket v2: addresses, subscribe frames, bytes to events. Pure.

Formats: https://docs.kraken.com/api/docs/websocket-v2/trade and .../book; REST:
https://docs.kraken.com/api/docs/rest-api/get-recent-trades and .../get-tradable-asset-pairs. `side` is the taker's,
trade ids are contiguous per pair. Prices and quantities are JSON numbers, and their digits, trailing zeros too, make
the book's checksum (https://docs.kraken.com/api/docs/guides/spot-ws-book-v2): every number becomes its own text before
it is decoded, so that no float ever stands for one.

There is no `quote`: the ticker with `event_trigger: bbo` tells of "a change in the best-bid-offer price levels", so its
quantities can be old, and it has no id. The book tells the best prices, and its checksum vouches for them.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter, methodcaller
from typing import Any

import orjson

from wick.errors import ParseError, shown
from wick.exchanges import NOT_NOW, REFUSED, Hole, Instrument, Limits, Refused, Request, Venue
from wick.exchanges._batch import take
from wick.exchanges._columns import Columns, Layout, Row
from wick.exchanges._cursor import Cursor
from wick.exchanges._klines import kline
from wick.exchanges._text import (
    DECIMALS,
    MAX_EXPONENT,
    MAX_ID,
    SECONDS,
    Names,
    check_numbers,
    name,
    of_hole,
    plain,
    rfc3339_ns,
    time_ns,
)
from wick.market.foreign import Kline
from wick.market.trades import Ack, DepthUpdate, Event, Levels, PastTrade, Topic, Trade

DEPTH = 1000  # of 10, 25, 100, 500, 1000 levels a side: enough for all within 10 bps of the mid
SYMBOLS_A_REQUEST = 50  # our own: a frame stays below 2 kB, and its 1,000-level snapshots below 10 MB
TRADES_A_PAGE = 1000  # the most that REST gives
EARLIER_NS = 1_000  # the stream rounds times to microseconds, REST knows nanoseconds: `since` must not skip a trade
# v2 has no old names (https://docs.kraken.com/api/docs/guides/spot-ws-intro), REST has them still.
OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
REST_NAMES = {new: old for old, new in OLD_NAMES.items()}
WIRE_CHANNELS = {"trade": "trade", "depth": "book"}
CHANNELS = {wire: channel for channel, wire in WIRE_CHANNELS.items()}
QUIET = ("heartbeat", "status")
# Errors that say "later": https://docs.kraken.com/api/docs/guides/spot-errors
BUSY = (
    "EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Temporary lockout", "EGeneral:Internal error",
    "EService:",
)  # fmt: skip
CANDLES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}  # minutes
_NAME = re.compile(r"[A-Za-z0-9.]{1,20}/[A-Za-z0-9.]{1,20}")  # some have small letters: TSLAx/USD
_VALUE = re.compile(rb'":[ \t\r\n]*+([0-9][0-9.eE+-]*+)')
_TIME = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?")


def normalise(native: str) -> str:
    """`BTC/USD`, and the old `XBT/USD` -> `BTC-USD`."""
    return "-".join(OLD_NAMES.get(asset, asset) for asset in native.split("/"))


def _made(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "symbol", native)
    return normalise(native)


_NAMES = Names(_made)


# ---------------------------------------------------------------------- numbers


def _loads(raw: bytes) -> Any:
    """The JSON value; each number that a field has as its own text."""
    parts = _VALUE.split(raw)  # what is before, between and behind the numbers, and they
    woven = [b'":"'] * (2 * len(parts) - 1)
    woven[::2] = parts
    woven[3::4] = [b'"'] * (len(parts) // 2)
    return orjson.loads(b"".join(woven))


def _decoded(raw: bytes) -> Any:
    try:
        return _loads(raw)
    except orjson.JSONDecodeError:
        # Inside of a text that quotes JSON (an error's) there may have been what looks like a field with a number.
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError("corrupt frame", "JSON", str(error)) from None


def _positive(data: dict[str, Any], field: str) -> tuple[int, int]:
    try:
        found = DECIMALS[plain(data.get(field), field)]
    except ParseError as error:
        raise ParseError(error.reason, field, data.get(field)) from None
    if not found[0]:
        raise ParseError("not a positive number", field, data.get(field))
    return found


def _whole(data: dict[str, Any], field: str, most: int) -> int:
    text = data.get(field)
    if type(text) is not str or not text.isdigit() or not text.isascii() or len(text) > 20 or int(text) > most:
        raise ParseError("bad id", field, text)
    return int(text)


# ---------------------------------------------------------------------- events


def _trade(data: Any) -> Trade:
    if type(data) is not dict:
        raise ParseError("corrupt frame", "data", data)
    (price, price_decimals), (quantity, quantity_decimals) = _positive(data, "price"), _positive(data, "qty")
    side = data.get("side")
    if side not in ("buy", "sell"):
        raise ParseError("bad side", "side", side)
    return Trade(
        name(data, "symbol", _NAMES), rfc3339_ns(data.get("timestamp"), "timestamp"), _whole(data, "trade_id", MAX_ID),
        price, price_decimals, quantity, quantity_decimals, side == "buy",
    )  # fmt: skip


def _levels(data: dict[str, Any], field: str) -> Levels:
    rows = data.get(field)
    if type(rows) is not list:
        raise ParseError("bad levels", field, rows)
    try:
        levels = [[row["price"], row["qty"]] for row in rows]
        if levels:
            check_numbers([*chain.from_iterable(levels)], field)
    except (KeyError, TypeError):
        raise ParseError("bad levels", field, rows) from None
    except ParseError:
        levels = [[plain(price, field), plain(quantity, field)] for price, quantity in levels]
        check_numbers([*chain.from_iterable(levels)], field)
    return levels


def _book(data: Any, is_snapshot: bool) -> DepthUpdate:
    if type(data) is not dict:
        raise ParseError("corrupt frame", "data", data)
    at_ns = rfc3339_ns(data["timestamp"], "timestamp") if "timestamp" in data else 0  # older snapshots had none
    return DepthUpdate(
        name(data, "symbol", _NAMES), at_ns, 0, 0, _levels(data, "bids"), _levels(data, "asks"), -1,
        _whole(data, "checksum", 2**32 - 1), is_snapshot,
    )  # fmt: skip


def _ack(frame: dict[str, Any]) -> Ack:
    """One a symbol. A refusal names the symbol and no channel: its topics are those of all that there are."""
    result = frame.get("result")
    if type(result) is not dict:
        result = {}
    request_id: object = frame.get("req_id")
    if type(request_id) is str and request_id.isdigit() and request_id.isascii() and len(request_id) < 20:
        request_id = int(request_id)
    native, channel = result.get("symbol", frame.get("symbol")), result.get("channel")
    topics: tuple[Topic, ...] = ()
    if type(native) is str and _NAME.fullmatch(native):
        channels = [CHANNELS[channel]] if type(channel) is str and channel in CHANNELS else CHANNELS.values()
        topics = tuple(Topic(normalise(native), one) for one in channels)
    if frame.get("success") is True:
        return Ack(request_id, None, topics)
    error = frame.get("error", "refused")
    return Ack(request_id, (error if type(error) is str else shown(error))[:200], topics)


def _events(frame: Any) -> list[Event]:
    """What a decoded message says."""
    if type(frame) is not dict:
        raise ParseError("corrupt frame", "JSON", frame)
    channel, data, kind = frame.get("channel"), frame.get("data"), frame.get("type")
    if channel in ("trade", "book"):
        if type(data) is not list:
            raise ParseError("corrupt frame", "data", data)
        if kind not in ("snapshot", "update"):
            raise ParseError("unknown event", "type", kind)
        if channel == "book":
            return [_book(one, kind == "snapshot") for one in data]
        trades = [_trade(one) for one in data]
        if kind == "snapshot":  # the last 50; the documentation does not tell their order
            return [PastTrade(*trade) for trade in sorted(trades, key=attrgetter("trade_id"))]
        return [*trades]
    method = frame.get("method")
    if channel in QUIET or method == "pong":
        return []
    if method in ("subscribe", "unsubscribe") or "error" in frame:
        return [_ack(frame)]
    raise ParseError("unknown event", "channel", channel)


def _read(values: list[Any], start: int, taken: list[Event | Refused]) -> None:
    """Append the events of each decoded message."""
    for place, frame in enumerate(values, start):
        try:
            taken += _events(frame)
        except ParseError as error:
            taken.append(Refused(place, error))


# Flawless trades by their bytes, without JSON: twice as fast, and their numbers are texts from the start. What does not
# look so in every byte is left to `_events`; what does is there the same.
_HEAD, _TAIL = b'{"channel":"trade","type":"update","data":[', b"]}"
_JOINT = _TAIL + b"\n" + _HEAD
_PLAIN = rb"[0-9]{1,12}+(?:\.[0-9]{1,18}+)?+"
_ROW = re.compile(
    rb'\{"symbol":"([A-Za-z0-9.]{1,20}+/[A-Za-z0-9.]{1,20}+)","side":"(buy|sell)","price":(%b),"qty":(%b),'
    rb'"ord_type":"[a-z-]++","trade_id":([0-9]{1,18}+),"timestamp":"([0-9T:-]{19})\.([0-9]{6})Z"\}' % (_PLAIN, _PLAIN)
)


class _OfBytes(dict[bytes, Any]):
    """A memory of texts, asked with bytes."""

    def __init__(self, texts: dict[str, Any]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, raw: bytes) -> Any:
        found = self._texts[raw.decode()]
        if len(self) >= 65_536:
            self.clear()
        self[raw] = found
        return found


_DECIMALS, _SYMBOLS, _SECONDS = _OfBytes(DECIMALS), _OfBytes(_NAMES), _OfBytes(SECONDS)


def _head(at: Cursor) -> None:
    at.literal(_HEAD)


def _walk(at: Cursor, _: bytes) -> Row:
    """A flawless row (see `columns`)."""
    at.literal(b'{"symbol":"')
    codes = at.codes(at.name(b'"'))
    at.literal(b'","side":"')
    taker_buy = at.either(b"buy", b"sell")
    at.literal(b'","price":')
    price = at.decimal(is_json=True)
    at.literal(b',"qty":')
    quantity = at.decimal(is_json=True)
    at.literal(b',"ord_type":"')
    at.either(b"limit", b"market")
    at.literal(b'","trade_id":')
    trade_id = at.integer()
    at.literal(b',"timestamp":"')
    event_ns = at.rfc3339()
    at.literal(b'Z"}')
    return codes, event_ns, trade_id, price, quantity, taker_buy, None


_LAYOUT = Layout(_HEAD, _walk, _NAMES, _head)


def _rows(frames: Sequence[bytes]) -> list[Event | Refused] | None:
    """The trades of messages that have nothing else; None where one has, or is not flawless."""
    parts = _ROW.split(b"\n".join(frames))
    between, joints = parts[::8], len(frames) - 1
    if between[0] != _HEAD or between[-1] != _TAIL or between.count(_JOINT) != joints:
        return None
    if between.count(b",") != len(between) - 2 - joints:
        return None
    trades: list[Event | Refused] = []
    add, decimals, symbols, seconds, new = trades.append, _DECIMALS, _SYMBOLS, _SECONDS, tuple.__new__
    try:
        for native, side, price_text, quantity_text, number, second, fraction in zip(
            *[parts[group::8] for group in range(1, 8)], strict=False
        ):
            price, price_decimals = decimals[price_text]
            quantity, quantity_decimals = decimals[quantity_text]
            if not price or not quantity:
                return None
            add(new(Trade, (
                symbols[native], seconds[second] + int(fraction) * 1000, int(number), price, price_decimals, quantity,
                quantity_decimals, side == b"buy", 1,
            )))  # fmt: skip
    except ParseError:
        return None
    return trades


# The frames that candles do not need, by their bytes (see `skim`): a part of what `parse` takes, never more.
# Possessive, so that a long book which fails does so at once.
_LEVELS = rb"\[(?:L(?:,L)*+)?\]".replace(b"L", rb'\{"price":P,"qty":P\}').replace(b"P", _PLAIN)
_CRC32 = rb"(?:[0-9]{1,9}|[1-3][0-9]{9}|4[01][0-9]{8})"  # below 4.2 of the 4.29 billion
_UPDATE_FRAME = re.compile(
    rb'\{"channel":"book","type":"update","data":\[\{"symbol":"[A-Za-z0-9.]{1,20}/[A-Za-z0-9.]{1,20}","bids":%b,'
    rb'"asks":%b,"checksum":%b,"timestamp":"([0-9T:.-]{26}Z)"\}\]\}' % (_LEVELS, _LEVELS, _CRC32)
)
_HEARTBEAT = b'{"channel":"heartbeat"}'


# ---------------------------------------------------------------------- REST


def _result(raw: bytes) -> dict[str, Any]:
    """The `result` of an answer; floats as their texts. A refusal comes with status 200."""
    try:
        answer = json.loads(raw, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise ParseError("corrupt answer", "JSON", str(error)) from None
    if type(answer) is dict and answer.get("error"):
        busy = any(sign in shown(answer["error"]) for sign in BUSY)
        raise ParseError(NOT_NOW if busy else REFUSED, "error", answer["error"])
    if type(answer) is not dict or type(answer.get("result")) is not dict:
        raise ParseError("corrupt answer", "result", answer)
    result: dict[str, Any] = answer["result"]
    return result


def _past_trade(symbol: str, row: Any) -> Trade:
    """[price, volume, time, b or s, market or limit, misc, trade_id]."""
    if type(row) is not list or len(row) < 7:
        raise ParseError("corrupt answer", "trade", row)
    fields = dict(zip(("price", "volume", "time", "side", "type", "misc", "trade_id"), row, strict=False))
    (price, price_decimals), (quantity, quantity_decimals) = _positive(fields, "price"), _positive(fields, "volume")
    time, side, trade_id = fields["time"], fields["side"], fields["trade_id"]
    parts = _TIME.fullmatch(str(time)) if type(time) in (str, int) else None
    if not parts:
        raise ParseError("bad time", "time", time)
    if side not in ("b", "s"):
        raise ParseError("bad side", "side", side)
    if type(trade_id) is not int or not 0 <= trade_id <= MAX_ID:
        raise ParseError("bad id", "trade_id", trade_id)
    at_ns = time_ns(int(parts[1]) * 1000, "time") + int((parts[2] or "").ljust(9, "0"))
    return Trade(symbol, at_ns, trade_id, price, price_decimals, quantity, quantity_decimals, side == "b")


def _step(decimals: object) -> str:
    if type(decimals) is not int or not 0 <= decimals <= MAX_EXPONENT:
        raise ParseError("corrupt answer", "decimals", decimals)
    return f"{'0.' if decimals else ''}{'1'.rjust(decimals, '0')}"


class Kraken(Venue):
    """Kraken spot (see `Venue`)."""

    id = "kraken"
    title = "Kraken"
    ws_url = "wss://ws.kraken.com"
    ws_path = "/v2"
    rest_url = "https://api.kraken.com"
    symbols_path = "/0/public/AssetPairs"
    channels = ("trade", "depth")
    limits = Limits(
        streams=200,  # our own: no number is published
        # "Exceeded msg rate" depends on the load, no number is published
        # (https://docs.kraken.com/api/docs/guides/spot-ratelimits).
        requests=(5, 1.0),
        # About 150 attempts in 10 minutes and address, by Cloudflare
        # (https://docs.kraken.com/api/docs/guides/spot-ws-intro).
        connects=(150, 600.0),
        # 1 a second, address and pair (https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits).
        rest=(1, 1.0),
        ping_s=30.0,  # not asked for where heartbeats come; a quiet connection ends after a minute
    )
    empty = "flat"  # as its published candles are
    contiguous_ids = True
    backfills = True
    depth_from_rest = False
    depth_check = "checksum"
    depth_levels = DEPTH
    backfill_weight = since_weight = 1
    # https://docs.kraken.com/api/docs/rest-api/get-ohlc-data: 720 and the one that runs, whatever is asked for. There
    # are weeks too, which begin on Thursdays as the epoch did: not wick's, which are made of days.
    candles = tuple(CANDLES)
    candles_a_page = candles_kept = 720

    def symbol(self, native: str) -> str:
        return normalise(native)

    def native(self, symbol: str) -> str:
        return "/".join(OLD_NAMES.get(asset, asset) for asset in symbol.replace("-", "/").split("/"))

    def _requests(self, method: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        by_channel: dict[str, list[Topic]] = {}
        for topic in topics:
            by_channel.setdefault(topic.channel, []).append(topic)
        requests: list[Request] = []
        for channel, some in by_channel.items():
            for at in range(0, len(some), SYMBOLS_A_REQUEST):
                chunk = tuple(some[at : at + SYMBOLS_A_REQUEST])
                params: dict[str, Any] = {"channel": WIRE_CHANNELS[channel]}
                params["symbol"] = [self.native(topic.symbol) for topic in chunk]
                if channel == "depth":
                    params["depth"] = DEPTH
                if method == "subscribe":
                    params["snapshot"] = True
                number = first_id + len(requests)
                raw = orjson.dumps({"method": method, "params": params, "req_id": number})
                requests.append(Request(raw, number, chunk))
        return requests

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("unsubscribe", topics, first_id)

    def ping(self) -> bytes:
        return b'{"method":"ping"}'

    def parse(self, raw: bytes) -> list[Event]:
        return _events(_decoded(raw))

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        taken: list[Event | Refused] = []
        start = 0
        for are_trades, run in groupby(frames, methodcaller("startswith", _HEAD)):
            some = [*run]
            trades = _rows(some) if are_trades else None
            if trades is None:
                taken += [
                    Refused(start + one.place, one.error) if type(one) is Refused else one
                    for one in take(some, self.parse, _read, _loads)
                ]
            else:
                taken += trades
            start += len(some)
        return taken

    def columns(self, frames: Sequence[bytes]) -> Columns | None:
        return _LAYOUT.read(frames)

    def skim(self, raw: bytes) -> int | None:
        if raw == _HEARTBEAT:
            return 0
        update = _UPDATE_FRAME.fullmatch(raw)
        try:
            return rfc3339_ns(update[1].decode(), "timestamp") if update else None
        except ParseError:
            return None

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        instruments = []
        for row in _result(raw).values():
            if type(row) is not dict:
                raise ParseError("corrupt answer", "AssetPairs", row)
            old = row.get("wsname")
            if old is None or row.get("status") != "online":  # dark pools have no such name
                continue
            if type(old) is not str:
                raise ParseError("corrupt answer", "wsname", old)
            if not _NAME.fullmatch(old):  # one that no stream could have either must not hide the others
                continue
            tick = plain(row["tick_size"], "tick_size") if "tick_size" in row else _step(row.get("pair_decimals"))
            check_numbers([tick], "tick_size")
            instruments.append(Instrument(self.native(old), normalise(old), tick, _step(row.get("lot_decimals"))))
        return instruments

    def backfill_path(self, hole: Hole) -> str:
        since_ns = max(hole.from_ns - EARLIER_NS, 0)
        return f"/0/public/Trades?pair={_pair(hole.symbol)}&since={since_ns}&count={TRADES_A_PAGE}"

    def parse_backfill(self, hole: Hole, raw: bytes) -> list[Trade]:
        """The page begins with the first trade after `since`, whatever its id."""
        return of_hole(hole, _past_trades(hole.symbol, raw))

    def since_path(self, symbol: str, from_ns: int) -> str:
        return f"/0/public/Trades?pair={_pair(symbol)}&since={from_ns - 1}&count=1"

    def parse_since(self, symbol: str, raw: bytes) -> int | None:
        trades = _past_trades(symbol, raw)
        return trades[0].trade_id if trades else None

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        """Those after `since`, all of them: a count cannot be asked for."""
        return f"/0/public/OHLC?pair={_pair(symbol)}&interval={CANDLES[interval]}&since={from_ms // 1000 - 1}"

    def parse_candles(self, raw: bytes) -> list[Kline]:
        """Its mean price is rounded, so that the turnover does not follow from it. The last one is always running."""
        rows = next((rows for pair, rows in _result(raw).items() if pair != "last"), None)
        if type(rows) is not list:
            raise ParseError("corrupt answer", "OHLC", rows)
        return [kline(row, _CANDLE, 1000) for row in rows[:-1]]


_CANDLE = ("time", "open", "high", "low", "close", "vwap", "volume", "trades")


def _pair(symbol: str) -> str:
    """As REST takes it: XBTUSD."""
    return "".join(REST_NAMES.get(asset, asset) for asset in symbol.split("-"))


def _past_trades(symbol: str, raw: bytes) -> list[Trade]:
    trades: list[Trade] = []
    for pair, rows in _result(raw).items():
        if pair != "last":
            if type(rows) is not list:
                raise ParseError("corrupt answer", pair, rows)
            trades += [_past_trade(symbol, row) for row in rows]
    return trades


VENUE = Kraken()
