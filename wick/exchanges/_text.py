"""What venues write alike: decimal texts, ids, times, names, levels of a book. Checked readers of them, pure.

A reader takes the message (a dict), and the field's name, and raises ParseError with both for whatever does not fit.
What is wanted for every trade is remembered, in bounded memories: `DECIMALS`, `SECONDS`, `Names`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any

import orjson

from wick.errors import ParseError
from wick.exchanges import Hole
from wick.market.numbers import MAX_MANTISSA, POW10, parse_decimal
from wick.market.trades import Levels, Quote, Trade

EARLIEST_MS, LATEST_MS = 1_230_768_000_000, 4_102_444_800_000  # 2009-01-01, 2100-01-01
MICROSECONDS_FROM = 10**14  # as milliseconds that is the year 5138
MAX_ID = 2**63 - 1
MAX_EXPONENT = 30
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_SCIENTIFIC = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?[eE]([+-]?[0-9]{1,3})")
# Of JSON. Possessive: what does not fit fails at once.
PLAIN = rb'"[0-9]{1,20}+(?:\.[0-9]{1,20}+)?+"'
_NUMBERS = re.compile(rb"\[(?:%b(?:,%b)*+)?+\]" % (PLAIN, PLAIN))
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")


class Decimals(dict[str, tuple[int, int]]):
    """`parse_decimal` that remembers. Prices and sizes repeat: two of three numbers of a real stream are found here."""

    def __missing__(self, text: str) -> tuple[int, int]:
        number = parse_decimal(text)
        if len(self) >= 65_536:
            self.clear()
        self[text] = number
        return number


class Seconds(dict[str, int]):
    """Nanoseconds since the epoch of `2024-08-09T00:00:00`, UTC, remembered: trades come many a second."""

    def __missing__(self, text: str) -> int:
        try:
            if not _SECOND.fullmatch(text):
                raise ValueError
            ms = round(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1000
        except ValueError:
            raise ParseError("bad time", "time", text) from None
        if not EARLIEST_MS <= ms < LATEST_MS:
            raise ParseError("absurd time", "time", text)
        if len(self) >= 4_096:
            self.clear()
        self[text] = ms * 1_000_000
        return ms * 1_000_000


class Names(dict[str, str]):
    """The symbols of native names, remembered: `made(native)`, which raises ParseError for what is no name."""

    def __init__(self, made: Callable[[str], str]) -> None:
        super().__init__()
        self._made = made

    def __missing__(self, native: str) -> str:
        if type(native) is not str:
            raise ParseError("bad symbol", "symbol", native)
        symbol = self._made(native)
        if len(self) >= 16_384:
            self.clear()
        self[native] = symbol
        return symbol


DECIMALS, SECONDS = Decimals(), Seconds()


def name(data: dict[str, Any], field: str, names: Names) -> str:
    """The symbol of the native name."""
    native = data.get(field)
    if type(native) is not str:
        raise ParseError("bad symbol", field, native)
    try:
        return names[native]
    except ParseError as error:
        raise ParseError(error.reason, field, native) from None


def whole(data: dict[str, Any], field: str) -> int:
    """An id: 0..2^63-1."""
    value = data.get(field)
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ParseError("bad id", field, value)
    return value


def number(data: dict[str, Any], field: str) -> tuple[int, int]:
    """A decimal text: its mantissa and decimals."""
    text = data.get(field)
    if type(text) is not str:
        raise ParseError("not a decimal string", field, text)
    try:
        return DECIMALS[text]
    except ParseError as error:
        raise ParseError(error.reason, field, text) from None


def plain(text: object, field: str) -> str:
    """The text of a JSON number without its exponent, exactly."""
    if type(text) is not str:
        raise ParseError("not a decimal string", field, text)
    found = _SCIENTIFIC.fullmatch(text)
    if not found:
        return text
    digits, fraction, exponent = found[1], found[2] or "", int(found[3])
    if abs(exponent) > MAX_EXPONENT:
        raise ParseError("more digits than wick keeps", field, text)
    point = len(digits) + exponent
    digits = (digits + fraction).ljust(point, "0").rjust(len(digits) + len(fraction) - point + 1, "0")
    point = max(point, 1)
    return f"{digits[:point]}.{digits[point:]}".rstrip(".")


def positive(data: dict[str, Any], field: str) -> tuple[int, int]:
    """The same, more than 0."""
    found = number(data, field)
    if not found[0]:
        raise ParseError("not a positive number", field, data.get(field))
    return found


def step(data: dict[str, Any], field: str) -> str:
    """The step of a price or a quantity, as the venue writes it; empty where it has none."""
    return data[field] if field in data and number(data, field)[0] else ""


def time_ns(value: object, field: str) -> int:
    """Milliseconds or microseconds since the epoch as nanoseconds."""
    if type(value) is not int:
        raise ParseError("bad time", field, value)
    ms, factor = (value // 1000, 1_000) if value >= MICROSECONDS_FROM else (value, 1_000_000)
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise ParseError("absurd time", field, value)
    return value * factor


def rfc3339_ns(value: object, field: str) -> int:
    """`2024-08-09T00:00:00.123456Z`, with 0 to 9 digits of the fraction, as nanoseconds since the epoch."""
    if type(value) is not str or value[-1:] != "Z":
        raise ParseError("bad time", field, value)
    try:
        at_ns = SECONDS[value[:19]]
    except ParseError as error:
        raise ParseError(error.reason, field, value) from None
    fraction = value[20:-1]
    if value[19] == "." and fraction.isdigit() and fraction.isascii() and len(fraction) <= 9:
        return at_ns + int(fraction.ljust(9, "0"))
    if len(value) == 20:
        return at_ns
    raise ParseError("bad time", field, value)


Decimal = tuple[int, int]


def quote(symbol: str, update_id: int, bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal) -> Quote:
    """A Quote of checked numbers, in common units."""
    (b, prices), (bs, sizes), (a, prices_too), (asz, sizes_too) = bid, bid_size, ask, ask_size
    if prices != prices_too:
        common = max(prices, prices_too)
        b, a, prices = b * POW10[common - prices], a * POW10[common - prices_too], common
    if sizes != sizes_too:
        common = max(sizes, sizes_too)
        bs, asz, sizes = bs * POW10[common - sizes], asz * POW10[common - sizes_too], common
    if max(b, a, bs, asz) > MAX_MANTISSA:
        raise ParseError("more digits than wick keeps", "quote", [bid, bid_size, ask, ask_size])
    return tuple.__new__(Quote, (symbol, update_id, b, bs, a, asz, prices, sizes))


def check_numbers(numbers: Sequence[str], field: str) -> None:
    """ParseError unless each is a plain decimal: digits, or digits, a point, digits. TypeError where one is no text."""
    if not _NUMBERS.fullmatch(orjson.dumps(numbers)):
        for one in numbers:
            if not _NUMBER.fullmatch(one):
                raise ParseError("not a plain decimal", field, one)


def levels(data: dict[str, Any], field: str, width: int = 2) -> Levels:
    """The levels of a side: lists of so many decimal texts, as they came."""
    rows: Levels | None = data.get(field)
    if type(rows) is not list:
        raise ParseError("bad levels", field, rows)
    try:
        # One look at all of them, as JSON again: a match for each would cost ten times as much.
        if not _rows(width).fullmatch(orjson.dumps(rows)):
            if set(map(type, rows)) != {list} or set(map(len, rows)) != {width}:
                raise TypeError
            check_numbers([*chain.from_iterable(rows)], field)
    except TypeError:
        raise ParseError("bad levels", field, rows) from None
    return rows


@cache
def _rows(width: int) -> re.Pattern[bytes]:
    """The JSON of lists of so many plain decimals."""
    row = rb"\[%b\]" % b",".join([PLAIN] * width)
    return re.compile(rb"\[(?:%b(?:,%b)*+)?+\]" % (row, row))


def answer(raw: bytes, what: str, kind: type) -> Any:
    """REST's JSON, which is a `kind`: dict or list."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ParseError("corrupt answer", what, str(error)) from None
    if type(value) is not kind:
        raise ParseError("corrupt answer", what, value)
    return value


def of_hole(hole: Hole, trades: Iterable[Trade]) -> list[Trade]:
    """Those of the hole, each once, by rising id."""
    wanted = {one.trade_id: one for one in trades if hole.first_id <= one.trade_id <= hole.last_id}
    return [wanted[trade_id] for trade_id in sorted(wanted)]
