"""Binance spot: addresses, limits, requests, bytes to events. Pure.

Formats: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and real captures. `m` true
means that the buyer was the maker, so the taker sold. Trade ids are contiguous per symbol.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from wick.errors import ParseError, shown
from wick.exchanges import Hole, Instrument, Limits, Refused, Request, Venue, _batch
from wick.exchanges import _text as text
from wick.exchanges._columns import Columns, Layout, Row
from wick.exchanges._cursor import Cursor
from wick.exchanges._text import DECIMALS, EARLIEST_MS, LATEST_MS, MAX_ID, Names
from wick.market.foreign import SECONDS, Kline
from wick.market.trades import Ack, DepthSnapshot, DepthUpdate, Event, Quote, Shutdown, Topic, Trade

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
PARAMS_A_REQUEST = 200  # Binance takes few messages a second: few long ones
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits#ip-limits
USED_HEADER = "X-MBX-USED-WEIGHT-1M"
MOST_TRADES = 1_000  # REST gives at a time
_NAME = re.compile(r"[^\W_]{2,40}")  # letters and digits of any script: Binance lists Chinese names too


def normalise(native: str) -> str:
    """`BTCUSDT` -> `BTC-USDT`."""
    for asset in QUOTE_ASSETS:
        if native.endswith(asset) and len(native) > len(asset):
            return f"{native[: -len(asset)]}-{asset}"
    return native


def _checked(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "s", native)
    return normalise(native)


_NAMES = Names(_checked)


def trade(data: dict[str, Any], id_field: str, names: Names) -> Trade:
    """An event `trade` or `aggTrade` (spot or futures)."""
    (price, price_decimals), (quantity, quantity_decimals) = text.positive(data, "p"), text.positive(data, "q")
    maker_buy = data.get("m")
    if maker_buy is not True and maker_buy is not False:
        raise ParseError("bad side", "m", maker_buy)
    count = 1
    if id_field == "a":
        count = text.whole(data, "l") - text.whole(data, "f") + 1
        if not 1 <= count <= MAX_ID:
            raise ParseError("bad id", "l", data.get("l"))
    return Trade(
        text.name(data, "s", names), text.time_ns(data.get("T"), "T"), text.whole(data, id_field),
        price, price_decimals, quantity, quantity_decimals, not maker_buy, count,
    )  # fmt: skip


def best_prices(data: dict[str, Any], names: Names) -> Quote:
    """An event of `bookTicker` (spot or futures)."""
    try:
        numbers = DECIMALS[data["b"]], DECIMALS[data["B"]], DECIMALS[data["a"]], DECIMALS[data["A"]]
        symbol, update_id = names[data["s"]], data["u"]
    except (KeyError, TypeError, ParseError):
        for field in "baBA":
            text.number(data, field)  # names the field that is wrong
        text.name(data, "s", names), text.whole(data, "u")
        raise
    if type(update_id) is not int or not 0 <= update_id <= MAX_ID:
        text.whole(data, "u")
    return text.quote(symbol, update_id, *numbers)


def depth(data: dict[str, Any], names: Names, previous_id: int = -1) -> DepthUpdate:
    """An event `depthUpdate` (spot or futures)."""
    first_id, last_id = text.whole(data, "U"), text.whole(data, "u")
    if first_id > last_id:
        raise ParseError("bad id", "U", first_id)
    return DepthUpdate(
        text.name(data, "s", names), text.time_ns(data.get("E"), "E"), first_id, last_id, text.levels(data, "b"),
        text.levels(data, "a"), previous_id,
    )  # fmt: skip


def skimmed(update: re.Match[bytes] | None) -> int | None:
    """The time of a frame of depth: its groups are E, U and u."""
    return int(update[1]) * 1_000_000 if update and int(update[2]) <= int(update[3]) else None


def snapshot(data: dict[str, Any]) -> DepthSnapshot:
    """REST's whole book."""
    return DepthSnapshot(text.whole(data, "lastUpdateId"), text.levels(data, "bids"), text.levels(data, "asks"))


def ack(frame: dict[str, Any]) -> Ack:
    """The answer to a request: `{"result":null,"id":1}`, or an error in one of its shapes."""
    error = frame.get("error", frame if "code" in frame else None)
    if error is None:
        return Ack(frame.get("id"), None)
    parts = (error.get("code"), error.get("msg")) if type(error) is dict else (error,)
    return Ack(frame.get("id"), " ".join(part if type(part) is str else shown(part) for part in parts)[:200])


