"""Candles as a venue publishes them itself, as rows of ours. Pure.

A venue's candle says nothing of single trades: what only those tell (`delta_max`, `cvd`, `tick_rv`, ids, the book) is
not known, nor what this venue leaves out (a Kline's None). Its rows have the flag FOREIGN, and rank below any that
were made of trades here.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from wick.market.intervals import NAMES as INTERVALS
from wick.market.intervals import SECOND, Interval, by_name
from wick.market.numbers import POW10
from wick.market.schema import CLOSED, EMPTY, FOREIGN, FORMED_FIELDS, Row

Decimal = tuple[int, int]  # mantissa, decimals

SECONDS = "1s"  # an interval that venues have and wick does not: what the shortest of ours are made of
MONTHS = "1M"  # the only interval by the calendar
DAILY = INTERVALS.index("1d")  # from here on `cvd` is the candle's own delta


class Kline(NamedTuple):
    """A venue's candle: when it opens (ms), prices, and what was traded. None: the venue does not tell."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal | None = None
    trades: int | None = None
    taker_buy_volume: Decimal | None = None
    taker_buy_quote_volume: Decimal | None = None


def length_ms(name: str) -> int:
    """How long a candle of that interval is; of one by the calendar, the first."""
    return SECOND if name == SECONDS else by_name(name).close_ms(0)


def open_ms(name: str, time_ms: int) -> int:
    """When the candle of that interval opens that has this moment."""
    return time_ms - time_ms % SECOND if name == SECONDS else by_name(name).open_ms(time_ms)


def end_ms(name: str, begin_ms: int, count: int) -> int:
    """When the last of so many candles closes of which the first one opens at `begin_ms`."""
    if name != MONTHS:
        return begin_ms + count * length_ms(name)
    for _ in range(count):
        begin_ms = by_name(name).close_ms(begin_ms)
    return begin_ms


def source(interval: str, offered: Sequence[str]) -> str:
    """Of which of a venue's intervals ours are made: of the same, or the longest that divides it; "" for none."""
    if interval in offered:
        return interval
    length = length_ms(interval)
    fits = [name for name in offered if length_ms(name) < length and not length % length_ms(name)]
    return max(fits, key=length_ms, default="")


def merged(klines: Iterable[Kline], made_of: str, interval: Interval, has_quiet: bool = True) -> Iterator[Kline]:
    """Candles of an interval out of shorter ones, by time; one of which a part is missing is left out, where the venue
    has candles of quiet periods too (`has_quiet`)."""
    for begin_ms, group in groupby(klines, lambda one: interval.open_ms(one.open_ms)):
        parts = list(group)
        if has_quiet and len(parts) * length_ms(made_of) < interval.close_ms(begin_ms) - begin_ms:
            continue
        priced = [one for one in parts if one.volume[0]] or parts  # a quiet one stands at the price before it
        yield Kline(
            begin_ms, priced[0].open, max((one.high for one in priced), key=_value),
            min((one.low for one in priced), key=_value), priced[-1].close, _sum([one.volume for one in parts]),
            _known_sum([one.quote_volume for one in parts]), _count([one.trades for one in parts]),
            _known_sum([one.taker_buy_volume for one in parts]),
            _known_sum([one.taker_buy_quote_volume for one in parts]),
        )  # fmt: skip


def rows(klines: Sequence[Kline], interval: Interval) -> list[Row]:
    """Closed candles as rows of FORMED, all with the most decimals that any of them has."""
    prices = [one[1] for kline in klines for one in (kline.open, kline.high, kline.low, kline.close)]
    sizes = [one[1] for kline in klines for one in (kline.volume, kline.taker_buy_volume) if one]
    return [_row(kline, interval, max(prices, default=0), max(sizes, default=0)) for kline in klines]


def _row(kline: Kline, interval: Interval, price_decimals: int, quantity_decimals: int) -> Row:
    turnover_decimals = price_decimals + quantity_decimals
    volume, is_daily = _in(kline.volume, quantity_decimals), INTERVALS.index(interval.name) >= DAILY
    known: dict[str, Any] = {
        "open_time_ms": kline.open_ms,
        "close_time_ms": interval.close_ms(kline.open_ms),
        "revision": 0,
        "flags": CLOSED | FOREIGN | (0 if volume else EMPTY),
        "price_decimals": price_decimals,
        "quantity_decimals": quantity_decimals,
        "volume": volume,
        "first_trade_id": 0,
        "last_trade_id": 0,
    }
    for name in ("open", "high", "low", "close"):
        known[name] = _in(getattr(kline, name), price_decimals)
    if kline.quote_volume is not None:
        known["quote_volume"] = turnover = _in(kline.quote_volume, turnover_decimals)
        known["vwap"] = turnover / volume / 10.0**price_decimals if volume else None
    if kline.trades is not None:
        known["trade_count"] = kline.trades
        known["avg_trade_size"] = volume / max(kline.trades, 1) / 10.0**quantity_decimals
    if kline.taker_buy_volume is not None:
        known["taker_buy_volume"] = buy = _in(kline.taker_buy_volume, quantity_decimals)
        known["delta"] = delta = 2 * buy - volume
        known["delta_ratio"] = delta / max(volume, 1)
        known["cvd"], known["cvd_anchor_ms"] = (delta, kline.open_ms) if is_daily else (None, None)
    if kline.taker_buy_quote_volume is not None:
        known["taker_buy_quote_volume"] = _in(kline.taker_buy_quote_volume, turnover_decimals)
    return [known.get(name) for name in FORMED_FIELDS]


def _in(number: Decimal, decimals: int) -> int:
    """The number in so many decimals; what it has beyond them is cut off, as venues do with a turnover."""
    mantissa, own = number
    power: int = 10 ** abs(decimals - own)
    return mantissa * power if own <= decimals else mantissa // power


def _value(number: Decimal) -> int:
    """For comparing: in more decimals than any venue has."""
    return _in(number, len(POW10) - 1)


def _sum(numbers: Sequence[Decimal]) -> Decimal:
    decimals = max(own for _, own in numbers)
    return sum(_in(one, decimals) for one in numbers), decimals


def _known_sum(numbers: Sequence[Decimal | None]) -> Decimal | None:
    known = [one for one in numbers if one is not None]
    return _sum(known) if len(known) == len(numbers) else None


def _count(numbers: Sequence[int | None]) -> int | None:
    known = [one for one in numbers if one is not None]
    return sum(known) if len(known) == len(numbers) else None
