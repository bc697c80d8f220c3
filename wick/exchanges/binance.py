"""Binance spot: addresses, subscribe frames, bytes to events. Pure.

Formats: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and real captures. `m` true
means that the buyer was the maker, so the taker sold. Trade ids are contiguous per symbol.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import orjson

from wick.errors import ParseError, shown
from wick.exchanges import Refused, Venue
from wick.market.numbers import MAX_MANTISSA, POW10, parse_decimal
from wick.market.trades import Ack, DepthSnapshot, DepthUpdate, Event, Quote, Shutdown, Trade

# Longest first, so that BTCFDUSD is BTC-FDUSD and not BTCF-DUSD. A name with none of them stays as it is.
QUOTE_ASSETS = sorted(
    [
        "USDT", "FDUSD", "USDC", "TUSD", "BUSD", "USDP", "USD1", "DAI", "RLUSD", "XUSD", "USDE", "USDS", "PAX", "U",
        "BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOT", "DOGE", "EUR", "EURI", "AEUR", "GBP", "TRY", "BRL", "ARS",
        "COP", "MXN", "JPY", "PLN", "RON", "CZK", "ZAR", "UAH", "RUB", "AUD", "NGN", "BIDR", "IDRT", "VAI", "BVND",
        "KZT",
    ],
    key=len,
    reverse=True,
)  # fmt: skip
PARAMS_A_REQUEST = 200  # Binance takes 5 messages a second: few long ones
EARLIEST_MS, LATEST_MS = 1_230_768_000_000, 4_102_444_800_000  # 2009-01-01, 2100-01-01
MICROSECONDS_FROM = 10**14  # as milliseconds that is the year 5138
MAX_ID = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
MAX_NUMBER = 22  # characters that no number of Binance reaches; longer ones are matched one by one
_TWO, _LISTS = {2}, {list}
_NAME = re.compile(r"[^\W_]{2,40}")  # letters and digits of any script: Binance lists Chinese names too


def normalise(native: str) -> str:
    """`BTCUSDT` -> `BTC-USDT`."""
    for quote in QUOTE_ASSETS:
        if native.endswith(quote) and len(native) > len(quote):
            return f"{native[: -len(quote)]}-{quote}"
    return native


class _Names(dict[str, str]):
    """The symbols of native names."""

    def __missing__(self, native: str) -> str:
        if not _NAME.fullmatch(native):
            raise ParseError("bad symbol", "s", native)
        if len(self) >= 16_384:
            self.clear()
        self[native] = symbol = normalise(native)
        return symbol


_NAMES = _Names()


def _name(data: dict[str, Any]) -> str:
    native = data.get("s")
    if type(native) is not str:
        raise ParseError("bad symbol", "s", native)
    return _NAMES[native]


def _id(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ParseError("bad id", field, value)
    return value


def time_ns(value: object, field: str) -> int:
    """Milliseconds or microseconds (Binance gives either, by the address's `timeUnit`) as nanoseconds."""
    if type(value) is not int:
        raise ParseError("bad time", field, value)
    ms, factor = (value // 1000, 1_000) if value >= MICROSECONDS_FROM else (value, 1_000_000)
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise ParseError("absurd time", field, value)
    return value * factor


class _Decimals(dict[str, tuple[int, int]]):
    """`parse_decimal` that remembers. Prices and sizes repeat: two of three numbers of a real stream are found here."""

    def __missing__(self, text: str) -> tuple[int, int]:
        number = parse_decimal(text)
        if len(self) >= 65_536:
            self.clear()
        self[text] = number
        return number


_DECIMALS = _Decimals()


def _number(data: dict[str, Any], field: str) -> tuple[int, int]:
    text = data.get(field)
    if type(text) is not str:
        raise ParseError("not a decimal string", field, text)
    try:
        return _DECIMALS[text]
    except ParseError as error:
        raise ParseError(error.reason, field, text) from None


def _positive(data: dict[str, Any], field: str) -> tuple[int, int]:
    number = _number(data, field)
    if not number[0]:
        raise ParseError("not a positive number", field, data.get(field))
    return number


def _trade(data: dict[str, Any], id_field: str) -> Trade:
    try:
        (price, price_decimals), (quantity, quantity_decimals) = _DECIMALS[data["p"]], _DECIMALS[data["q"]]
    except (KeyError, TypeError, ParseError):
        price = quantity = 0
    if not price or not quantity:
        _positive(data, "p"), _positive(data, "q")  # names the field that is wrong
    maker_buy = data.get("m")
    if maker_buy is not True and maker_buy is not False:
        raise ParseError("bad side", "m", maker_buy)
    count = 1
    if id_field == "a":
        count = _id(data, "l") - _id(data, "f") + 1
        if not 1 <= count <= MAX_ID:
            raise ParseError("bad id", "l", data.get("l"))
    return Trade(
        _name(data), time_ns(data.get("T"), "T"), _id(data, id_field),
        price, price_decimals, quantity, quantity_decimals, not maker_buy, count,
    )  # fmt: skip


def _quote(data: dict[str, Any]) -> Quote:
    try:
        (bid, bid_decimals), (ask, ask_decimals) = _DECIMALS[data["b"]], _DECIMALS[data["a"]]
        (bid_size, b_decimals), (ask_size, a_decimals) = _DECIMALS[data["B"]], _DECIMALS[data["A"]]
        symbol, update_id = _NAMES[data["s"]], data["u"]
    except (KeyError, TypeError, ParseError):
        for field in "baBA":
            _number(data, field)  # names the field that is wrong
        _name(data), _id(data, "u")
        raise
    if type(update_id) is not int or not 0 <= update_id <= MAX_ID:
        _id(data, "u")
    prices, sizes = bid_decimals, b_decimals
    if bid_decimals != ask_decimals:
        prices = max(bid_decimals, ask_decimals)
        bid *= POW10[prices - bid_decimals]
        ask *= POW10[prices - ask_decimals]
    if b_decimals != a_decimals:
        sizes = max(b_decimals, a_decimals)
        bid_size *= POW10[sizes - b_decimals]
        ask_size *= POW10[sizes - a_decimals]
    if max(bid, ask, bid_size, ask_size) > MAX_MANTISSA:
        raise ParseError("more digits than wick keeps", "bBaA", [data[field] for field in "bBaA"])
    return tuple.__new__(Quote, (symbol, update_id, bid, bid_size, ask, ask_size, prices, sizes))


def _levels(data: dict[str, Any], field: str) -> list[list[str]]:
    levels = data.get(field)
    if type(levels) is not list:
        raise ParseError("bad levels", field, levels)
    if not levels:
        return levels
    try:
        numbers = [*chain.from_iterable(levels)]
        text = "\n".join(numbers)
    except TypeError:
        raise ParseError("bad levels", field, levels) from None
    if set(map(len, levels)) != _TWO or set(map(type, levels)) != _LISTS:
        raise ParseError("bad levels", field, levels)
    # One look at all numbers: digits, a point, digits. A match for each would cost three times the parsing.
    dots = f"\n{text}\n".encode("utf-8", "replace")
    if (
        dots.translate(None, b"0123456789") != b"\n" + b".\n" * len(numbers)
        or b"\n." in dots
        or b".\n" in dots
        or max(map(len, numbers)) > MAX_NUMBER
    ):
        for number in numbers:
            if not _NUMBER.fullmatch(number):
                raise ParseError("not a plain decimal", field, number)
    return levels


def _depth(data: dict[str, Any]) -> DepthUpdate:
    return DepthUpdate(
        _name(data), time_ns(data.get("E"), "E"), _id(data, "U"), _id(data, "u"), _levels(data, "b"), _levels(data, "a")
    )


def _snapshot(data: dict[str, Any]) -> DepthSnapshot:
    return DepthSnapshot(_id(data, "lastUpdateId"), _levels(data, "bids"), _levels(data, "asks"))


def _ack(frame: dict[str, Any]) -> Ack:
    error = frame.get("error", frame if "code" in frame else None)
    if error is None:
        return Ack(frame.get("id"), None)
    parts = (error.get("code"), error.get("msg")) if type(error) is dict else (error,)
    return Ack(frame.get("id"), " ".join(part if type(part) is str else shown(part) for part in parts)[:200])


# The frames that candles do not need, by their bytes (see `skim`): a part of what `parse` takes, never more. 18 digits
# always fit an int64, and the times are of 2011 to 2096. Possessive, so that a long book which fails does so at once.
_PLAIN = rb'"[0-9]{1,10}+\.[0-9]{1,8}+"'
_LEVELS = rb"\[(?:\[P,P\](?:,\[P,P\])*+)?\]".replace(b"P", _PLAIN)
_ID, _MS, _SYMBOL = rb"[1-9][0-9]{0,17}", rb"1[3-9][0-9]{11}", rb'"s":"[A-Z0-9]{2,40}"'
_QUOTE_FRAME = re.compile(
    rb'\{"stream":"[a-z0-9]{2,40}@bookTicker","data":\{"u":%b,%b,"b":%b,"B":%b,"a":%b,"A":%b\}\}'
    % (_ID, _SYMBOL, _PLAIN, _PLAIN, _PLAIN, _PLAIN)
)
_DEPTH_FRAME = re.compile(
    rb'\{"stream":"[a-z0-9]{2,40}@depth@100ms","data":\{"e":"depthUpdate","E":(%b),%b,"U":%b,"u":%b,"b":%b,"a":%b\}\}'
    % (_MS, _SYMBOL, _ID, _ID, _LEVELS, _LEVELS)
)


# Between the messages that are decoded together, as elements of one array. A message without this number in it cannot
# reach beyond its own place there: see `_decode`. No float equals it (2^53 is far below, and it is odd).
_MARK = 7_243_081_119_634_025_971
_DIGITS = b"%d" % _MARK
_MARKED = b"," + _DIGITS + b","
_TOGETHER = 128  # more at once is slower: the objects leave the processor's cache


def _decode(frames: Sequence[bytes]) -> list[Any] | None:
    """The messages' JSON values; None where not each of them is exactly one value."""
    joined = _MARKED.join(frames)
    try:
        values: list[Any] = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    # Two broken messages can be whole together ('{"a":[1' and '2]}'); the mark between them is inside of a value then.
    # Where all marks are ours, and stand between the values one by one, no message is broken.
    marks = len(frames) - 1
    if len(values) != len(frames) + marks or values[1::2].count(_MARK) != marks or joined.count(_DIGITS) != marks:
        return None
    return values[::2]


def _event(frame: Any) -> Event:
    """What a decoded message says."""
    if type(frame) is not dict:
        raise ParseError("corrupt frame", "JSON", frame)
    data = frame.get("data", frame)
    if type(data) is not dict:
        raise ParseError("corrupt frame", "data", data)
    event = data.get("e")
    if event == "trade":
        return _trade(data, "t")
    if event is None:
        if "lastUpdateId" in data:
            return _snapshot(data)
        if "u" in data:
            return _quote(data)
        if "result" in frame or "error" in frame or "code" in frame:
            return _ack(frame)
    elif event == "depthUpdate":
        return _depth(data)
    elif event == "aggTrade":
        return _trade(data, "a")
    elif event == "serverShutdown":
        return Shutdown(time_ns(data.get("E"), "E"))
    raise ParseError("unknown event", "e", event)


def _take_all(values: list[Any], start: int, taken: list[Event | Refused]) -> None:
    """Append the event of each decoded message. Trades that are in order are recognised here, the rest by `_event`."""
    add, decimals, names, new = taken.append, _DECIMALS, _NAMES, tuple.__new__
    for place, frame in enumerate(values, start):
        try:
            data = frame["data"]
            if data.get("e") == "trade":
                price, price_decimals = decimals[data["p"]]
                quantity, quantity_decimals = decimals[data["q"]]
                time_ms, trade_id, maker_buy = data["T"], data["t"], data["m"]
                if (
                    price
                    and quantity
                    and type(time_ms) is int
                    and EARLIEST_MS <= time_ms < LATEST_MS
                    and type(trade_id) is int
                    and 0 <= trade_id <= MAX_ID
                    and (maker_buy is True or maker_buy is False)
                ):
                    add(new(Trade, (
                        names[data["s"]], time_ms * 1_000_000, trade_id, price, price_decimals, quantity,
                        quantity_decimals, not maker_buy, 1,
                    )))  # fmt: skip
                    continue
        except (KeyError, AttributeError, TypeError, ParseError):
            pass
        try:
            add(_event(frame))
        except ParseError as error:
            add(Refused(place, error))


class Binance(Venue):
    """Binance spot (see `Venue`)."""

    id = "binance"
    ws_url = "wss://stream.binance.com:9443"
    rest_url = "https://api.binance.com"
    ws_path = "/stream"
    symbols_path = "/api/v3/exchangeInfo?permissions=SPOT&symbolStatus=TRADING"
    channels = ("trade", "bookTicker", "depth")
    max_streams = 1024
    empty = "flat"  # its klines repeat the last close with volume 0
    contiguous_ids = True

    def symbol(self, native: str) -> str:
        return native if "-" in native else normalise(native.upper())

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "").upper()

    def subscribe(self, symbols: Iterable[str], channels: Iterable[str]) -> list[bytes]:
        suffixes = ["depth@100ms" if channel == "depth" else channel for channel in channels]
        streams = [f"{self.native(symbol).lower()}@{suffix}" for symbol in symbols for suffix in suffixes]
        chunks = [streams[at : at + PARAMS_A_REQUEST] for at in range(0, len(streams), PARAMS_A_REQUEST)]
        return [
            orjson.dumps({"method": "SUBSCRIBE", "params": chunk, "id": number})
            for number, chunk in enumerate(chunks, 1)
        ]

    def parse(self, raw: bytes) -> list[Event]:
        try:
            return [_event(orjson.loads(raw))]
        except orjson.JSONDecodeError as error:
            raise ParseError("corrupt frame", "JSON", str(error)) from None

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        """As `parse`, for many: three times as fast where most are trades."""
        taken: list[Event | Refused] = []
        for start in range(0, len(frames), _TOGETHER):
            some = frames[start : start + _TOGETHER]
            values = _decode(some)
            if values is None:
                taken += [
                    Refused(start + one.place, one.error) if type(one) is Refused else one for one in super().take(some)
                ]
            else:
                _take_all(values, start, taken)
        return taken

    def skim(self, raw: bytes) -> int | None:
        """For who wants trades only: the time (ns) of a flawless frame that has none, 0 where it tells no time.

        None: only `parse` can say. Six times as fast as `parse`, which makes objects of everything in a frame.
        """
        if _QUOTE_FRAME.fullmatch(raw):
            return 0
        depth = _DEPTH_FRAME.fullmatch(raw)
        return int(depth[1]) * 1_000_000 if depth else None

    def parse_symbols(self, raw: bytes) -> list[str]:
        try:
            listed = orjson.loads(raw)["symbols"]
            names = [row["symbol"] for row in listed if row["status"] == "TRADING"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ParseError("corrupt answer", "exchangeInfo", repr(error)) from None
        for name in names:
            if type(name) is not str:
                raise ParseError("corrupt answer", "symbol", name)
        return names


VENUE = Binance()
