"""A candle as a row of the SQLite store: all but its key and its patterns, and its time again, is packed into `data`.

As columns of their own the values take ten times as long to read: SQLite and Python look at each. Here those of one
field lie at equal distances, once the rows are joined. First comes the rank, in bytes that compare as
`market.rows.rank` does. Exact fields are kept whole, prices less the close and ids less the last one; the others as
`market.stored` has them, numbers of so many binary digits as float32, which they fit, and prices less the close again.
What is not known has a bit in `nulls`; so has what does not fit: it comes behind, as text.
"""

import json
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from itertools import repeat
from operator import add, or_, sub
from struct import Struct
from typing import Any, Final, NamedTuple

from wick.market.schema import CLOSED, FORMED_FIELDS
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

DATA: Final = "data"
NULLS: Final = "nulls"  # in it: a bit for each that is not known
RANK: Final = 16  # bytes
CODES: Final = {"v": 8, "q": 8, "i": 4, "f": 4, "h": 2, "b": 1}
KEPT: Final = (OPEN, DATA, PATTERNS)
# Exact fields that are kept in four bytes, less another.
BASES: Final = {
    "open": "close", "high": "close", "low": "close", "first_trade_id": "last_trade_id", "cvd_anchor_ms": OPEN,
}  # fmt: skip
# Those that follow from others nearly always, and are in `wide` where they do not.
FOLLOW: Final = ("close_time_ms", "delta")
EXACT: Final = {name: at for at, name in enumerate(FORMED_FIELDS[: FORMED_FIELDS.index("vwap")])}
COLUMN: Final = {column.name: column for column in COLUMNS}


def _code(column: Column) -> str:
    if column.kind in (DIGITS, SIGNED):
        return "f"
    if column.name in ("price_decimals", "quantity_decimals"):
        return "b"
    if column.name in ("flags", "unknown") or (column.kind == RATIO and column.n == 4):
        return "h"
    if column.name in ("close", "quote_volume", "taker_buy_quote_volume", "last_trade_id", "obv_anchor_ms"):
        return "q"  # it may need more than four, or soon does
    return "i" if column.name in (*BASES, "revision", "trade_count") or column.kind not in (WHOLE, LESS) else "v"


class Place(NamedTuple):
    """Of a column in `data`: its type, where it begins, its bit in `nulls`."""

    code: str
    at: int
    bit: int


