"""Binance's public trade dumps: CSV lines in, trades out.

`SYMBOL-trades-DATE.csv`: id, price, qty, quote_qty, time, is_buyer_maker[, is_best_match].
`SYMBOL-aggTrades-DATE.csv`: agg_id, price, qty, first_id, last_id, time, is_buyer_maker[, is_best_match].
A header may be there or not; with one, the columns may stand in any order. Times are ms, µs (since 2025) or
ns: the first rows tell, a row in another unit is a fault. An aggregate counts as the trades it stands for.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from wick.errors import ParseError
from wick.market.numbers import parse_decimal
from wick.market.trades import Trade

TRADES, AGGREGATES = "trades", "aggTrades"
MAX_ID = 2**63 - 1
MAX_ROW = 1_000  # bytes of a row: the longest real ones have 120

# Nanoseconds a unit, by the digits of a time: 13 are ms from 2001 to 2286, 16 are µs, 19 are ns.
UNIT_NS = {13: 1_000_000, 16: 1_000, 19: 1}
EARLIEST_NS, LATEST_NS = 1_230_768_000 * 10**9, 4_102_444_800 * 10**9  # 2009-01-01, 2100-01-01

ORDER = {
    TRADES: ("id", "price", "quantity", "quote_quantity", "time", "is_buyer_maker", "is_best_match"),
    AGGREGATES: ("id", "price", "quantity", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match"),
}
# The names that Binance's archives and their mirrors give these columns.
ALIASES = {
    "trade_id": "id", "agg_id": "id", "agg_trade_id": "id", "aggregate_trade_id": "id",
    "qty": "quantity", "quote_qty": "quote_quantity", "base_qty": "quantity",
    "first_trade_id": "first_id", "last_trade_id": "last_id",
    "transact_time": "time", "timestamp": "time",
    "isbuyermaker": "is_buyer_maker", "was_the_buyer_the_maker": "is_buyer_maker",
    "isbestmatch": "is_best_match", "was_best_price_match": "is_best_match",
}  # fmt: skip
NEEDED = {
    TRADES: ("id", "price", "quantity", "time", "is_buyer_maker"),
    AGGREGATES: ("id", "price", "quantity", "first_id", "last_id", "time", "is_buyer_maker"),
}
SIDES = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

_FILE_NAME = re.compile(r"([^\W_]{2,40})-(?:trades|aggTrades)(?:-(\d{4})-(\d{2})(?:-(\d{2}))?)?\.")
_ROW = re.compile(rb"\d+,\d[^,]*,[^,]+,[^,]+,[^,]+,[^,]+")

# Prices repeat from row to row, and so do many quantities.
_decimal = lru_cache(maxsize=16_384)(parse_decimal)


def in_name(name: str) -> tuple[str, int]:
    """What a name (`BTCUSDT-trades-2024-08-08.csv`) tells: symbol, since when (ms) all trades are there."""
    match = _FILE_NAME.match(name)
    if not match:
        return "", 0
    symbol, year, month, day = match.groups()
    try:
        return symbol, int(datetime(int(year), int(month), int(day or 1), tzinfo=UTC).timestamp()) * 1000
    except (TypeError, ValueError):  # no date, or none that there is
        return symbol, 0


def recognise(line: bytes) -> "Layout | None":
    """The layout that this line, a header or a row, belongs to; None where it is neither."""
    cells = _cells(line)
    names = [_column(cell) for cell in cells]
    known = {name for order in ORDER.values() for name in order}
    if len(known.intersection(names)) >= 4:
        return Layout(AGGREGATES if "first_id" in names or "last_id" in names else TRADES, names, line)
    if not _ROW.match(line):
        return None
    # Both kinds begin with id, price, quantity; what tells them apart is where the taker's side stands.
    for kind in (TRADES, AGGREGATES):
        side = ORDER[kind].index("is_buyer_maker")
        if len(cells) > side and cells[side] in SIDES:
            return Layout(kind, (*ORDER[kind], "?")[: len(cells)])
    return None


def _cells(line: bytes) -> list[str]:
    return line[:MAX_ROW].decode("utf-8-sig", "replace").strip().split(",")


def _column(cell: str) -> str:
    name = cell.strip().strip('"').lower().replace(" ", "_")
    return ALIASES.get(name, name)


class Layout:
    """Which column of a dump is what, and the unit of its times."""

    def __init__(self, kind: str, names: Sequence[str], header: bytes = b"") -> None:
        for name in NEEDED[kind]:
            if names.count(name) != 1:
                raise ParseError("wrong CSV column", name, "missing" if name not in names else "there twice")
        self.kind, self.columns, self._header = kind, len(names), header.strip()
        self._at = [names.index(name) for name in ("id", "price", "quantity", "time", "is_buyer_maker")]
        self._ids = [names.index(name) for name in ("first_id", "last_id")] if kind == AGGREGATES else []
        self._digits = 0  # of a time; the first rows tell

    def look(self, lines: Sequence[bytes]) -> int:
        """Learn the unit of the times from the first rows (most decide); the first trade's time (ns)."""
        found: list[tuple[int, int]] = []
        for line in lines:
            self._digits = 0
            try:
                found.append((self._trade("", line).event_ns, self._digits))
            except ParseError:
                continue
        self._digits = Counter(digits for _, digits in found).most_common(1)[0][0] if found else 0
        return next((event_ns for event_ns, digits in found if digits == self._digits), 0)

    def trades(
        self, symbol: str, first: int, lines: list[bytes], fault: Callable[[int, ParseError], None]
    ) -> tuple[Sequence[int], list[int], list[Trade]]:
        """(line numbers, times, trades) of these lines, the first of which has the number `first`."""
        numbers, trades = [], []
        for number, line in enumerate(lines, first):
            try:
                trades.append(self._trade(symbol, line))
            except ParseError as error:
                if line.strip() not in (b"", self._header):  # files with headers may have been joined
                    fault(number, error)
                continue
            numbers.append(number)
        return numbers, [trade.event_ns for trade in trades], trades

    def _trade(self, symbol: str, line: bytes) -> Trade:
        if len(line) > MAX_ROW:
            raise ParseError("wrong CSV column", "row", f"{len(line)} bytes")
        try:
            cells = line.decode("ascii").strip().split(",")
        except UnicodeDecodeError:
            raise ParseError("wrong CSV column", "row", line[:40]) from None
        if len(cells) != self.columns:
            wrong = f"row ({len(cells)} instead of {self.columns})"
            raise ParseError("wrong CSV column", wrong, ",".join(cells)[:60])
        trade_id, price, quantity, time, side = [cells[at] for at in self._at]
        if side not in SIDES:
            raise ParseError("wrong CSV column", "is_buyer_maker", side)
        count = 1
        if self._ids:
            first_id, last_id = [cells[at] for at in self._ids]
            count = _id(last_id, "last_id") - _id(first_id, "first_id") + 1
            if count < 1:
                raise ParseError("wrong CSV column", "last_id", last_id)
        (units, price_decimals), (lots, quantity_decimals) = _decimal(price, "price"), _decimal(quantity, "quantity")
        if not units or not lots:
            column, text = ("quantity", quantity) if units else ("price", price)
            raise ParseError("not a positive number", column, text)
        return Trade(
            symbol, self._time_ns(time), _id(trade_id, "id"),
            units, price_decimals, lots, quantity_decimals, not SIDES[side], count,
        )  # fmt: skip

    def _time_ns(self, text: str) -> int:
        digits = len(text)
        if not (text.isdigit() and text.isascii()) or digits not in UNIT_NS:
            raise ParseError("wrong CSV column", "time", text)
        time_ns = int(text) * UNIT_NS[digits]
        if not EARLIEST_NS <= time_ns < LATEST_NS:
            raise ParseError("absurd time", "time", text)
        if digits != self._digits:
            if self._digits:
                raise ParseError("time in another unit than the rows before", "time", text)
            self._digits = digits
        return time_ns


def _id(text: str, column: str) -> int:
    if not (text.isdigit() and text.isascii()) or len(text) > 19 or (value := int(text)) > MAX_ID:
        raise ParseError("wrong CSV column", column, text)
    return value
