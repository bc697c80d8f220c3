"""Candles as a venue publishes them itself, as rows of ours. Pure.

A venue's candle says nothing of single trades: what only those tell (`delta_max`, `cvd`, `tick_rv`, ids, the book) is
not known. Its rows have the flag FOREIGN, and rank below any that were made of trades here.
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
DAILY = INTERVALS.index("1d")  # from here on `cvd` is the candle's own delta


class Kline(NamedTuple):
    """A venue's candle: when it opens (ms), prices, and what was traded."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal


def length_ms(name: str) -> int:
    """How long a candle of that interval is; of one by the calendar, the first."""
    return SECOND if name == SECONDS else by_name(name).close_ms(0)


def source(interval: str, offered: Sequence[str]) -> str:
    """Of which of a venue's intervals ours are made: of the same, or the longest that divides it; "" for none."""
    if interval in offered:
        return interval
    length = length_ms(interval)
    fits = [name for name in offered if length_ms(name) < length and not length % length_ms(name)]
    return max(fits, key=length_ms, default="")


def merged(klines: Iterable[Kline], made_of: str, interval: Interval) -> Iterator[Kline]:
    """Candles of an interval out of shorter ones, by time; one of which a part is missing is left out."""
    for open_ms, group in groupby(klines, lambda one: interval.open_ms(one.open_ms)):
        parts = list(group)
        if len(parts) * length_ms(made_of) < interval.close_ms(open_ms) - open_ms:
            continue
        parts = [one for one in parts if one.trades] or parts  # a quiet one stands at the price before it
        yield Kline(
            open_ms, parts[0].open, max((one.high for one in parts), key=_value),
            min((one.low for one in parts), key=_value), parts[-1].close, _sum(one.volume for one in parts),
            _sum(one.quote_volume for one in parts), sum(one.trades for one in parts),
            _sum(one.taker_buy_volume for one in parts), _sum(one.taker_buy_quote_volume for one in parts),
        )  # fmt: skip


def rows(klines: Sequence[Kline], interval: Interval) -> list[Row]:
    """Closed candles as rows of FORMED, all with the most decimals that any of them has."""
    prices = [one[1] for kline in klines for one in (kline.open, kline.high, kline.low, kline.close)]
    sizes = [one[1] for kline in klines for one in (kline.volume, kline.taker_buy_volume)]
    return [_row(kline, interval, max(prices, default=0), max(sizes, default=0)) for kline in klines]


def _row(kline: Kline, interval: Interval, price_decimals: int, quantity_decimals: int) -> Row:
    turnover_decimals = price_decimals + quantity_decimals
    volume, buy = (_in(one, quantity_decimals) for one in (kline.volume, kline.taker_buy_volume))
    quote_volume, buy_quote = (
        _in(one, turnover_decimals) for one in (kline.quote_volume, kline.taker_buy_quote_volume)
    )
    delta, count = 2 * buy - volume, max(kline.trades, 1)
    is_daily = INTERVALS.index(interval.name) >= DAILY
    known: dict[str, Any] = {
        "open_time_ms": kline.open_ms,
        "close_time_ms": interval.close_ms(kline.open_ms),
        "revision": 0,
        "flags": CLOSED | FOREIGN | (0 if kline.trades else EMPTY),
        "price_decimals": price_decimals,
        "quantity_decimals": quantity_decimals,
        "volume": volume,
        "quote_volume": quote_volume,
        "trade_count": kline.trades,
        "taker_buy_volume": buy,
        "taker_buy_quote_volume": buy_quote,
        "first_trade_id": 0,
        "last_trade_id": 0,
        "delta": delta,
        "cvd": delta if is_daily else None,
        "cvd_anchor_ms": kline.open_ms if is_daily else None,
        "vwap": quote_volume / volume / 10.0**price_decimals if volume else None,
        "delta_ratio": delta / max(volume, 1),
        "avg_trade_size": volume / count / 10.0**quantity_decimals,
    }
    for name in ("open", "high", "low", "close"):
        known[name] = _in(getattr(kline, name), price_decimals)
    return [known.get(name) for name in FORMED_FIELDS]


def _in(number: Decimal, decimals: int) -> int:
    """The number in so many decimals; what it has beyond them is cut off, as venues do with a turnover."""
    mantissa, own = number
    power: int = POW10[abs(decimals - own)]
    return mantissa * power if own <= decimals else mantissa // power


def _value(number: Decimal) -> int:
    """For comparing: in more decimals than any venue has."""
    return _in(number, len(POW10) - 1)


def _sum(numbers: Iterable[Decimal]) -> Decimal:
    all_of_them = list(numbers)
    decimals = max(own for _, own in all_of_them)
    return sum(_in(one, decimals) for one in all_of_them), decimals
