"""A candle as a row of the SQLite store: what only readers want of it is packed into one column, `data`.

As columns of their own the values take ten times as long to read: SQLite and Python look at each. Here those of one
field lie at equal distances, once the rows are joined. Exact fields are kept whole, prices less the close and ids less
the last one; of the others as `market.stored` has them, numbers of so many binary digits as float32, which they fit,
and prices less the close again. What is not known has a bit in `nulls`; so has what does not fit: it is in `wide`.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import repeat
from operator import add, or_, sub
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
    of_digits,
)

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch

DATA: Final = "data"
BESIDE: Final = ("flags", "revision", "known", "obv_anchor_ms")  # columns of their own, for the rank
_CODES: Final = {"q": 8, "i": 4, "f": 4, "h": 2, "b": 1}
_NULLS: Final = "nulls"
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
    return "i" if column.name in (*_BASES, "revision", "trade_count") or column.kind not in (WHOLE, LESS) else "q"


class Place(NamedTuple):
    """Of a column in `data`: its type, its first byte, its bit in `nulls`."""

    code: str
    at: int
    bit: int


def _laid_out() -> tuple[dict[str, Place], int]:
    names = [column.name for column in COLUMNS if column.name not in ("known", "obv_anchor_ms", *_FOLLOW)]
    names.sort(key=lambda name: [*_CODES].index(_code(_COLUMN[name])))
    always = ("flags", "revision", "unknown", "price_decimals", "quantity_decimals")
    bits = {name: 1 << at for at, name in enumerate([name for name in names if name not in always] + [*_FOLLOW])}
    places, at = {_NULLS: Place("q", 0, 0)}, 8
    for name in names:
        places[name] = Place(_code(_COLUMN[name]), at, bits.get(name, 0))
        at += _CODES[places[name].code]
    for name in _FOLLOW:
        places[name] = Place("", 0, bits[name])
    return places, -(-at // 8) * 8


PLACES, WIDTH = _laid_out()


# ---------------------------------------------------------------------- out


def asked(needed: Iterable[str]) -> list[str]:
    """The table's columns for what `stored.needs` names."""
    return [name for name in (OPEN, "obv_anchor_ms", DATA, PATTERNS, WIDE) if name in needed or name == DATA]


def unpacked(
    interval: int, needed: Sequence[str], told: dict[str, Sequence[Any]]
) -> tuple[dict[str, Sequence[Any]], dict[str, Sequence[Any]]]:
    """`told` and `made` for a `stored.Reader`, of columns of the table."""
    page = _Page(interval, told)
    for name in needed:
        if name in PLACES:
            page.column(name)
    kept: dict[str, Sequence[Any]] = {name: page.values[name] for name in needed if name in page.values}
    nulls = page.raw(_NULLS)
    if any(nulls):
        some = reduce(or_, nulls)
        for name in kept:
            bit = PLACES[name].bit
            if some & bit:
                kept[name] = [None if bits & bit else value for value, bits in zip(kept[name], nulls, strict=True)]
    own = {name: values for name, values in told.items() if name != DATA}
    if any(told[WIDE]):
        _put_wide(kept, told[WIDE])
        own[WIDE] = [None] * len(nulls)
    ready = {name: values for name, values in kept.items() if _is_ready(_COLUMN[name])}
    return {**own, **kept}, ready


def _is_ready(column: Column) -> bool:
    return column.kind in (WHOLE, LESS, DIGITS, SIGNED)


def _put_wide(kept: dict[str, Sequence[Any]], wide: Sequence[dict[str, str] | None]) -> None:
    for at, numbers in enumerate(wide):
        for name, text in (numbers or {}).items():
            if name in kept:
                column, value = _COLUMN[name], int(text)
                values = kept[name] = [*kept[name]]
                is_code = column.kind in (DIGITS, SIGNED)
                values[at] = (
                    of_digits([value], column.n, column.least, column.kind == SIGNED)[0] if is_code else value
                )


