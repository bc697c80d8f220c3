"""What the wires of Coinbase, Kraken, Bybit and OKX share: a client's JSON, ids, times, books that are cut. Pure."""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Any

import orjson

from wick.sim.market import TradeEvent
from wick.sim.wires._text import decimals, fixed, rfc3339

_places = cache(decimals)


def stepped(units: int, step: int) -> str:
    """With as many decimals as its step has (of which there are few: they are counted once)."""
    return fixed(units, _places(step))


def object_of(message: bytes) -> dict[str, Any] | None:
    """The JSON object that a client has sent; None if it is none."""
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def names_of(value: object) -> list[str] | None:
    """A list of at least one text, each once; None if it is none."""
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        return None
    return list(dict.fromkeys(value))


def number_of(text: str | None, default: int) -> int | None:
    """A query's whole number; None if it is none."""
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def moment_us(time_ms: int) -> int:
    """The market knows milliseconds: these microseconds follow from them, so that REST and stream tell the same."""
    return time_ms * 1000 + time_ms * 7919 % 900


def stamped(trades: Sequence[TradeEvent]) -> list[tuple[TradeEvent, int]]:
    """Trades, in the order given, with times in microseconds that rise with the ids.

    A time depends on the trade's place in its millisecond: the first of it has to be there.
    """
    times: dict[int, int] = {}
    time_ms = place = -1
    for trade in sorted(trades, key=lambda trade: trade.trade_id):
        place = place + 1 if trade.time_ms == time_ms else 0
        time_ms = trade.time_ms
        times[trade.trade_id] = moment_us(time_ms) + min(place, 99)
    return [(trade, times[trade.trade_id]) for trade in trades]


def microseconds(time_us: int) -> str:
    """2026-01-31T12:00:00.123456Z."""
    return f"{rfc3339(time_us // 1000, 3)[:-1]}{time_us % 1000:03d}Z"


def uuid_of(*parts: object) -> str:
    """A UUID that is always the same for these parts."""
    text = blake2b(repr(parts).encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def newest_first(trades: Sequence[TradeEvent]) -> list[TradeEvent]:
    return sorted(trades, key=lambda trade: -trade.trade_id)


def cut(side: Mapping[int, int], depth: int) -> Mapping[int, int]:
    """The best levels of a side that has its best first."""
    return side if len(side) <= depth else dict(islice(side.items(), depth))
