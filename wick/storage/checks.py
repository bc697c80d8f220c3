"""What is looked at in a store besides its pages: whether candles are right by themselves, agree, and are all there."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from wick.market.intervals import INTERVALS
from wick.market.schema import CLOSED, EMPTY, FOREIGN, PARTIAL, REVISED, SUSPECT
from wick.storage.store import Finding

if TYPE_CHECKING:
    from wick.storage.store import Store

PAGE = 5_000
SHOWN = 20  # candles that are named; the others are counted
_FIELDS = (
    "open_time_ms", "close_time_ms", "flags", "price_decimals", "quantity_decimals", "open", "high", "low", "close",
    "volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume", "delta", "revision",
)  # fmt: skip
_UNSURE = PARTIAL | SUSPECT | REVISED | FOREIGN  # then sums need not be those of the parts


class _Seen(NamedTuple):
    open_ms: int
    close_ms: int
    flags: int
    price_decimals: int
    quantity_decimals: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int | None
    trade_count: int | None
    taker_buy_volume: int | None
    taker_buy_quote_volume: int | None
    delta: int | None
    revision: int


_SUMS = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")


def consistency(store: "Store") -> Iterator[Finding]:
    """Of every pair, interval by interval, from the oldest candle on."""
    pairs = store.symbols()
    counted = wrong = 0
    for number, (venue, symbol) in enumerate(pairs, 1):
        missing: dict[str, int] = {}
        for interval in INTERVALS:
            last: _Seen | None = None
            for seen in _all(store, venue, symbol, interval.name):
                counted += 1
                said = _alone(seen, interval.close_ms(seen.open_ms))
                if last is not None and seen.open_ms != last.close_ms:
                    missing[interval.name] = missing.get(interval.name, 0) + 1
                last = seen
                if said:
                    wrong += 1
                    if wrong <= SHOWN:
                        yield Finding(f"{venue} {symbol} {interval.name} {seen.open_ms}: {said}", True)
            for open_ms, said in _of_parts(store, venue, symbol, interval.name, interval.parts):
                wrong += 1
                if wrong <= SHOWN:
                    yield Finding(f"{venue} {symbol} {interval.name} {open_ms}: {said}", True)
        if missing:
            told = ", ".join(f"{name} {count}" for name, count in missing.items())
            yield Finding(
                f"{venue} {symbol}: gaps between candles: {told}", False, f"wick backfill --gaps {venue} {symbol}"
            )
        yield Finding(f"{number} of {len(pairs)} pairs, {counted} candles")
    if wrong:
        yield Finding(f"{wrong} of {counted} candles are wrong", True)


def _all(store: "Store", venue: str, symbol: str, interval: str) -> Iterator[_Seen]:
    from_ms = -(2**62)
    while rows := store.candles(venue, symbol, interval, PAGE, from_ms=from_ms, oldest=True, fields=_FIELDS):
        yield from map(_Seen._make, rows)
        from_ms = rows[-1][0] + 1


def _alone(seen: _Seen, close_ms: int) -> str:
    """What is wrong with a candle by itself."""
    if seen.close_ms != close_ms:
        return f"it closes at {seen.close_ms}, not {close_ms}"
    if not seen.flags & CLOSED:
        return "it is not closed"
    if not seen.low <= min(seen.open, seen.close) <= max(seen.open, seen.close) <= seen.high:
        return f"open {seen.open}, high {seen.high}, low {seen.low}, close {seen.close} are not in order"
    bought, turnover = seen.taker_buy_volume, seen.quote_volume
    is_foreign = bool(seen.flags & FOREIGN)
    if not is_foreign and None in (bought, turnover, seen.trade_count, seen.taker_buy_quote_volume):
        return "it does not say all that was traded"
    if bought is not None and not 0 <= bought <= seen.volume:
        return f"taker_buy_volume {bought} is not within volume {seen.volume}"
    # (Venues cut theirs to so many decimals.)
    if turnover is not None and not is_foreign and not seen.low * seen.volume <= turnover <= seen.high * seen.volume:
        return f"quote_volume {turnover} is not between low and high times volume"
    if bought is not None and seen.delta is not None and seen.delta != 2 * bought - seen.volume:
        return f"delta {seen.delta} is not taker buys less taker sells"
    return ""


def _of_parts(store: "Store", venue: str, symbol: str, interval: str, parts: str) -> Iterator[tuple[int, str]]:
    """Candles that are not the sum of the shorter ones, where all of these are there and whole."""
    if not parts:
        return
    shorter = _all(store, venue, symbol, parts)
    some = next(shorter, None)
    for whole in _all(store, venue, symbol, interval):
        own: list[_Seen] = []
        while some is not None and some.open_ms < whole.close_ms:
            if some.open_ms >= whole.open_ms:
                own.append(some)
            some = next(shorter, None)
        if said := _sum_differs(whole, own):
            yield whole.open_ms, said


def _sum_differs(whole: _Seen, own: Sequence[_Seen]) -> str:
    if not own or own[0].open_ms != whole.open_ms or own[-1].close_ms != whole.close_ms:
        return ""
    if any(one.close_ms != other.open_ms for one, other in pairwise(own)):
        return ""
    if any(one.flags & _UNSURE for one in (whole, *own)):
        return ""
    if {(one.price_decimals, one.quantity_decimals) for one in (whole, *own)} != {
        (whole.price_decimals, whole.quantity_decimals)
    }:
        return ""
    for name in _SUMS:
        told, total = getattr(whole, name), sum(getattr(one, name) for one in own)
        if told != total:
            return f"{name} is {told}, its parts' sum {total}"
    # A flat candle stands at a price of before: where something was traded it says nothing.
    traded = [one for one in own if not one.flags & EMPTY] or own
    prices = traded[0].open, max(one.high for one in traded), min(one.low for one in traded), traded[-1].close
    if prices != (whole.open, whole.high, whole.low, whole.close):
        return f"open, high, low, close are not those of its parts: {prices}"
    return ""
