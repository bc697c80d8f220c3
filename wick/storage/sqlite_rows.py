"""A candle as a row of the SQLite store: what only readers want of it is packed into one column, `data`.

As columns of their own the values take ten times as long to read: SQLite and Python look at each. Here those of one
field lie at equal distances, once the rows are joined. Exact fields are kept whole, prices less the close and ids less
the last one; of the others as `market.stored` has them, numbers of so many binary digits as float32, which they fit,
and prices less the close again. What is not known has a bit in `nulls`; so has what does not fit: it is in `wide`.
"""

import json
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import repeat
from math import inf
from operator import add, or_, sub
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wick.market.schema import FORMED_FIELDS
from wick.market.stored import (
    COLUMNS,
    DIGITS,
    LENGTH_MS,
    LESS,
    OPEN,
    PATTERNS,
    PRICE,
    RATIO,
    SIGNED,
    WHOLE,
    WIDE,
    Column,
    Reader,
    of_digits,
)
from wick.metrics.fields import NAMES as METRIC_NAMES

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch

DATA: Final = "data"
# Columns of their own: what the rank is made of, what others are kept less, and a bit for each that is not known.
NULLS: Final = "nulls"
BESIDE: Final = ("flags", "revision", "known", "obv_anchor_ms", NULLS, "close", DATA)
_CODES: Final = {"v": 8, "q": 8, "i": 4, "f": 4, "h": 2, "b": 1}
KEPT: Final = (OPEN, *BESIDE, PATTERNS, WIDE)
# Exact fields that are kept in four bytes, less another.
_BASES: Final = {
    "open": "close", "high": "close", "low": "close", "first_trade_id": "last_trade_id", "cvd_anchor_ms": OPEN,
}  # fmt: skip
# Those that follow from others nearly always, and are in `wide` where they do not.
_FOLLOW: Final = ("close_time_ms", "delta")
_EXACT: Final = {name: at for at, name in enumerate(FORMED_FIELDS[: FORMED_FIELDS.index("vwap")])}
_COLUMN: Final = {column.name: column for column in COLUMNS}


def _code(column: Column) -> str:
    if column.kind in (DIGITS, SIGNED):
        return "f"
    if column.name in ("price_decimals", "quantity_decimals"):
        return "b"
    if column.name in ("flags", "unknown") or (column.kind == RATIO and column.n == 4):
        return "h"
    if column.name in ("quote_volume", "taker_buy_quote_volume", "last_trade_id"):
        return "q"  # a trade or two, and it needs more than four
    return "i" if column.name in (*_BASES, "revision", "trade_count") or column.kind not in (WHOLE, LESS) else "v"


class Place(NamedTuple):
    """Of a column in `data`: its type, where it begins, its bit in `nulls`."""

    code: str
    at: int
    bit: int