def unwrapped(frame: Any) -> dict[str, Any]:
    """The event inside of the envelope of a combined stream, or as it is."""
    if type(frame) is not dict:
        raise ParseError("corrupt frame", "JSON", frame)
    data = frame.get("data", frame)
    if type(data) is not dict:
        raise ParseError("corrupt frame", "data", data)
    return data


def listed(raw: bytes, wanted: Callable[[dict[str, Any]], bool], names: Names) -> list[Instrument]:
    """The instruments of an `exchangeInfo` that are wanted, with a name that can be a symbol."""
    instruments = []
    try:
        for row in text.answer(raw, "exchangeInfo", dict)["symbols"]:
            if not wanted(row):
                continue
            native, filters = row["symbol"], {one["filterType"]: one for one in row.get("filters", ())}
            if type(native) is not str:
                raise ParseError("corrupt answer", "symbol", native)
            price_step = text.step(filters.get("PRICE_FILTER", {}), "tickSize")
            quantity_step = text.step(filters.get("LOT_SIZE", {}), "stepSize")
            try:
                symbol = names[native]
            except ParseError:  # a name that no stream could have either
                continue
            instruments.append(Instrument(native, symbol, price_step, quantity_step))
    except (KeyError, TypeError, AttributeError) as error:
        raise ParseError("corrupt answer", "exchangeInfo", repr(error)) from None
    return instruments


# The frames that candles do not need, by their bytes (see `skim`): a part of what `parse` takes, never more. 18 digits
# always fit an int64, and the times are of 2011 to 2096. Possessive, so that a long book which fails does so at once.
_PLAIN = rb'"[0-9]{1,10}+\.[0-9]{1,8}+"'
_LEVELS = rb"\[(?:\[P,P\](?:,\[P,P\])*+)?\]".replace(b"P", _PLAIN)
ID, MS, _SYMBOL = rb"[1-9][0-9]{0,17}", rb"1[3-9][0-9]{11}", rb'"s":"[A-Z0-9]{2,40}"'
_QUOTE_FRAME = re.compile(
    rb'\{"stream":"[a-z0-9]{2,40}@bookTicker","data":\{"u":%b,%b,"b":%b,"B":%b,"a":%b,"A":%b\}\}'
    % (ID, _SYMBOL, _PLAIN, _PLAIN, _PLAIN, _PLAIN)
)
_DEPTH_FRAME = re.compile(
    rb'\{"stream":"[a-z0-9]{2,40}@depth@100ms","data":\{"e":"depthUpdate","E":(%b),%b,"U":(%b),"u":(%b),"b":%b,"a":%b\}\}'
    % (MS, _SYMBOL, ID, ID, _LEVELS, _LEVELS)
)


MARK = b'rade","data":{'  # of a frame of trade or aggTrade


def walk(at: Cursor, sample: bytes) -> Row:
    """A `trade` or `aggTrade` whose fields are in the order of the sample's: futures have had two (see `columns`)."""
    event, matches = b"aggTrade" if b"@aggTrade" in sample else b"trade", None
    name_first = sample.find(b',"s":') < sample.find(b',"a":') or event == b"trade"
    at.literal(b'{"stream":"')
    small = at.name(b"@")
    at.literal(b'@%b","data":{"e":"%b","E":' % (event, event))
    at.unused_milliseconds()
    if name_first:
        at.literal(b',"s":"')
        codes = at.codes(at.name(b'"'), small)
        at.literal(b'","a":' if event == b"aggTrade" else b'","t":')
        trade_id = at.integer()
        at.literal(b',"p":"')
    else:
        at.literal(b',"a":')
        trade_id = at.integer()
        at.literal(b',"s":"')
        codes = at.codes(at.name(b'"'), small)
        at.literal(b'","p":"')
    price = at.decimal()
    at.literal(b'","q":"')
    quantity = at.decimal()
    if b'"nq":' in sample:
        at.literal(b'","nq":"')
        at.decimal()
    at.literal(b'","')
    if event == b"aggTrade":
        at.literal(b'f":')
        first = at.integer()
        at.literal(b',"l":')
        matches = at.integer() - first + 1
        at.refuse(matches < 1)
        at.literal(b',"')
    at.literal(b'T":')
    event_ns = at.milliseconds()
    at.literal(b',"m":')
    taker_buy = ~at.either(b"true", b"false")
    at.literal(b',"M":true}}' if b'"M":true' in sample else b"}}")
    return codes, event_ns, trade_id, price, quantity, taker_buy, matches


