"""Candles as venues' REST tells them: rows of values, in an order that each venue has its own of. Pure."""

import re
from collections.abc import Sequence
from typing import Any

from wick.errors import ParseError
from wick.exchanges import _text as text
from wick.market.foreign import Decimal, Kline

_PLAIN = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?")


def kline(row: Any, order: Sequence[str], unit_ms: int = 1) -> Kline:
    """`order` names the values: `time` (in units of `unit_ms`), and fields of Kline; others are not looked at."""
    if type(row) is not list or len(row) < len(order):
        raise ParseError("corrupt answer", "candle", row)
    data = dict(zip(order, row, strict=False))
    return Kline(
        _time_ms(data["time"], unit_ms), text.positive(data, "open"), text.positive(data, "high"),
        text.positive(data, "low"), text.positive(data, "close"), _amount(data, "volume"),
        _amount(data, "quote_volume") if "quote_volume" in data else None,
        text.whole(data, "trades") if "trades" in data else None,
    )  # fmt: skip


def _time_ms(value: Any, unit_ms: int) -> int:
    number = int(value) if type(value) is str and value.isdigit() and value.isascii() and len(value) < 20 else value
    return text.time_ns(number * unit_ms if type(number) is int else value, "time") // 1_000_000


def _amount(data: dict[str, Any], field: str) -> Decimal:
    """A sum may have more digits than a price or a size: a month's turnover, to the last decimal of its product."""
    value = data[field]
    found = _PLAIN.fullmatch(value) if type(value) is str else None
    if not found:
        raise ParseError("not a plain decimal", field, value)
    fraction = (found[2] or "").rstrip("0")
    return int(found[1] + fraction), len(fraction)