class _Page:
    """Columns of joined rows; what is not known is any number here."""

    def __init__(self, interval: int, told: dict[str, Sequence[Any]]) -> None:
        self._data = b"".join(told[DATA])
        self._opens, self._length = told[OPEN], LENGTH_MS[interval]
        self._typed: dict[str, array[Any]] = {}
        self._closes: dict[int, list[int]] = {}
        self.values: dict[str, Sequence[Any]] = {}

    def raw(self, name: str) -> list[Any]:
        code, at, _ = PLACES[name]
        typed = self._typed.get(code)
        if typed is None:
            typed = self._typed[code] = array(code, self._data)
            if sys.byteorder == "big":
                typed.byteswap()
        size = typed.itemsize
        return typed[at // size :: WIDTH // size].tolist()

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
        column = _COLUMN[name]
        if column.kind == PRICE:
            if column.n not in self._closes:
                ten = 10**column.n
                self._closes[column.n] = [price * ten for price in self.column("close")]
            return list(map(add, own, self._closes[column.n]))
        return own


# ---------------------------------------------------------------------- in


_INTEGERS: Final = [name for name, place in PLACES.items() if place.code in "qihb" and place.code and name != _NULLS]
_FLOATS: Final = [name for name, place in PLACES.items() if place.code == "f"]
_ORDER: Final = [name for name in _INTEGERS if name in _EXACT] + [name for name in _INTEGERS if name not in _EXACT]
# What is less than this fits for sure; differences are compared as floats.
_MOST: Final = {"q": float("inf"), "i": 2.0**30, "h": 2.0**15 - 1, "b": 2.0**7 - 1}


def packed(batch: "Batch") -> tuple[list[bytes], list[bytes | None], list[int], dict[int, dict[str, int]]]:
    """Of each candle `data`, `patterns` and `known`; and by candle what is in `wide`."""
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
    parts = {_NULLS: bit @ absent} | dict(zip(_ORDER, less, strict=True)) | dict(zip(_FLOATS, bits, strict=True))
    rows = np.zeros((n, WIDTH), np.uint8)
    for code, width in _CODES.items():
        names = [name for name, place in PLACES.items() if place.code == code]
        begin_at = PLACES[names[0]].at
        section = rows[:, begin_at : begin_at + width * len(names)].view("<u4" if code == "f" else f"<i{width}")
        section[:] = np.stack([parts[name] for name in names], axis=1)
    data = rows.tobytes()
    return (
        [data[begin : begin + WIDTH] for begin in range(0, n * WIDTH, WIDTH)],
        kept.patterns, kept.values[number["known"]].tolist(), {place: told for place, told in wide.items() if told},
    )  # fmt: skip


# ---------------------------------------------------------------------- in SQL


def whole(name: str) -> str:
    """A number of `stored.COLUMNS` (exact fields whole), in SQL, of a row of the table."""
    if name in ("known", "obv_anchor_ms"):
        return f"{name} AS {name}"
    code, _, bit = PLACES[name]
    column = _COLUMN[name]
    if name == "close_time_ms":
        told = f"{OPEN} + length_ms"
    elif name == "delta":
        told = f"2 * {_number('taker_buy_volume')} - {_number('volume')}"
    elif code == "f":
        # As `stored.DIGITS` has them, made of what float32 has.
        own, first = _number(name), (column.least + 126 << column.n) - 1
        size = f"max(({own} & {2**31 - 1}) >> {23 - column.n}, {first}) - {first}"
        told = f"2 * ({size}) + ({own} < 0)" if column.kind == SIGNED else size
    else:
        told = _number(name)
        base = "close" if column.kind == PRICE else _BASES.get(name)
        if base is not None:
            told += f" + {OPEN if base == OPEN else _number(base)} * {10**column.n}"
    if bit:
        told = f"CASE WHEN {_number(_NULLS)} & {bit} THEN json_extract(wide, '$.{name}') + 0 ELSE {told} END"
    return f"{told} AS {name}"


def _number(name: str) -> str:
    """Little-endian bytes as hexadecimal digits, the only way in."""
    code, at, _ = PLACES[name]
    width = _CODES[code]
    last = at + width
    signed = f"(instr('89ABCDEF01234567',substr(hex(substr(data,{last},1)),1,1))-9<<{8 * width - 4})"
    digits = [signed, f"(instr('123456789ABCDEF',substr(hex(substr(data,{last},1)),2))<<{8 * width - 8})"]
    for byte in range(width - 1):
        two = f"hex(substr(data,{at + byte + 1},1))"
        digits += [f"(instr('123456789ABCDEF',substr({two},{place},1))<<{8 * byte + shift})" for place, shift in ((1, 4), (2, 0))]
    return f"({'|'.join(digits)})"
