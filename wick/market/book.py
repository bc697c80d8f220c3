"""What the best quotes of one pair say of its candles: order-flow imbalance, spreads, microprice. Pure.

What the levels below them say is in `levels`, which goes along.

A quote *counts* where both sides have a price and a quantity and the bid is not above the ask. It stands until the next
one comes, whatever that is; so one that does not count, and an outage, leave no quote standing. Its order among the
trades is that of the records, as they reach the engine: the feed sends of a pair the newest quote of each flush, behind
the flush's trades.

Quotes have a time of their own, on the clock of the candles (Binance tells none: the feed takes the venue's clock at
the moment of receipt, see `stream.ticks`). New prices stand from that time on; where it has passed already, because the
prices before them stand from a later one or the live 15 s candle opened after it, from that moment on. A quote past the
live candle's end ends it, as a trade or the clock would. Time is weighted by that time alone, so neither how records
are grouped nor when the steps of the clock come makes a difference; what stands at a boundary counts up to it in the
one candle and from it on in the next. Before a pair's first trade there are no candles, and nothing counts.

How it stays cheap: a quote at the standing prices, nine of ten, changes one sum and two quantities. Nothing is done for
a trade. What the trades between two prices paid follows from sums that the candles keep anyway: with M = bid + ask, S
the sum of signed sizes and T that of signed turnovers, the sum of 2s(p - mid)q / mid is 2(2T - MS) / M.

How it stays exact: running totals since the pair began, integers all, of which a candle's share is a difference. Ratios
are cut to a multiple of 2^-104, in units that more decimals do not change.
"""

from math import nan
from typing import Final

from wick.market import flow
from wick.market.flow import Part
from wick.market.intervals import INTERVALS
from wick.market.levels import BITS, Levels
from wick.market.state import Stateful

_BPS = 20_000 / 2**BITS  # a part of M = bid + ask, twice the mid, in 2^-BITS, as 1/10,000 of the mid; exact

Flows = list[int]  # sums over all trades so far: size, signed size, signed turnover
Numbers = list[float]  # what a candle has of the book: `NAMES`, NaN where it is not known

NAMES: Final = (
    "ofi", "book_imbalance", "quoted_spread_bps", "effective_spread_bps", "microprice_dev_bps", "depth_imbalance_10bps",
)  # fmt: skip
UNKNOWN: Final = (nan,) * len(NAMES)

_NONE = -1  # the spread while no quote stands
# The totals: OFI in lots; spread / M * ns; ns in which a quote stood; 2(2T - MS) / M in the base asset; its lots.
_OFI, _SPREAD, _TIME, _PAID, _SIZE = range(5)


def flows_of(part: Part) -> Flows:
    """What a part adds to the flows."""
    volume, quote_volume = part[flow.VOLUME], part[flow.QUOTE_VOLUME]
    return [volume, 2 * part[flow.BUY_VOLUME] - volume, 2 * part[flow.BUY_QUOTE_VOLUME] - quote_volume]


