"""What the levels of one pair's book say of its candles: how far the bids outweigh the asks. Pure.

The feed tells of a book, with a flush's trades and behind them, how much stands in its five best levels and within
10 bps of the mid (`trades.BookDepth`). Each of the two stands until the next news, whatever that is: so numbers that
the feed does not know (-1), and an outage, leave none standing. Times are those of quotes (see `book`): news counts
from its own time on, or from where the totals stand; news past the live candle's end ends it.

Only ratios are kept, so decimals do not matter. They are cut to a multiple of 2^-104, and running totals of them since
the pair began are integers, of which a candle's share is a difference: how records are grouped makes none.
"""

from math import nan
from typing import Final

from wick.market.intervals import INTERVALS
from wick.market.state import Stateful

BITS: Final = 104
_UNIT = 2.0**-BITS

Totals = list[int]  # not to be changed: the imbalance of the best levels in 2^-BITS, times ns; ns in which it was known


class Levels(Stateful):
    """What stands of one pair's book, and the totals. Times in ns."""

    __slots__ = STATE = ("_near", "_openings", "_since_ns", "_top", "_totals")

    def __init__(self) -> None:
        self._top = self._near = [-1, -1]  # quantities: bids, asks
        self._since_ns = 0  # up to when the totals are made
        self._totals: Totals = [0, 0]
        self._openings: list[Totals] = [self._totals] * len(INTERVALS)  # the totals at the opening of each live candle

    def take(self, at_ns: int, bid_top: int, ask_top: int, bid_near: int, ask_near: int) -> None:
        """News of the book."""
        if at_ns > self._since_ns:
            self.settle(at_ns)
        self._top, self._near = [bid_top, ask_top], [bid_near, ask_near]

    def settle(self, at_ns: int) -> None:
        """Bring the totals up to this moment."""
        self._totals = self._at(at_ns)
        self._since_ns = max(self._since_ns, at_ns)

    def lose(self, at_ns: int) -> None:
        """News may have been missed from this moment on."""
        self.settle(at_ns)
        self._top = self._near = [-1, -1]

    def begin(self, at_ns: int) -> None:
        """The first candles open: what stands counts from here on."""
        self._since_ns = at_ns

    def open(self, index: int, open_ns: int) -> None:
        """The interval's next candle opens; `settle` then."""
        self._openings[index] = self._at(open_ns) if open_ns > self._since_ns else self._totals

    def candle(self, index: int, at_ns: int) -> tuple[float, float]:
        """Of the interval's live candle, as it would end at this time: `book_imbalance`, `depth_imbalance_10bps`."""
        weighted, time = self._at(at_ns) if at_ns > self._since_ns else self._totals
        weighted0, time0 = self._openings[index]
        bid, ask = self._near
        return (
            (weighted - weighted0) / (time - time0) * _UNIT if time != time0 else nan,
            (bid - ask) / (bid + ask or 1) if bid >= 0 and ask >= 0 else nan,
        )

    def quiet(self) -> tuple[float, float]:
        """Those of a candle in which nothing came at all."""
        bid, ask = self._top
        _, near = self.candle(0, self._since_ns)
        return _imbalance(bid, ask) * _UNIT if bid >= 0 and ask >= 0 else nan, near

    def _at(self, at_ns: int) -> Totals:
        bid, ask = self._top
        stood = at_ns - self._since_ns
        if stood <= 0 or bid < 0 or ask < 0:
            return self._totals
        weighted, time = self._totals
        return [weighted + _imbalance(bid, ask) * stood, time + stood]


def _imbalance(bid: int, ask: int) -> int:
    """(bid - ask) / (bid + ask) in 2^-BITS; 0/0 is 0."""
    return (bid - ask << BITS) // (bid + ask or 1)
