"""A candle's row as people and other programs read it, and which of two rows of a candle is the better one. Pure.

Exact decimals become plain text, ratios numbers, `patterns` the names of those that fire with TA-Lib's values.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

from wick.market.numbers import format_decimal
from wick.market.schema import (
    CANDLE,
    CANDLE_FIELDS,
    FLOW_FIELDS,
    FOREIGN,
    FORMED_FIELDS,
    METRIC_FIELDS,
    PARTIAL,
    PATTERNS,
    PLAIN,
    PRICE,
    REAL,
    TURNOVER,
    VOLUME,
    Flag,
    Row,
)
from wick.metrics import pattern_table

Readable = int | float | str | dict[str, int] | None

# A row's fields in the order in which they are written and shown: what trades and quotes make of a candle, and what is
# made of candles. The text of a decimal tells its own decimals.
_LAST = ("revision", "flags")
COLUMNS: Final = (
    *[name for name in FORMED_FIELDS if name not in (*_LAST, "price_decimals", "quantity_decimals")],
    *_LAST,
)
METRIC_COLUMNS: Final = METRIC_FIELDS
ALL_COLUMNS: Final = (*COLUMNS, *METRIC_COLUMNS)

# What a row may not know. (A foreign one may know less, and ranks below all others anyway.)
MAY_MISS: Final = tuple(name for name, kind in CANDLE if kind == REAL or name in FLOW_FIELDS or name in METRIC_FIELDS)

_FLAGS = [(int(flag), str(flag.name).lower()) for flag in Flag]
_AT: Final = {name: (at, kind) for at, (name, kind) in enumerate(CANDLE)}
_PRICE_AT, _QUANTITY_AT = CANDLE_FIELDS.index("price_decimals"), CANDLE_FIELDS.index("quantity_decimals")
_REVISION, _FLAGS_AT = CANDLE_FIELDS.index("revision"), CANDLE_FIELDS.index("flags")
_MAY_MISS: Final = [CANDLE_FIELDS.index(name) for name in MAY_MISS]
_ANCHOR: Final = CANDLE_FIELDS.index("obv_anchor_ms")
_NEVER: Final = 2**63 - 1


def rank(row: Row) -> tuple[int, int, int, int, int]:
    """Of two rows of one candle the one that ranks higher stands; of equals the later.

    Complete beats partial, own beats foreign, then the higher revision wins. Rows of the same revision say the same,
    but not all that is known: a worker that begins again without its state publishes what it closed before once more,
    with metrics of few candles or none, and without the book. So the one that knows more fields wins, then the one
    whose metrics go further back.
    """
    known = sum([row[at] is not None for at in _MAY_MISS])
    anchor = row[_ANCHOR]
    flags = row[_FLAGS_AT]
    return ~flags & PARTIAL, ~flags & FOREIGN, row[_REVISION], known, -(_NEVER if anchor is None else anchor)


def readable_value(value: Any, kind: str, decimals: dict[str, int]) -> Readable:
    """A value of that kind; `decimals` as `decimals_of` gives them. None where it is not known, or is no number."""
    if value is None:
        return None
    if kind == REAL:
        return float(value) if isfinite(value) else None
    if kind == PATTERNS:
        return fired(value)
    return int(value) if kind == PLAIN else format_decimal(value, decimals[kind])


def fired(found: bytes) -> dict[str, int]:
    """The patterns that a candle completes, with TA-Lib's values (100, -80, ...)."""
    if found.count(0) == len(found):
        return {}
    named = zip(pattern_table.NAMES, memoryview(found).cast("b"), strict=True)
    return {name: 20 * value for name, value in named if value}


def decimals_of(price_decimals: int, quantity_decimals: int) -> dict[str, int]:
    """How many decimals an exact value of each kind has."""
    return {PRICE: price_decimals, VOLUME: quantity_decimals, TURNOVER: price_decimals + quantity_decimals}


def readable(row: Sequence[Any], names: Iterable[str] = CANDLE_FIELDS) -> dict[str, Readable]:
    """Fields of a row by name, in the order of `names`."""
    if len(row) != len(CANDLE):
        raise ValueError(f"a row has {len(CANDLE)} fields, not {len(row)}")
    decimals = decimals_of(row[_PRICE_AT], row[_QUANTITY_AT])
    return {name: readable_value(row[at], kind, decimals) for name in names for at, kind in [_AT[name]]}


def flag_names(flags: int) -> list[str]:
    return [name for flag, name in _FLAGS if flags & flag]
