"""A candle's row as people and other programs read it: exact decimals as plain text, ratios as numbers. Pure."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from wick.market.numbers import format_decimal
from wick.market.schema import CANDLE, CANDLE_FIELDS, PLAIN, PRICE, REAL, TURNOVER, VOLUME, Flag

Readable = int | float | str | None

# A row's fields in the order in which they are written and shown. The text of a decimal tells its own decimals.
_LAST = ("revision", "flags")
COLUMNS = (*[name for name in CANDLE_FIELDS if name not in (*_LAST, "price_decimals", "quantity_decimals")], *_LAST)

_FLAGS = [(int(flag), str(flag.name).lower()) for flag in Flag]
_PRICE_AT, _QUANTITY_AT = CANDLE_FIELDS.index("price_decimals"), CANDLE_FIELDS.index("quantity_decimals")


def readable_value(value: Any, kind: str, decimals: dict[str, int]) -> Readable:
    """A value of that kind; `decimals` as `decimals_of` gives them. None where it is not known, or is no number."""
    if value is None:
        return None
    if kind == REAL:
        return float(value) if isfinite(value) else None
    return int(value) if kind == PLAIN else format_decimal(value, decimals[kind])


def decimals_of(price_decimals: int, quantity_decimals: int) -> dict[str, int]:
    """How many decimals an exact value of each kind has."""
    return {PRICE: price_decimals, VOLUME: quantity_decimals, TURNOVER: price_decimals + quantity_decimals}


def readable(row: Sequence[Any]) -> dict[str, Readable]:
    """All fields of a row by name."""
    decimals = decimals_of(row[_PRICE_AT], row[_QUANTITY_AT])
    return {name: readable_value(value, kind, decimals) for (name, kind), value in zip(CANDLE, row, strict=True)}


def flag_names(flags: int) -> list[str]:
    return [name for flag, name in _FLAGS if flags & flag]
