"""The deeper books of demo symbols, and the depth updates between two of their states. Pure.

A book is a function of its symbol's best levels and update id: nothing is kept for symbols that nobody asks
about, and asking changes nothing. Below the best level there is one level in each cell of `stride` steps
(some are empty); its quantity is drawn anew from the hash of cell and update id now and then.
"""

from collections.abc import Mapping, Sequence
from itertools import compress, islice
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
    return books([pair])[0]


def books(pairs: Sequence[Pair]) -> list[Book]:
    """The whole books of many symbols in one sweep: numpy's price a call is far above that a level."""
    rows = [(p.bid, p.ask, p.stride, p.salt, p.update_id, p.listing.tick, p.listing.lot) for p in pairs]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 7).T[:, :, None]
    bid, ask, stride, salt, update_id, tick, lot = columns
    level_lots = np.array([pair.level_lots for pair in pairs])[:, None]
    cells = np.concatenate((bid // stride - _CELLS, ask // stride + _CELLS), axis=1)
    place = _mixed(cells.astype(np.uint64) ^ salt.astype(np.uint64))
    steps = cells * stride + (place % stride.astype(np.uint64)).astype(np.int64)
    turn = (update_id.astype(np.uint64) + (place >> np.uint64(44))) // _UPDATES_PER_CHANGE
    drawn = _mixed(place ^ turn)
    part = (drawn >> np.uint64(11)) / 2.0**53
    lots = 1 + (level_lots * (0.2 + 4 * part**3)).astype(np.int64)
    there = ((steps > 0) & (drawn & np.uint64(7) != 0)).tolist()
    prices, quantities = (steps * tick).tolist(), (lots * lot).tolist()
    made = []
    for pair, price, quantity, is_there in zip(pairs, prices, quantities, there, strict=True):
        levels = list(zip(price, quantity, strict=True))
        bids = {pair.bid * pair.listing.tick: pair.bid_lots * pair.listing.lot}
        asks = {pair.ask * pair.listing.tick: pair.ask_lots * pair.listing.lot}
        bids.update(compress(levels[:LEVELS], is_there[:LEVELS]))
        asks.update(compress(levels[LEVELS:], is_there[LEVELS:]))
        made.append(Book(pair.update_id, bids, asks))
    return made


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finish: any change of a value changes half of the bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class DepthFeed:
    """The depth updates of one symbol, from when someone subscribed.

    `told` is the book as its updates have told it. A snapshot may be asked for between two updates. The next update
    then also names the levels that differ from that snapshot, so that whoever applies it to the snapshot stands where
    everybody else does.
    """

    def __init__(self, pair: Pair, shift: int = 0) -> None:
        self.pair = pair
        self.shift = shift  # of ids on the wire
        self.told = self._shifted(book(pair))._replace(number=1)
        self._between: list[Book] = []  # the snapshots that were given since

    @property
    def changed(self) -> bool:
        return self.pair.update_id + self.shift != self.told.update_id

    def snapshot(self) -> Book:
        """As it is now."""
        if not self.changed:
            return self.told
        now = self._shifted(book(self.pair))
        if not self._between or self._between[-1].update_id != now.update_id:
            self._between.append(now)
        return now

    def update(self, now: Book, reset_shift: int | None = None) -> DepthUpdate:
        """What has changed up to `now`, the pair's book. With `reset_shift` its sequence begins anew."""
        before, between = self.told, self._between
        first_id = before.update_id + 1
        number = before.number + 1
        if reset_shift is not None:
            self.shift += reset_shift
            first_id, number = first_id + reset_shift, 1
        self.told = told = self._shifted(now)._replace(number=number)
        self._between = []
        bids, asks = changes(before.bids, now.bids), changes(before.asks, now.asks)
        for known in between:
            bids |= changes(known.bids, now.bids)
            asks |= changes(known.asks, now.asks)
        return DepthUpdate(
            first_id, told.update_id, bids, asks, before.update_id, number, before, told, reset_shift is not None
        )

    def restated(self) -> DepthUpdate:
        """An update that says what is known already: the best bid. Only while nothing has `changed`."""
        before, self.shift = self.told, self.shift + 1
        self.told = told = before._replace(update_id=before.update_id + 1, number=before.number + 1)
        price, quantity = next(iter(told.bids.items()))
        seen = before._replace(bids={**before.bids, price: quantity + 1})  # who looks for what is new finds the level
        return DepthUpdate(
            told.update_id, told.update_id, {price: quantity}, {}, before.update_id, told.number, seen, told
        )

    def _shifted(self, now: Book) -> Book:
        return now._replace(update_id=now.update_id + self.shift)


def changes(before: Mapping[int, int], now: Mapping[int, int], depth: int | None = None) -> dict[int, int]:
    """What turns one side into the other: new quantities by price, 0 removes.

    With `depth`, of both only the best so many: levels that come into it are named, one that falls out of it while it
    still exists is not: who keeps such a book cuts it himself.
    """
    seen = before if depth is None else dict(islice(before.items(), depth))
    wanted = now if depth is None else dict(islice(now.items(), depth))
    was = seen.get
    found = {price: quantity for price, quantity in wanted.items() if was(price) != quantity}
    for price in seen.keys() - now.keys():
        found[price] = 0
    return found


def crossed(update: DepthUpdate, tick: int, lot: int) -> DepthUpdate:
    """The update with a bid above the best ask: an error that nothing takes back."""
    level = {next(iter(update.book.asks)) + tick: lot}
    book = update.book._replace(bids={**level, **update.book.bids})
    return update._replace(bids={**level, **update.bids}, book=book)
