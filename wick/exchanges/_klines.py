"""Candles as venues' REST tells them: rows of values, in an order that each venue has its own of. Pure."""

import re
from collections.abc import Sequence
from typing import Any

from wick.errors import ParseError
from wick.exchanges import _text as text
from wick.market.foreign import Decimal, Kline

_PLAIN = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?")
_NUMBERS = ("open", "high", "low", "close", "volume", "quote_volume")


def kline(row: Any, order: Sequence[str], unit_ms: int = 1) -> Kline:
    """`order` names the values: `time` (in units of `unit_ms`), and fields of Kline; others are not looked at. Numbers
    are texts."""
    if type(row) is not list or len(row) < len(order):
        raise ParseError("corrupt answer", "candle", row)
    told = dict(zip(order, row, strict=False))
    numbers = {name: text.plain(value, name) for name, value in told.items() if name in _NUMBERS}
    return Kline(
        _time_ms(told["time"], unit_ms), text.positive(numbers, "open"), text.positive(numbers, "high"),
        text.positive(numbers, "low"), text.positive(numbers, "close"), _amount(numbers["volume"], "volume"),
        _amount(numbers["quote_volume"], "quote_volume") if "quote_volume" in numbers else None,
        text.whole(told, "trades") if "trades" in told else None,
    )  # fmt: skip


def _time_ms(value: Any, unit_ms: int) -> int:
    number = int(value) if type(value) is str and value.isdigit() and value.isascii() and len(value) < 20 else value
    return text.time_ns(number * unit_ms if type(number) is int else value, "time") // 1_000_000


def _amount(value: str, field: str) -> Decimal:
    """A sum may have more digits than a price or a size: a month's turnover, to the last decimal of its product."""
    found = _PLAIN.fullmatch(value)
    if not found:
        raise ParseError("not a plain decimal", field, value)
    fraction = (found[2] or "").rstrip("0")
    return int(found[1] + fraction), len(fraction)