class Book(Stateful):
    """The best quote of one pair, and the totals. Prices and quantities are in the pair's decimals, times in ns."""

    STATE = ("best", "_spread", "_since_ns", "_flows", "_totals", "_openings", "_unit", "levels")

    def __init__(self) -> None:
        self.best = [0, 0, 0, 0]  # bid, its quantity, ask, its quantity, of the newest quote, whether it counts or not
        self._spread = _NONE  # (ask - bid) / M of the standing quote, in 2^-BITS
        self._since_ns = 0  # up to when, and up to which trades, the totals are made
        self._flows = [0, 0, 0]
        self._totals = [0] * 5
        # The totals at the opening of each live candle. Those that opened together share one list: none is changed.
        self._openings = [[0] * 5 for _ in INTERVALS]
        self._unit = 1  # lots in one unit of the base asset
        self.levels = Levels()

    # ------------------------------------------------------------------ in

    def resized(self, bid: int, ask: int, bid_quantity: int, ask_quantity: int) -> bool:
        """Take a quote at the standing prices. False where it has others, or does not count: then `take` it."""
        best = self.best
        if bid != best[0] or ask != best[2] or self._spread < 0 or bid_quantity <= 0 or ask_quantity <= 0:
            return False
        self._totals[_OFI] += bid_quantity - best[1] - ask_quantity + best[3]
        best[1], best[3] = bid_quantity, ask_quantity
        return True

    def take(self, at_ns: int, bid: int, bid_quantity: int, ask: int, ask_quantity: int, flows: Flows) -> None:
        """Take any quote. `flows`: those of the trades before it."""
        spread = _NONE
        if 0 < bid <= ask and bid_quantity > 0 and ask_quantity > 0:
            spread = (ask - bid << BITS) // (ask + bid)
        if self._spread >= 0:
            self.settle(at_ns, flows)
            if spread >= 0:
                was_bid, was_bid_quantity, was_ask, was_ask_quantity = self.best
                e = bid_quantity if bid >= was_bid else 0
                if bid <= was_bid:
                    e -= was_bid_quantity
                if ask <= was_ask:
                    e -= ask_quantity
                if ask >= was_ask:
                    e += was_ask_quantity
                self._totals[_OFI] += e
        elif spread >= 0:
            self._since_ns, self._flows = max(self._since_ns, at_ns), flows
        self.best = [bid, bid_quantity, ask, ask_quantity]
        self._spread = spread

    def settle(self, at_ns: int, flows: Flows) -> None:
        """Bring the totals up to this moment and these trades."""
        self._totals = list(self._at(at_ns, flows))
        self._since_ns, self._flows = max(self._since_ns, at_ns), flows

    def lose(self, at_ns: int, flows: Flows) -> None:
        """Quotes and levels may have been missed from this moment on: none stand until the next come."""
        self.settle(at_ns, flows)
        self._spread = _NONE
        self.levels.lose(at_ns)

    def skip(self, part: Part) -> None:
        """Trades that came too late for the live candles are in the flows from now on: they do not count."""
        self._flows = [total + more for total, more in zip(self._flows, flows_of(part), strict=True)]

    def begin(self, at_ns: int) -> None:
        """The first candles open: what stands counts from here on."""
        self._since_ns = at_ns
        self.levels.begin(at_ns)

    def reach(self, at_ns: int, flows: Flows) -> None:
        """The shortest candle ends, or opens, at this moment."""
        self.settle(at_ns, flows)
        self.levels.settle(at_ns)

    def open(self, index: int, open_ns: int) -> None:
        """The interval's next candle opens, at a time up to which nothing more comes; `reach` it then."""
        self._openings[index] = self._at(open_ns, self._flows)
        self.levels.open(index, open_ns)

    # ------------------------------------------------------------------ out

    def candle(self, index: int, at_ns: int, flows: Flows | None = None) -> Numbers:
        """The numbers of the interval's live candle, as it would end at this time, with these trades."""
        ofi, spread, time, paid, size = self._at(at_ns, flows or self._flows)
        ofi0, spread0, time0, paid0, size0 = self._openings[index]
        top, near = self.levels.candle(index, at_ns)
        return [
            (ofi - ofi0) / self._unit if time != time0 else nan,
            top,
            (spread - spread0) / (time - time0) * _BPS if time != time0 else nan,
            (paid - paid0) * self._unit / (size - size0) * _BPS if size != size0 else nan,
            self._microprice_dev() if self._spread >= 0 else nan,
            near,
        ]

    def quiet(self) -> Numbers:
        """Those of a candle in which nothing came at all."""
        top, near = self.levels.quiet()
        if self._spread < 0:
            return [nan, top, nan, nan, nan, near]
        return [0.0, top, self._spread * _BPS, nan, self._microprice_dev(), near]

    def _microprice_dev(self) -> float:
        bid, bid_quantity, ask, ask_quantity = self.best
        return (
            (ask - bid) * (bid_quantity - ask_quantity) * 10_000
            / ((ask + bid) * (bid_quantity + ask_quantity))
        )  # fmt: skip

    def _at(self, at_ns: int, flows: Flows) -> list[int]:
        """The totals at this moment and after these trades; the list is not to be changed."""
        stood, known = at_ns - self._since_ns, self._flows
        if self._spread < 0 or (stood <= 0 and flows == known):
            return self._totals
        ofi, spread, time, paid, size = self._totals
        if stood > 0:
            spread += self._spread * stood
            time += stood
        if flows != known:
            both = self.best[0] + self.best[2]
            paid += (2 * (flows[2] - known[2]) - both * (flows[1] - known[1]) << BITS) // (both * self._unit)
            size += flows[0] - known[0]
        return [ofi, spread, time, paid, size]

    def restate(self, more_price: int, more_size: int) -> None:
        """Everything with that many more decimals."""
        price, size = 10**more_price, 10**more_size
        self.best = [self.best[0] * price, self.best[1] * size, self.best[2] * price, self.best[3] * size]
        volume, signed, turnover = self._flows
        self._flows = [volume * size, signed * size, turnover * price * size]
        self._totals, *self._openings = [
            [ofi * size, spread, time, paid, lots * size]
            for ofi, spread, time, paid, lots in (self._totals, *self._openings)
        ]
        self._unit *= size
