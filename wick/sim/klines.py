"""The exchange's own candles, out of the trades that it keeps; before those, out of what it says prices were. Pure.

Numbers are integers of 1e-8, as everywhere here; turnover is cut to that, as Binance does.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from wick.market.foreign import SECONDS, end_ms, open_ms
from wick.market.intervals import NAMES
from wick.sim.market import TradeEvent
from wick.sim.symbols import UNITS
from wick.sim.wires import Symbol, View

INTERVALS = (SECONDS, *NAMES[2:])  # of those that venues have: ours
BEGIN_MS = 1_500_000_000_000  # before it, in July 2017, nothing was traded here
PAST_LOTS = 1_000  # what is traded in a candle of the time before
_ALL = 10**9


class Candle(NamedTuple):
    open_ms: int
    close_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    taker_buy_volume: int
    taker_buy_quote_volume: int


def candles(
    view: View, symbol: Symbol, name: str, from_ms: int, to_ms: int, limit: int,
    matches: Callable[[TradeEvent], int] = lambda _: 1, *, newest: bool = False,
) -> list[Candle]:  # fmt: skip
    """The first `limit` candles that open in [from_ms, to_ms], or the `newest`, by time; the last may be unfinished.
    `matches`: of a trade."""
    kept = view.trades_since(symbol.native, 0, _ALL)
    if not kept:
        return []
    if newest:
        from_ms = max(from_ms, _before(name, to_ms, limit - 1))
    opens = _opens(name, max(from_ms, BEGIN_MS), to_ms, limit)
    begun_ms = open_ms(name, kept[0].time_ms)
    start = bisect_left([trade.time_ms for trade in kept], max(from_ms, begun_ms))
    traded = {at: list(some) for at, some in groupby(kept[start:], lambda one: open_ms(name, one.time_ms))}
    made: list[Candle] = []
    last = kept[start - 1].price if start else kept[0].price
    for at_ms, close_ms in opens:
        if some := traded.get(at_ms):
            made.append(_of_trades(at_ms, close_ms, some, matches))
            last = some[-1].price
        elif at_ms >= begun_ms:
            made.append(Candle(at_ms, close_ms, last, last, last, last, 0, 0, 0, 0, 0))
        elif (price := view.past_price(symbol.native, at_ms)) is not None:
            made.append(_of_the_past(symbol, at_ms, close_ms, price, view.past_price(symbol.native, close_ms) or price))
    return made


def _opens(name: str, from_ms: int, to_ms: int, limit: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    at_ms = open_ms(name, from_ms)
    if at_ms < from_ms:
        at_ms = _close_ms(name, at_ms)
    while at_ms <= to_ms and len(found) < limit:
        found.append((at_ms, _close_ms(name, at_ms)))
        at_ms = found[-1][1]
    return found


def _before(name: str, time_ms: int, count: int) -> int:
    """When the candle opens that is so many before the one of that time."""
    at_ms = open_ms(name, time_ms)
    for _ in range(count):
        at_ms = open_ms(name, at_ms - 1)
    return at_ms


def _close_ms(name: str, begin_ms: int) -> int:
    return end_ms(name, begin_ms, 1)


def _of_trades(
    open_ms: int, close_ms: int, trades: Sequence[TradeEvent], matches: Callable[[TradeEvent], int]
) -> Candle:
    prices = [trade.price for trade in trades]
    bought = [trade for trade in trades if not trade.buyer_is_maker]
    return Candle(
        open_ms, close_ms, prices[0], max(prices), min(prices), prices[-1],
        sum(trade.quantity for trade in trades), sum(trade.price * trade.quantity for trade in trades) // UNITS,
        sum(map(matches, trades)), sum(trade.quantity for trade in bought),
        sum(trade.price * trade.quantity for trade in bought) // UNITS,
    )  # fmt: skip


def _of_the_past(symbol: Symbol, open_ms: int, close_ms: int, opened: int, closed: int) -> Candle:
    volume = PAST_LOTS * symbol.lot
    turnover = volume * closed // UNITS
    high, low = max(opened, closed) + symbol.tick, max(min(opened, closed) - symbol.tick, symbol.tick)
    return Candle(
        open_ms, close_ms, opened, high, low, closed, volume, turnover, 10, volume // 2, turnover // 2
    )  # fmt: skip