def _laid_out() -> tuple[dict[str, Place], int]:
    """What may need eight bytes (`v`) lies at the front, and has four in a row where all of it fits; from behind that on
    the others are at the same places in all rows."""
    names = [column.name for column in COLUMNS if column.name not in ("known", "obv_anchor_ms", "close", *_FOLLOW)]
    names.sort(key=lambda name: [*_CODES].index(_code(_COLUMN[name])))
    always = ("flags", "revision", "unknown", "price_decimals", "quantity_decimals")
    bits = {name: 1 << at for at, name in enumerate([name for name in (*names, *_FOLLOW, "close") if name not in always])}
    places: dict[str, Place] = {}
    ends = {"front": 0, "rest": 0}
    for name in names:
        code = _code(_COLUMN[name])
        part = "front" if code == "v" else "rest"
        places[name] = Place(code, ends[part], bits.get(name, 0))
        ends[part] += _CODES[code]
    for name in (*_FOLLOW, "close"):
        places[name] = Place("", 0, bits[name])
    return places, -(-ends["rest"] // 8) * 8


PLACES, _REST = _laid_out()
_FRONT: Final = [name for name, place in PLACES.items() if place.code == "v"]
_WIDE, _NARROW = Struct(f"<{len(_FRONT)}q"), Struct(f"<{len(_FRONT)}i")


# ---------------------------------------------------------------------- out


def asked(needed: Iterable[str]) -> list[str]:
    """The table's columns for what `stored.needs` names."""
    own = (OPEN, "obv_anchor_ms", NULLS, "close", DATA, PATTERNS, WIDE)
    return [name for name in own if name in needed or name in BESIDE[-3:]]


def reader(interval: int, needed: Sequence[str], told: dict[str, Sequence[Any]]) -> Reader:
    """Of columns of the table."""
    page = _Page(interval, told)
    kept = {name: page.column(name) for name in needed if name in PLACES}
    nulls, closes = told[NULLS], told["close"]
    if any(nulls):
        some = reduce(or_, nulls)
        for name in kept:
            bit = PLACES[name].bit
            if some & bit:
                kept[name] = [None if bits & bit else value for value, bits in zip(kept[name], nulls, strict=True)]
    if any(told[WIDE]):
        _put_wide(kept, told[WIDE], closes)
    own = {name: values for name, values in told.items() if name not in (DATA, NULLS)} | kept
    own[WIDE] = (None,)
    return Reader(interval, own, {name: values for name, values in kept.items() if name in _READY}, closes)


_READY: Final = {column.name for column in COLUMNS if column.kind in (WHOLE, LESS, DIGITS, SIGNED)}


def _put_wide(kept: dict[str, Sequence[Any]], wide: Sequence[dict[str, str] | None], closes: Sequence[int]) -> None:
    for at, numbers in enumerate(wide):
        for name, text in (numbers or {}).items():
            if name in kept:
                column, value = _COLUMN[name], int(text)
                if column.kind in (DIGITS, SIGNED):
                    (value,) = of_digits([value], column.n, column.least, column.kind == SIGNED)
                elif column.kind == PRICE:
                    value -= closes[at] * 10**column.n
                kept[name] = [*kept[name][:at], value, *kept[name][at + 1 :]]


class _Page:
    """Columns of joined rows; what is not known is any number here."""

    def __init__(self, interval: int, told: dict[str, Sequence[Any]]) -> None:
        data = told[DATA]
        sizes = {*map(len, data)}
        if len(sizes) > 1:
            sizes = {_WIDE.size + _REST}
            data = [_widened(row) for row in data]
        self._data = b"".join(data)
        (self._width,) = sizes
        self._front = self._width - _REST
        self._opens, self._length = told[OPEN], LENGTH_MS[interval]
        self._typed: dict[str, array[Any]] = {}
        self.values: dict[str, Sequence[Any]] = {"close": told["close"]}

    def raw(self, name: str) -> list[Any]:
        code, at, _ = PLACES[name]
        if code != "v":
            at += self._front
        elif self._front == _NARROW.size:
            code, at = "i", at // 2
        else:
            code = "q"
        typed = self._typed.get(code)
        if typed is None:
            typed = self._typed[code] = array(code, self._data)
            if sys.byteorder == "big":
                typed.byteswap()
        size = typed.itemsize
        return typed[at // size :: self._width // size].tolist()

    def column(self, name: str) -> Sequence[Any]:
        made = self.values.get(name)
        if made is None:
            made = self.values[name] = self._column(name)
        return made

    def _column(self, name: str) -> Sequence[Any]:
        if name == "close_time_ms":
            return list(map(add, self._opens, repeat(self._length)))
        if name == "delta":
            bought = self.column("taker_buy_volume")
            return list(map(sub, map(add, bought, bought), self.column("volume")))
        own = self.raw(name)
        base = _BASES.get(name)
        if base is not None:
            return list(map(add, own, self._opens if base == OPEN else self.column(base)))
        return own


def _widened(row: bytes) -> bytes:
    if len(row) == _WIDE.size + _REST:
        return row
    return _WIDE.pack(*_NARROW.unpack_from(row)) + row[_NARROW.size :]


# ---------------------------------------------------------------------- in


_INTEGERS: Final = ["close", *(name for name, place in PLACES.items() if place.code and place.code != "f")]
_FLOATS: Final = [name for name, place in PLACES.items() if place.code == "f"]
_ORDER: Final = [name for name in _INTEGERS if name in _EXACT] + [name for name in _INTEGERS if name not in _EXACT]
# What is less than this fits for sure; differences are compared as floats.
_MOST: Final = {"": inf, "v": inf, "q": inf, "i": 2.0**30, "h": 2.0**15 - 1, "b": 2.0**7 - 1}


def packed(batch: "Batch") -> list[list[Any]]:
    """The columns KEPT."""
    import numpy as np

    from wick.storage import columns
    from wick.storage.batch import MISSING

    kept, n = columns.of(batch), batch.n
    number = {column.name: at for at, column in enumerate(COLUMNS)}
    wide = {place: {name: value for name, value in told.items() if name not in _EXACT}
            for place, told in kept.wide.items()}  # fmt: skip
    # Integers, the exact ones first, each with what it is kept less.
    first = sum(name in _EXACT for name in _ORDER)
    others = [number[name] for name in _ORDER[first:]]
    exact = [_EXACT[name] for name in (*_ORDER[:first], *_FOLLOW)]
    whole = batch.exact.T[exact]
    missing = whole == MISSING
    whole[missing] = 0
    values, null = np.concatenate((whole[:first], kept.values[others])), np.concatenate((missing[:first], kept.null[others]))
    at = {name: place for place, name in enumerate(_ORDER)}
    base, far = np.zeros_like(values), np.zeros(values.shape)
    opens = batch.exact[:, 0]
    for place, name in enumerate(_ORDER):
        own = _COLUMN[name]
        if name in _BASES or own.kind == PRICE:
            less = opens if _BASES.get(name) == OPEN else values[at[_BASES.get(name, "close")]]
            ten = 10**own.n if own.kind == PRICE else 1
            base[place], far[place] = less * ten, less * float(ten)
    over = (np.abs(values - far) >= np.array([_MOST[PLACES[name].code] for name in _ORDER])[:, None]) & ~null
    less = np.where(null | over, 0, values - base)
    # What follows, where it does not.
    usual = np.stack((opens + np.array(LENGTH_MS)[batch.interval], 2 * values[at["taker_buy_volume"]] - values[at["volume"]]))
    other = (whole[first:] != usual) & ~missing[first:]
    # Numbers of binary digits, as float32 has them.
    codes, unknown = (told[[number[name] for name in _FLOATS]] for told in (kept.values, kept.null))
    signed = np.array([[_COLUMN[name].kind == SIGNED] for name in _FLOATS])
    digits = np.array([[_COLUMN[name].n] for name in _FLOATS])
    begin = (np.array([[_COLUMN[name].least + 126] for name in _FLOATS]) << digits) - 1
    size = np.where(signed, codes >> 1, codes)
    huge = (size + begin >= 255 << digits) & ~unknown
    bits = np.where((size == 0) | unknown | huge, 0, (size + begin << 23 - digits) | (signed & codes) << 31)

    for names, told, beyond in ((_ORDER, values, over), (_FOLLOW, whole[first:], other), (_FLOATS, codes, huge)):
        for row, place in zip(*(found.tolist() for found in np.nonzero(beyond)), strict=True):
            wide.setdefault(place, {})[names[row]] = int(told[row, place])
    for place, formed in batch.big.items():
        for name in (*_ORDER[:first], *_FOLLOW):
            value = formed[_EXACT[name]]
            if value is not None and abs(value) >= 2**63:
                wide.setdefault(place, {})[name] = value
                (other[_FOLLOW.index(name)] if name in _FOLLOW else over[at[name]])[place] = True

    absent = np.concatenate((null | over, missing[first:] | other, unknown | huge))
    bit = np.array([PLACES[name].bit for name in (*_ORDER, *_FOLLOW, *_FLOATS)])
    parts = dict(zip(_ORDER, less, strict=True)) | dict(zip(_FLOATS, bits, strict=True))
    rest = np.zeros((n, _REST), np.uint8)
    for code, width in _CODES.items():
        if code != "v":
            names = [name for name, place in PLACES.items() if place.code == code]
            begin_at = PLACES[names[0]].at
            section = rest[:, begin_at : begin_at + width * len(names)].view("<u4" if code == "f" else f"<i{width}")
            section[:] = np.stack([parts[name] for name in names], axis=1)
    front = np.stack([parts[name] for name in _FRONT], axis=1)
    wide_fronts, narrow_fronts, rests = (
        _cut(told.tobytes(), told.itemsize * told.shape[1]) for told in (front.astype("<i8"), front.astype("<i4"), rest)
    )
    is_narrow = (np.abs(front) < 2**31).all(axis=1).tolist()
    fronts = zip(is_narrow, narrow_fronts, wide_fronts, strict=True)
    data = [(narrow if is_so else whole_one) + behind
            for (is_so, narrow, whole_one), behind in zip(fronts, rests, strict=True)]  # fmt: skip
    plain = {name: batch.exact[:, _EXACT[name]].tolist() for name in ("flags", "revision")}
    anchor = batch.metrics[:, _ANCHOR].tolist()
    told = {
        OPEN: opens.tolist(), **plain, "known": kept.values[number["known"]].tolist(),
        "obv_anchor_ms": [None if value != value else int(value) for value in anchor],
        NULLS: (bit @ absent).tolist(), "close": parts["close"].tolist(), DATA: data, PATTERNS: kept.patterns.cut(),
        WIDE: [_text(wide.get(place)) for place in range(n)],
    }  # fmt: skip
    return list(told.values())


_ANCHOR: Final = METRIC_NAMES.index("obv_anchor_ms")


def _text(numbers: dict[str, int] | None) -> str | None:
    return json.dumps({name: str(value) for name, value in numbers.items()}) if numbers else None


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


# ---------------------------------------------------------------------- in SQL


def hexadecimal() -> str:
    """The digits of what is in `data`, of each column by the name behind x_, and what they are looked up in."""
    made = ["'123456789ABCDEF' AS d", "'89ABCDEF01234567' AS s", f"length(data) = {_NARROW.size + _REST} AS narrow"]
    for name, (code, at, _) in PLACES.items():
        if code == "v":
            made.append(f"hex(substr(data,{at // 2 + 1},4)) AS y_{name},hex(substr(data,{at + 1},8)) AS x_{name}")
        elif code:
            made.append(f"hex(substr(data,{at - _REST},{_CODES[code]})) AS x_{name}")
    return ",".join(made)


def whole(name: str) -> str:
    """A number of `stored.COLUMNS` (exact fields whole), in SQL, of what `hexadecimal` tells and the table's columns."""
    if name in ("known", "obv_anchor_ms"):
        return f"{name} AS {name}"
    code, _, bit = PLACES[name]
    column = _COLUMN[name]
    if name == "close_time_ms":
        told = f"{OPEN}+length_ms"
    elif name == "delta":
        told = f"2*{_number('taker_buy_volume')}-{_number('volume')}"
    elif name == "close":
        told = name
    elif code == "f":
        # As `stored.DIGITS` has them, made of what float32 has.
        first = (column.least + 126 << column.n) - 1
        size = f"max(({_number(name)}&{2**31 - 1})>>{23 - column.n},{first})-{first}"
        told = f"2*({size})+(instr(s,substr(x_{name},7,1))<9)" if column.kind == SIGNED else size
    else:
        told = _number(name)
        base = "close" if column.kind == PRICE else _BASES.get(name)
        if base is not None:
            told += f"+{base if base in (OPEN, 'close') else _number(base)}*{10**column.n}"
    if bit:
        told = f"CASE WHEN nulls&{bit} THEN CAST(json_extract(wide,'$.{name}') AS NUMERIC) ELSE {told} END"
    return f"{told} AS {name}"


def _number(name: str) -> str:
    code = PLACES[name].code
    if code == "v":
        return f"CASE narrow WHEN 1 THEN {_digits(f'y_{name}', 4)} ELSE {_digits(f'x_{name}', 8)} END"
    return _digits(f"x_{name}", _CODES[code])


def _digits(text: str, width: int) -> str:
    """Little-endian bytes as hexadecimal digits, the only way in. The first digit of the last is above 7 below 0."""
    places = [(2 * byte + 1 + low, 8 * byte + 4 * (1 - low)) for byte in range(width) for low in (0, 1)]
    last = 2 * width - 1
    told = [f"(instr(d,substr({text},{at},1))<<{shift})" for at, shift in places if at != last]
    return f"({'|'.join(told)}|((instr(s,substr({text},{last},1))-9)<<{8 * width - 4}))"
