"""Which trade ids of one pair have been seen. Pure.

An id counts once. Ids that were skipped are remembered as holes, with the time in which they must have been traded;
only a hole lets an older id in. So trades may come twice, out of order and late, and none is taken twice or lost.

Where a venue does not number its trades without holes, ids are the feed's own count, which leaps where it may have
missed some. How far it leaps says nothing, and no trade that comes later can say that nothing is missing any more: a
leap is one gap, for good.
"""

from bisect import bisect_right
from operator import itemgetter
from typing import Any

from wick.market.state import Stateful

# Trades that are reordered make many holes for a moment: a burst of 1,000 a second, shuffled within two, about 1,000.
MAX_HOLES = 4096  # beyond it the oldest are given up as lost

_first = itemgetter(0)


class TradeIds(Stateful):
    """`next` is the id that follows the highest seen, -1 before the first; `missing` counts the ids in holes, or the
    gaps where ids are not `contiguous` at the venue."""

    STATE = ("_first_ns", "_holes", "duplicates", "missing", "next")
    GIVEN = ("contiguous",)
    __slots__ = STATE + GIVEN

    def __init__(self, contiguous: bool = True) -> None:
        self.contiguous = contiguous
        self.next = -1
        self.missing = self.duplicates = 0
        self._first_ns = 0  # time of the oldest trade
        # (first id, last id, from ns, to ns), ascending. The first is what came before we listened (its ids may still
        # come: reordered, or replayed by the venue) and has no time; it always stays, even when it is empty.
        self._holes: list[tuple[int, int, int, int]] = []

    def restore(self, state: list[Any]) -> None:
        super().restore(state)
        self._holes = [(first, last, from_ns, to_ns) for first, last, from_ns, to_ns in self._holes]

    def admit(self, trade_id: int, newest_ns: int, event_ns: int) -> bool:
        """Whether this id counts: it is new, or it fills a hole. `newest_ns`: time of the newest trade before it."""
        if self.next < 0:
            self._holes.append((0, trade_id - 1, -1, -1))
            self.next = trade_id + 1
            self._first_ns = event_ns
            return True
        if trade_id >= self.next:
            if trade_id > self.next:
                self._holes.append((self.next, trade_id - 1, newest_ns, event_ns))
                self.missing += trade_id - self.next if self.contiguous else 1
                self._bound()
            self.next = trade_id + 1
            return True
        index = bisect_right(self._holes, trade_id, key=_first) - 1
        first, last, from_ns, to_ns = self._holes[index]
        if trade_id > last:
            self.duplicates += 1
            return False
        parts = [(first, trade_id - 1, from_ns, to_ns), (trade_id + 1, last, from_ns, to_ns)]
        if not self.contiguous:
            self._holes[index : index + 1] = parts  # empty or not: the gap stays
            self._bound()
            return True
        self._holes[index : index + 1] = [part for part in parts if part[0] <= part[1] or part[0] == 0]
        if to_ns >= 0:
            self.missing -= 1
        else:
            # What lies between it and the trades that we know was traded between their times.
            if trade_id < last:
                self._holes[index + 1] = (trade_id + 1, last, event_ns, self._first_ns)
            self.missing += last - trade_id
            self._first_ns = event_ns
        self._bound()
        return True

    def _bound(self) -> None:
        if len(self._holes) > MAX_HOLES:
            del self._holes[1]

    def is_open(self, after: int, before: int) -> bool:
        """Whether an id between these two may still come."""
        if not self.contiguous:
            return False
        index = bisect_right(self._holes, before - 1, key=_first) - 1
        return index >= 0 and self._holes[index][1] > after

    def missing_within(self, from_ns: int, to_ns: int) -> bool:
        """Whether ids are missing that were traded, at some time, in `[from_ns, to_ns)`."""
        # Newest first: holes stand in the order of ids, which is that of time.
        for _, _, after_ns, before_ns in reversed(self._holes):
            if before_ns < max(from_ns, 0):  # 0: the first has no time, and a week of 1970 begins in 1969
                return False
            if after_ns < to_ns:
                return True
        return False
