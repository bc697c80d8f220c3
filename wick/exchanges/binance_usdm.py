"""Binance USD-M futures: addresses, limits, bytes to events. Pure. The shapes are those of spot (see `binance`), but:

- `trade` is `aggTrade`: documented, its ids `a` are contiguous, and REST has it without an API key. A plain `trade` is
  read too; what its `X` says is none of the market (INSURANCE_FUND, ADL, NA) gives no event.
- An update of the book names the one before it (`pu`).
- Since 2026-04-23 best prices and books are had at /public, all else at /market. What is asked for at the other address
  is acknowledged and never sent: https://github.com/binance/binance-futures-connector-python/issues/261

https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams, and there
Important-WebSocket-Change-Notice and How-to-manage-a-local-order-book-correctly.
"""

import re
from typing import Any, ClassVar
from urllib.parse import quote

from wick.errors import ParseError
from wick.exchanges import Hole, Instrument, Limits, Refused
from wick.exchanges import _text as text
from wick.exchanges._columns import Layout
from wick.exchanges._text import DECIMALS, EARLIEST_MS, LATEST_MS, MAX_ID, Names
from wick.exchanges.binance import (
    ID,
    MARK,
    MOST_TRADES,
    MS,
    USED_HEADER,
    Binance,
    best_prices,
    depth,
    listed,
    normalise,
    skimmed,
    trade,
    unwrapped,
    walk,
)
from wick.market.trades import Event, Trade

_NAME = re.compile(r"[^\W_]{2,40}(?:_[0-9]{6})?")  # a dated contract tells the day of its delivery: BTCUSDT_250328


def _symbol(native: str) -> str:
    """`BTCUSDT_250328` -> `BTC-USDT_250328`."""
    pair, dash, day = native.partition("_")
    return normalise(pair) + dash + day


def _checked(native: str) -> str:
    if not _NAME.fullmatch(native):
        raise ParseError("bad symbol", "s", native)
    return _symbol(native)


_NAMES = Names(_checked)

# See `binance`: the frames that have no trade, by their bytes. Numbers in whole steps have no point here.
_PLAIN = rb'"[0-9]{1,10}+(?:\.[0-9]{1,8}+)?"'
_LEVELS = rb"\[(?:\[P,P\](?:,\[P,P\])*+)?\]".replace(b"P", _PLAIN)
_STREAM, _SYMBOL = rb'\{"stream":"[a-z0-9_]{2,50}', rb'"s":"[A-Z0-9]{2,40}(?:_[0-9]{6})?"'
_QUOTE_FRAME = re.compile(
    rb'%b@bookTicker","data":\{"e":"bookTicker","u":%b,%b,"b":%b,"B":%b,"a":%b,"A":%b,"T":%b,"E":%b\}\}'
    % (_STREAM, ID, _SYMBOL, _PLAIN, _PLAIN, _PLAIN, _PLAIN, MS, MS)
)
_DEPTH_FRAME = re.compile(
    rb'%b@depth@100ms","data":\{"e":"depthUpdate","E":(%b),"T":%b,%b,"U":(%b),"u":(%b),"pu":%b,"b":%b,"a":%b\}\}'
    % (_STREAM, MS, MS, _SYMBOL, ID, ID, ID, _LEVELS, _LEVELS)
)


