"""The live candles of one pair, from the shortest up: each is put together from the pieces below it. Pure.

A candle's *chain* has what its pieces no longer have: the parts of those that ended since it opened. When a piece ends,
its part is joined to the chain of what it is a piece of; what a candle is now is its chain, then that of its live
piece, and so on down to the segment of the shortest.
"""

from typing import Final

from wick.market import flow, held
from wick.market.book import Book, Numbers
from wick.market.flow import Chain, Part
from wick.market.held import Values
from wick.market.history import FIRST_DAILY, MS, History, cvd_anchor_ms
from wick.market.ids import TradeIds
from wick.market.intervals import DAY, INTERVALS, NAMES, bounds
from wick.market.schema import EMPTY, LIVE, REVISED
from wick.market.state import Stateful

MAX_FLAT_RUN = 100_000  # flat candles that one step of the clock makes: 17 days of 15 s; a longer silence is an outage

# Of each interval, the number of that which it is put together from; those come before it.
_PIECES: Final = tuple(NAMES.index(interval.parts) if interval.parts else -1 for interval in INTERVALS)


class Cascade(Stateful):
    """Live candles by interval, without the segment, which is the pair's. `flat`: quiet periods get candles too."""

    STATE = ("live", "chains", "opens", "closes", "openings", "day", "day_delta")
    GIVEN = ("ids", "history", "book", "flat", "since_ms")

    def __init__(self, ids: TradeIds, history: History, book: Book, flat: bool, since_ms: int) -> None:
        self.ids, self.history, self.book, self.flat, self.since_ms = ids, history, book, flat, since_ms
        self.live: list[list[int]] = [[0] * len(LIVE) for _ in INTERVALS]  # as published, by `derive`
        self.chains: list[Chain] = [[] for _ in INTERVALS]
        self.opens = [0] * len(INTERVALS)  # ms
        self.closes = [0] * len(INTERVALS)
        self.openings = [[0] * 5 for _ in INTERVALS]  # running totals at each opening
        self.day = self.day_delta = 0  # days since 1970 of the live candles, and the delta of all trades before it

    def chain(self, index: int, segment: Part) -> Chain:
        """All of a live candle: what its pieces no longer have, then theirs, down to the segment."""
        piece = _PIECES[index]
        below = self.chain(piece, segment) if piece >= 0 else [segment] if segment else []
        return flow.join(self.chains[index], below, self.ids.is_open)

    def values(self, index: int, chain: Chain, delta: int, price: int, numbers: Numbers) -> Values:
        """A candle that is live, as it is held. `delta`: of all trades so far, `price`: the last one, `numbers`: its
        book's."""
        open_ms = self.opens[index]
        part = flow.whole(chain) if chain else held.flat(price)
        flags = held.partial(open_ms, self.since_ms) | (0 if chain else EMPTY)
        is_daily = index >= FIRST_DAILY
        cvd = flow.delta(part) if is_daily else delta - self.day_delta
        anchor_ms = cvd_anchor_ms(index, open_ms, self.since_ms)
        return [open_ms, self.closes[index], 0, flags, cvd, anchor_ms, *numbers, *part]

    def derive(self, segment: Part, price: int) -> None:
        """Bring the published live candles up to date."""
        prices: list[tuple[int, int, int] | None] = []  # open, high, low; None while nothing was traded
        for index, piece in enumerate(_PIECES):
            if piece >= 0:
                now = prices[piece]
            else:
                now = (segment[flow.OPEN], segment[flow.HIGH], segment[flow.LOW]) if segment else None
            for part in self.chains[index][::-1]:
                opened, high, low = part[flow.OPEN], part[flow.HIGH], part[flow.LOW]
                now = (opened, max(high, now[1]), min(low, now[2])) if now else (opened, high, low)
            prices.append(now)
            opened, high, low = now or (price, price, price)
            open_ms = self.opens[index]
            flags = (0 if now else EMPTY) | held.partial(open_ms, self.since_ms)
            self.live[index][:] = (open_ms, opened, high, low, *self.openings[index], flags)

    def place(self, event_ms: int, part: Part) -> tuple[bool, bool]:
        """Put trades of some 15 s, older than the shortest live candle, where they belong.

        Whether that corrects a candle that is closed, and whether they come too late for one.
        """
        sums, is_open = part[flow.SUMS], self.ids.is_open
        if event_ms // DAY < self.day:
            self.day_delta += flow.delta(part)
        revised = lost = False
        for index, open_ms in enumerate(self.opens):
            piece = _PIECES[index]
            if event_ms < open_ms:
                self.openings[index] = [total + more for total, more in zip(self.openings[index], sums, strict=True)]
                if self.history.wanted[index]:
                    outcome = self.history.place(index, event_ms, part)
                    revised |= outcome == REVISED
                    lost |= outcome == 0
            elif event_ms < self.opens[piece]:
                self.chains[index] = flow.insert(self.chains[index], part, is_open)
        return revised, lost

    def roll(self, now_ms: int, segment: Part, before: list[int], delta: int, price: int, was_seen: bool) -> None:
        """Open the candles that hold `now_ms`; those that end before it become pending, and part of longer ones.

        `before`: the running totals; `was_seen`: quiet periods were quiet, and not an outage.
        """
        flat, is_open = self.flat and was_seen, self.ids.is_open
        chains, closes, book = self.chains, self.closes, self.book
        totals, ended = list(before), {-1: [segment] if segment else []}
        wanted, (new_opens, new_closes) = self.history.wanted, bounds(now_ms)
        for index, piece in enumerate(_PIECES):
            close_ms = closes[index]
            below = ended.get(piece)
            if now_ms < close_ms:
                if below:
                    chains[index] = flow.join(chains[index], below, is_open)
                continue
            chain = flow.join(chains[index], below or [], is_open)
            open_ms = new_opens[index]
            if close_ms and wanted[index]:
                if chain or flat:
                    numbers = book.candle(index, close_ms * MS)
                    self.history.hold(index, self.values(index, chain, delta, price, numbers), chain)
                if flat and close_ms < open_ms:
                    self._hold_flat(index, close_ms, open_ms, delta, price)
            ended[index] = chain
            chains[index] = []
            self.opens[index], closes[index], self.openings[index] = open_ms, new_closes[index], totals
            book.open(index, open_ms * MS)
        if now_ms // DAY != self.day:
            self.day, self.day_delta = now_ms // DAY, delta

    def _hold_flat(self, index: int, from_ms: int, to_ms: int, delta: int, price: int) -> None:
        """Flat candles for the quiet periods of `[from_ms, to_ms)`; none where it is absurdly long."""
        interval = INTERVALS[index]
        if (to_ms - from_ms) // (interval.close_ms(from_ms) - from_ms) > MAX_FLAT_RUN:
            return
        part, numbers = held.flat(price), self.book.quiet()
        while from_ms < to_ms:
            close_ms = interval.close_ms(from_ms)
            anchor_ms = cvd_anchor_ms(index, from_ms, self.since_ms)
            cvd = delta - self.day_delta if index < FIRST_DAILY and from_ms // DAY == self.day else 0
            flags = EMPTY | held.partial(from_ms, self.since_ms)
            self.history.hold(index, [from_ms, close_ms, 0, flags, cvd, anchor_ms, *numbers, *part], [])
            from_ms = close_ms

    def restate(self, more_price: int, more_size: int) -> None:
        """Everything with that many more decimals."""
        self.chains = [[flow.rescale(part, more_price, more_size) for part in chain] for chain in self.chains]
        self.openings = [restated(totals, more_price, more_size) for totals in self.openings]
        self.day_delta *= 10**more_size


def restated(totals: list[int], more_price: int, more_size: int) -> list[int]:
    """Running totals with that many more decimals."""
    both, size = 10 ** (more_price + more_size), 10**more_size
    return [total * factor for total, factor in zip(totals, (size, both, 1, size, both), strict=True)]
