"""The deeper book of a demo symbol, and the depth updates between two of its states. Pure.

A book is a function of its symbol's best levels and update id: nothing is kept for symbols that nobody asks
about, and asking changes nothing. Below the best level there is one level in each cell of `stride` steps
(some are empty); its quantity is drawn anew from the hash of cell and update id now and then.
"""

from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.sim.market import Pair

LEVELS = 30  # a side, beside the best one
_UPDATES_PER_CHANGE = np.uint64(24)  # a level keeps its quantity for so many update ids
_CELLS = np.arange(1, LEVELS + 1)


class Book(NamedTuple):
    """Levels by price, best first, in 1e-8."""

    update_id: int
    bids: dict[int, int]
    asks: dict[int, int]
    number: int = 0  # of the update that told this state (see DepthUpdate.number)


class DepthUpdate(NamedTuple):
    """The levels that changed in `first_id..last_id`, with their new quantity; 0 removes one.

    `book` is the whole book after it and `before` the one before it (as told; levels best first): what a venue needs
    that cuts books, or sends a checksum.
    """

    first_id: int
    last_id: int
    bids: dict[int, int]
    asks: dict[int, int]
    previous_id: int  # last_id of the update before, as it was told (first_id - 1, but for a reset)
    number: int  # 1, 2, 3... within the symbol's feed: book.number is the same; 1 again after a reset
    before: Book
    book: Book
    reset: bool = False  # fault sequence_reset: ids have jumped by Wire.reset_shift, `number` is 1
    wrong_checksum: bool = False  # fault wrong_checksum: the venue's checksum is to be false


def book(pair: Pair) -> Book:
    """The whole book as it stands now."""
    tick, lot = pair.listing.tick, pair.listing.lot
    cells = np.concatenate((pair.bid // pair.stride - _CELLS, pair.ask // pair.stride + _CELLS))
    place = _mixed(cells.astype(np.uint64) ^ np.uint64(pair.salt))
    steps = cells * pair.stride + (place % np.uint64(pair.stride)).astype(np.int64)
    turn = (np.uint64(pair.update_id) + (place >> np.uint64(44))) // _UPDATES_PER_CHANGE
    drawn = _mixed(place ^ turn)
    part = (drawn >> np.uint64(11)) / 2.0**53
    lots = 1 + (pair.level_lots * (0.2 + 4 * part**3)).astype(np.int64)
    there = ((steps > 0) & (drawn & np.uint64(7) != 0)).tolist()
    levels = list(zip((steps * tick).tolist(), (lots * lot).tolist(), strict=True))
    bids = {pair.bid * tick: pair.bid_lots * lot}
    asks = {pair.ask * tick: pair.ask_lots * lot}
    bids.update(compress(levels[:LEVELS], there[:LEVELS]))
    asks.update(compress(levels[LEVELS:], there[LEVELS:]))
    return Book(pair.update_id, bids, asks)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finish: any change of a value changes half of the bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class DepthFeed:
    """The depth updates of one symbol, from when someone subscribed.

    A snapshot may be asked for between two updates. The next update then also names the levels that differ
    from that snapshot, so that whoever applies it to the snapshot stands where everybody else does.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._known = [book(pair)]  # the state at the last update, and the snapshots given since

    def snapshot(self) -> Book:
        now = book(self._pair)
        if now.update_id != self._known[-1].update_id:
            self._known.append(now)
        return now

    def update(self) -> DepthUpdate | None:
        """What changed since the last update; None if nothing happened."""
        last = self._known[0]
        if self._pair.update_id == last.update_id:
            return None
        now = book(self._pair)
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for known in self._known:
            _add_changes(bids, known.bids, now.bids)
            _add_changes(asks, known.asks, now.asks)
        self._known = [now]
        return DepthUpdate(last.update_id + 1, now.update_id, bids, asks)


def _add_changes(changes: dict[int, int], before: dict[int, int], now: dict[int, int]) -> None:
    changes.update((price, quantity) for price, quantity in now.items() if before.get(price) != quantity)
    changes.update((price, 0) for price in before if price not in now)