class BinanceUsdm(Binance):
    """Binance USD-M futures (see `Venue`)."""

    id = "binance-usdm"
    title = "Binance USD-M futures"
    ws_url = "wss://fstream.binance.com"
    rest_url = "https://fapi.binance.com"
    ws_path = "/public/stream"
    symbols_path = "/fapi/v1/exchangeInfo"
    # 24 hours, 10 messages a second, pongs among them: https://developers.binance.com/docs/derivatives/
    # usds-margined-futures/websocket-market-streams. It allows 1,024 streams now, and did 200, as the page on options
    # still says: more connections cost little. Connects are as on spot, the page has none. REST: its exchangeInfo.
    limits = Limits(200, (8, 1.0), (300, 300.0), (2_400, 60.0), used_header=USED_HEADER, lifetime_s=24 * 3600)
    backfill_weight = 20

    _names = _NAMES
    _layout = Layout(MARK, walk, _NAMES)
    _streams: ClassVar = {"trade": "aggTrade", "quote": "bookTicker", "depth": "depth@100ms"}
    _snapshots: ClassVar = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1_000: 20}
    _snapshot_path = "/fapi/v1/depth"
    _root = "/fapi/v1"
    _since_id = "a"
    since_weight = 20
    candles = ("1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M")

    def symbol(self, native: str) -> str:
        return native if "-" in native else _symbol(native.upper())

    def path(self, channel: str) -> str:
        return "/market/stream" if channel == "trade" else self.ws_path

    def _events(self, frame: Any) -> list[Event]:
        data = unwrapped(frame)
        event = data.get("e")
        if event == "depthUpdate":
            return [depth(data, _NAMES, text.whole(data, "pu"))]
        if event == "bookTicker":
            return [best_prices(data, _NAMES)]
        if event == "trade" and data.get("X", "MARKET") != "MARKET":
            return []
        return super()._events(frame)

    def _read(self, values: list[Any], start: int, taken: list[Event | Refused]) -> None:
        add, decimals, names, new = taken.append, DECIMALS, _NAMES, tuple.__new__
        for place, frame in enumerate(values, start):
            try:
                data = frame["data"]
                if data.get("e") == "aggTrade":
                    price, price_decimals = decimals[data["p"]]
                    quantity, quantity_decimals = decimals[data["q"]]
                    time_ms, trade_id, maker_buy, first, last = data["T"], data["a"], data["m"], data["f"], data["l"]
                    if (
                        price
                        and quantity
                        and type(time_ms) is int
                        and EARLIEST_MS <= time_ms < LATEST_MS
                        and type(trade_id) is int
                        and 0 <= trade_id <= MAX_ID
                        and type(first) is int
                        and type(last) is int
                        and 0 < first <= last <= MAX_ID
                        and (maker_buy is True or maker_buy is False)
                    ):
                        add(new(Trade, (
                            names[data["s"]], time_ms * 1_000_000, trade_id, price, price_decimals, quantity,
                            quantity_decimals, not maker_buy, last - first + 1,
                        )))  # fmt: skip
                        continue
            except (KeyError, AttributeError, TypeError, ParseError):
                pass
            try:
                taken += self._events(frame)
            except ParseError as error:
                add(Refused(place, error))

    def skim(self, raw: bytes) -> int | None:
        if _QUOTE_FRAME.fullmatch(raw):
            return 0
        return skimmed(_DEPTH_FRAME.fullmatch(raw))

    def parse_symbols(self, raw: bytes) -> list[Instrument]:
        """Perpetual and dated contracts; one that is being delivered trades no more."""
        return listed(raw, lambda row: bool(row["status"] == "TRADING" and row["contractType"]), _NAMES)

    def backfill_path(self, hole: Hole) -> str:
        limit = min(hole.last_id - hole.first_id + 1, MOST_TRADES)
        return f"/fapi/v1/aggTrades?symbol={quote(self.native(hole.symbol))}&fromId={hole.first_id}&limit={limit}"

    def parse_backfill(self, hole: Hole, raw: bytes) -> list[Trade]:
        native, rows = self.native(hole.symbol), text.answer(raw, "aggTrades", list)
        for row in rows:
            if type(row) is not dict:
                raise ParseError("corrupt answer", "aggTrades", row)
        return text.of_hole(hole, [trade({**row, "s": native}, "a", _NAMES) for row in rows])

    def candles_weight(self, count: int) -> int:
        return 1 if count < 100 else 2 if count < 500 else 5


VENUE = BinanceUsdm()