class Binance(Venue):
    """Binance spot (see `Venue`)."""

    id = "binance"
    title = "Binance"
    ws_url = "wss://stream.binance.com:9443"
    rest_url = "https://api.binance.com"
    ws_path = "/stream"
    symbols_path = "/api/v3/exchangeInfo?permissions=SPOT&symbolStatus=TRADING"
    channels = ("trade", "quote", "depth")
    # 1,024 streams, 24 hours, 300 attempts in 5 minutes, 5 messages a second, pongs among them (one is left for those):
    # https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#websocket-limits
    # REST: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits, and each endpoint's weight.
    limits = Limits(1_024, (4, 1.0), (300, 300.0), (6_000, 60.0), used_header=USED_HEADER, lifetime_s=24 * 3600)
    empty = "flat"  # its klines repeat the last close with volume 0
    contiguous_ids = True
    backfills = True
    depth_from_rest = True
    depth_check = "ids"
    depth_levels = 0
    backfill_weight = 25

    _streams: ClassVar = {"trade": "trade", "quote": "bookTicker", "depth": "depth@100ms"}
    _names = _NAMES
    _layout = Layout(MARK, walk, _NAMES)
    # How many levels REST's snapshot may have, and what it weighs.
    _snapshots: ClassVar[Mapping[int, int]] = {
        5: 5, 10: 5, 20: 5, 50: 5, 100: 5, 500: 25, 1_000: 50, 5_000: 250,
    }  # fmt: skip
    _snapshot_path = "/api/v3/depth"
    # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints: aggTrades, klines
    _root = "/api/v3"
    _since_id = "f"  # of an aggregate: what `backfill_path` goes by
    since_weight = 4
    candles: tuple[str, ...] = (SECONDS, "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M")
    candles_a_page = 1_000

    def symbol(self, native: str) -> str:
        return native if "-" in native else normalise(native.upper())

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "").upper()

    def subscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("SUBSCRIBE", topics, first_id)

    def unsubscribe(self, topics: Iterable[Topic], first_id: int = 1) -> list[Request]:
        return self._requests("UNSUBSCRIBE", topics, first_id)

    def _requests(self, method: str, topics: Iterable[Topic], first_id: int) -> list[Request]:
        asked = tuple(topics)
        requests = []
        for ask_id, at in enumerate(range(0, len(asked), PARAMS_A_REQUEST), first_id):
            some = asked[at : at + PARAMS_A_REQUEST]
            params = [f"{self.native(one.symbol).lower()}@{self._streams[one.channel]}" for one in some]
            requests.append(Request(orjson.dumps({"method": method, "params": params, "id": ask_id}), ask_id, some))
        return requests

    def ping(self) -> bytes:
        return b""  # the server's own pings are answered by the WebSocket

    def parse(self, raw: bytes) -> list[Event]:
        try:
            return self._events(orjson.loads(raw))
        except orjson.JSONDecodeError as error:
            raise ParseError("corrupt frame", "JSON", str(error)) from None

    def _events(self, frame: Any) -> list[Event]:
        """What a decoded message says."""
        data = unwrapped(frame)
        event = data.get("e")
        if event == "trade":
            return [trade(data, "t", self._names)]
        if event is None:
            if "lastUpdateId" in data:
                return [snapshot(data)]
            if "u" in data:
                return [best_prices(data, self._names)]
            if "result" in frame or "error" in frame or "code" in frame:
                return [ack(frame)]
        elif event == "depthUpdate":
            return [depth(data, self._names)]
        elif event == "aggTrade":
            return [trade(data, "a", self._names)]
        elif event == "serverShutdown":
            return [Shutdown(text.time_ns(data.get("E"), "E"))]
        raise ParseError("unknown event", "e", event)

    def take(self, frames: Sequence[bytes]) -> list[Event | Refused]:
        """As `parse`, for many: three times as fast where most are trades."""
        return _batch.take(frames, self.parse, self._read)

    def _read(self, values: list[Any], start: int, taken: list[Event | Refused]) -> None:
        """Append each message's event. Trades that are in order are recognised here, the rest by `_events`."""
        add, decimals, names, new = taken.append, DECIMALS, _NAMES, tuple.__new__
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
                taken += self._events(frame)
            except ParseError as error:
                add(Refused(place, error))

    def columns(self, frames: Sequence[bytes]) -> Columns | None:
        """As `Venue.columns`; four times as fast as `take` where all are trades."""
        return self._layout.read(frames)

    def skim(self, raw: bytes) -> int | None:
        """As `Venue.skim`; six times as fast as `parse`, which makes objects of everything in a frame."""
        if _QUOTE_FRAME.fullmatch(raw):
            return 0
        return skimmed(_DEPTH_FRAME.fullmatch(raw))

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        return listed(raw, lambda row: bool(row["status"] == "TRADING"), _NAMES)

    def snapshot_path(self, symbol: str, levels: int) -> str:
        limit = self._limit(levels)
        return f"{self._snapshot_path}?symbol={quote(self.native(symbol))}&limit={limit}"

    def snapshot_weight(self, levels: int) -> int:
        return self._snapshots[self._limit(levels)]

    def _limit(self, levels: int) -> int:
        return min((most for most in self._snapshots if most >= levels), default=max(self._snapshots))

    def parse_snapshot(self, raw: bytes) -> DepthSnapshot:
        return snapshot(text.answer(raw, "depth", dict))

    def backfill_path(self, hole: Hole) -> str:
        # Public since 2023-08 (https://github.com/binance/binance-connector-python/pull/246), though older documents
        # ask for an API key (MARKET_DATA). aggTrades needs none either, but does not have the single trades.
        limit = min(hole.last_id - hole.first_id + 1, MOST_TRADES)
        return f"/api/v3/historicalTrades?symbol={quote(self.native(hole.symbol))}&fromId={hole.first_id}&limit={limit}"

    def parse_backfill(self, hole: Hole, raw: bytes) -> list[Trade]:
        symbol, trades = self.symbol(hole.symbol), []
        for row in text.answer(raw, "historicalTrades", list):
            if type(row) is not dict:
                raise ParseError("corrupt answer", "historicalTrades", row)
            maker_buy = row.get("isBuyerMaker")
            if maker_buy is not True and maker_buy is not False:
                raise ParseError("bad side", "isBuyerMaker", maker_buy)
            trades.append(Trade(
                symbol, text.time_ns(row.get("time"), "time"), text.whole(row, "id"), *text.positive(row, "price"),
                *text.positive(row, "qty"), not maker_buy,
            ))  # fmt: skip
        return text.of_hole(hole, trades)

    def since_path(self, symbol: str, from_ns: int) -> str:
        """Single trades are had by id only; an aggregate is found by its time, and names its first trade."""
        from_ms = -(-from_ns // 1_000_000)
        return f"{self._root}/aggTrades?symbol={quote(self.native(symbol))}&startTime={from_ms}&limit=1"

    def parse_since(self, symbol: str, raw: bytes) -> int | None:
        rows = text.answer(raw, "aggTrades", list)
        if any(type(row) is not dict for row in rows):
            raise ParseError("corrupt answer", "aggTrades", rows)
        return text.whole(rows[0], self._since_id) if rows else None

    def candles_path(self, symbol: str, interval: str, from_ms: int, count: int) -> str:
        name = quote(self.native(symbol))
        return f"{self._root}/klines?symbol={name}&interval={interval}&startTime={from_ms}&limit={count}"

    def candles_weight(self, count: int) -> int:
        return 2

    def parse_candles(self, raw: bytes) -> list[Kline]:
        return [_kline(row) for row in text.answer(raw, "klines", list)]


def _kline(row: Any) -> Kline:
    """Open time, open, high, low, close, volume, close time, turnover, trades, taker buys' volume and turnover."""
    if type(row) is not list or len(row) < 11:
        raise ParseError("corrupt answer", "klines", row)
    data = dict(zip("TohlcvCqnVQ", row, strict=False))
    return Kline(
        text.time_ns(data["T"], "T") // 1_000_000, text.positive(data, "o"), text.positive(data, "h"),
        text.positive(data, "l"), text.positive(data, "c"), text.number(data, "v"), text.number(data, "q"),
        text.whole(data, "n"), text.number(data, "V"), text.number(data, "Q"),
    )  # fmt: skip


VENUE = Binance()