def _laid_out() -> tuple[dict[str, Place], int]:
    """What may need eight bytes (`v`) lies behind, and has four in a row where all of it fits; the others are at the
    same places in all rows."""
    names = [column.name for column in COLUMNS if column.name not in ("known", *FOLLOW)]
    names.sort(key=lambda name: [*CODES].index(_code(COLUMN[name])))
    always = ("flags", "revision", "unknown", "price_decimals", "quantity_decimals")
    bits = {name: 1 << at for at, name in enumerate(name for name in (*names, *FOLLOW) if name not in always)}
    places = {NULLS: Place("q", RANK, 0), OPEN: Place("q", RANK + CODES["q"], 0)}
    ends = {"varying": 0, "rest": RANK + 2 * CODES["q"]}
    for name in names:
        code = _code(COLUMN[name])
        part = "varying" if code == "v" else "rest"
        places[name] = Place(code, ends[part], bits.get(name, 0))
        ends[part] += CODES[code]
    for name in FOLLOW:
        places[name] = Place("", 0, bits[name])
    return places, -(-ends["rest"] // 8) * 8


PLACES, REST = _laid_out()
VARYING: Final = [name for name, place in PLACES.items() if place.code == "v"]
_WIDE, _NARROW = Struct(f"<{len(VARYING)}q"), Struct(f"<{len(VARYING)}i")
BROAD: Final = REST + _WIDE.size  # of a row with text behind this part is always of eight bytes each


# ---------------------------------------------------------------------- out


def asked(needed: Iterable[str]) -> list[str]:
    """The table's columns for what `stored.needs` names."""
    return [DATA, PATTERNS] if PATTERNS in needed else [DATA]


def reader(interval: int, needed: tuple[str, ...], told: dict[str, Sequence[Any]]) -> Reader:
    """Of columns of the table."""
    columns, wide = _columns(interval, needed, told)
    kept = {name: columns[name] for name in needed if name in PLACES}
    nulls, closes = columns[NULLS], columns["close"]
    if any(nulls):
        some = reduce(or_, nulls)
        for name in kept:
            bit = PLACES[name].bit
            if some & bit:
                kept[name] = [None if bits & bit else value for value, bits in zip(kept[name], nulls, strict=True)]
    if wide:
        _put_wide(kept, wide, closes)
    own = {name: values for name, values in told.items() if name != DATA} | kept
    own[WIDE] = (None,)
    return Reader(interval, own, {name: values for name, values in kept.items() if name in _READY}, closes)


_READY: Final = {column.name for column in COLUMNS if column.kind in (WHOLE, LESS, DIGITS, SIGNED)}


def _put_wide(kept: dict[str, Sequence[Any]], wide: dict[int, dict[str, str]], closes: Sequence[int]) -> None:
    for at, numbers in wide.items():
        for name, text in numbers.items():
            if name in kept:
                column, value = COLUMN[name], int(text)
                if column.kind in (DIGITS, SIGNED):
                    (value,) = of_digits([value], column.n, column.least, column.kind == SIGNED)
                elif column.kind == PRICE:
                    value -= closes[at] * 10**column.n
                kept[name] = [*kept[name][:at], value, *kept[name][at + 1 :]]


def _columns(
    interval: int, needed: tuple[str, ...], told: dict[str, Sequence[Any]]
) -> tuple[dict[str, Sequence[Any]], dict[int, dict[str, str]]]:
    """Columns of joined rows, where what is not known is any number; and what does not fit, by row and name."""
    data, wide = told[DATA], {}
    sizes = {*map(len, data)}
    if len(sizes) > 1 or max(sizes) > BROAD:
        sizes = {BROAD}
        wide = {at: json.loads(row[BROAD:]) for at, row in enumerate(data) if len(row) > BROAD}
        data = [_broad(row) for row in data]
    (size,) = sizes
    joined = b"".join(data)
    typed = {code: (_typed(code, joined), size // width) for code, width in CODES.items() if code != "v"}
    made: dict[str, Sequence[Any]] = {}
    for name, code, at in _places(needed, size == BROAD):
        values, step = typed[code]
        made[name] = values[at::step].tolist()
    for name, base in BASES.items():
        if name in made:
            made[name] = list(map(add, made[name], made[base]))
    if "close_time_ms" in needed:
        made["close_time_ms"] = list(map(add, made[OPEN], repeat(LENGTH_MS[interval])))
    if "delta" in needed:
        bought = made["taker_buy_volume"]
        made["delta"] = list(map(sub, map(add, bought, bought), made["volume"]))
    return made, wide


def _typed(code: str, data: bytes) -> memoryview:
    if sys.byteorder == "little":
        return memoryview(data).cast(code)  # type: ignore[call-overload, no-any-return]
    swapped = array(code, data)
    swapped.byteswap()
    return memoryview(swapped)


@lru_cache(maxsize=64)
def _places(needed: tuple[str, ...], is_broad: bool) -> list[tuple[str, str, int]]:
    """Name, type, and the first one's number among all of that type."""
    made = []
    for name in dict.fromkeys((NULLS, "close", *needed)):
        code, at, _ = PLACES.get(name, _NOWHERE)
        if code == "v":
            code, at = ("q", REST + at) if is_broad else ("i", REST + at // 2)
        if code:
            made.append((name, code, at // CODES[code]))
    return made


_NOWHERE: Final = Place("", 0, 0)


def _broad(row: bytes) -> bytes:
    if len(row) >= BROAD:
        return row[:BROAD]
    return row[:REST] + _WIDE.pack(*_NARROW.unpack_from(row, REST))


# ---------------------------------------------------------------------- in SQL


def hexadecimal() -> str:
    """The digits of what is in `data`, of each column by the name behind x_, what they are looked up in, and the text
    behind (`wide`)."""
    made = ["'123456789ABCDEF' AS d", "'89ABCDEF01234567' AS s", f"length(data) < {BROAD} AS narrow",
            f"CASE WHEN length(data) > {BROAD} THEN CAST(substr(data,{BROAD + 1}) AS TEXT) END AS wide"]  # fmt: skip
    for name, (code, at, _) in PLACES.items():
        if code == "v":
            made.append(f"hex(substr(data,{REST + at // 2 + 1},4)) AS y_{name}")
            made.append(f"hex(substr(data,{REST + at + 1},8)) AS x_{name}")
        elif code:
            made.append(f"hex(substr(data,{at + 1},{CODES[code]})) AS x_{name}")
    return ",".join(made)


def closed() -> str:
    """Whether the flag is set, of a row of the table."""
    return _has(f"hex(substr(data, {PLACES['flags'].at + 1}, 2))", CLOSED)


def whole(name: str) -> str:
    """A number of `stored.COLUMNS` (exact fields whole) in SQL, of the table's columns and what `hexadecimal` tells."""
    code, _, bit = PLACES[name]
    column = COLUMN[name]
    if name == "close_time_ms":
        told = f"{OPEN}+length_ms"
    elif name == "delta":
        told = f"2*{_number('taker_buy_volume')}-{_number('volume')}"
    elif code == "f":
        # As `stored.DIGITS` has them, made of what float32 has.
        first = (column.least + 126 << column.n) - 1
        size = f"max(({_number(name)}&{2**31 - 1})>>{23 - column.n},{first})-{first}"
        told = f"2*({size})+(instr(s,substr(x_{name},7,1))<9)" if column.kind == SIGNED else size
    else:
        told = _number(name)
        base = "close" if column.kind == PRICE else BASES.get(name)
        if base is not None:
            told += f"+{OPEN if base == OPEN else _number(base)}*{10**column.n}"
    if bit:
        told = (
            f"CASE WHEN {_has(f'x_{NULLS}', bit)} THEN CAST(json_extract(wide,'$.{name}') AS NUMERIC) ELSE {told} END"
        )
    return f"{told} AS {name}"


def _number(name: str) -> str:
    code = PLACES[name].code
    if code == "v":
        return f"CASE narrow WHEN 1 THEN {_digits(f'y_{name}', 4)} ELSE {_digits(f'x_{name}', 8)} END"
    return _digits(f"x_{name}", CODES[code])


def _digits(text: str, width: int) -> str:
    """Little-endian bytes as hexadecimal digits, the only way in. The first digit of the last is above 7 below 0."""
    places = [(2 * byte + 1 + low, 8 * byte + 4 * (1 - low)) for byte in range(width) for low in (0, 1)]
    last = 2 * width - 1
    told = [f"(instr(d,substr({text},{at},1))<<{shift})" for at, shift in places if at != last]
    return f"({'|'.join(told)}|((instr(s,substr({text},{last},1))-9)<<{8 * width - 4}))"


def _has(text: str, bit: int) -> str:
    """Whether little-endian bytes, as hexadecimal digits, have this bit."""
    number, at = divmod(bit.bit_length() - 1, 4)
    digits = "".join(f"{digit:X}" for digit in range(16) if digit >> at & 1)
    return f"instr('{digits}',substr({text},{(number ^ 1) + 1},1))"
