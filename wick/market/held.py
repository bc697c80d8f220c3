"""Pending and closed candles of all pairs of one shard and venue, in preallocated columns. Pure.

`rows` is one int64 array; pair p owns the rows of its block, an interval `slots` of them, overwritten in a ring. All
pairs close in lockstep: what ends at the same instant is found by that instant and handled in columns. A value beyond
64 bits lives beside the array, in Python's own integers; so nothing is ever rounded, and hardly anything pays for it.
"""

from collections.abc import Iterable
from math import nan, sqrt
from struct import Struct
from struct import error as TooBig
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.market import book, flow
from wick.market.blocks import EXACT, REALS, Block
from wick.market.flow import Part
from wick.market.intervals import INTERVALS
from wick.market.numbers import POW10
from wick.market.schema import FORMED_FIELDS, PARTIAL, Row
from wick.market.state import Stateful

Values = list[Any]  # a candle as it is held: the six integers below, what `book` has of it (floats), then its part

OPEN_MS, CLOSE_MS, REVISION, FLAGS, CVD, ANCHOR_MS, BOOK = range(7)
PART: Final = BOOK + len(book.NAMES)
_RV, _SQUARES = PART + flow.RV, PART + flow.SQUARES
_LIMB = 60  # these two pass 64 bits as a rule: they take two columns each, 60 bits in the lower one
_LOW = (1 << _LIMB) - 1
_LIMB_UNIT = float(1 << _LIMB)
_WIDTH: Final = PART + flow.WIDTH + 2
_RV_LOW, _SQUARES_LOW = _WIDTH - 2, _WIDTH - 1
_ROW = Struct(f"={BOOK}q{PART - BOOK}d{_WIDTH - PART}q")  # the floats have the places of integers
_ROOM = 2  # pairs at a time, later an eighth more: doubling would leave up to half of it unused
_TENS = np.array([float(power) for power in POW10])

# Where in `rows` each exact field of schema.FORMED is; the computed ones (decimals, deltas) get their place only.
_EXACT: Final = [
    OPEN_MS, CLOSE_MS, REVISION, FLAGS, 0, 0, *range(PART + flow.OPEN, PART + flow.CLOSE + 1),
    *range(PART + flow.SUMS.start, PART + flow.SUMS.stop), PART + flow.FIRST_ID, PART + flow.LAST_ID,
    0, PART + flow.D_MAX, PART + flow.D_MIN, CVD, ANCHOR_MS, PART + flow.MAX_SIZE, PART + flow.LARGE, 0,
]  # fmt: skip
_DECIMALS = slice(FLAGS + 1, FLAGS + 3)
_DELTA, _LARGE_DELTA = FORMED_FIELDS.index("delta"), FORMED_FIELDS.index("large_trade_delta")

assert len(_EXACT) == EXACT and FORMED_FIELDS[-len(book.NAMES) :] == book.NAMES


class Held(Stateful):
    """The columns. `slots`: candles an interval that a pair keeps, pending ones among them."""

    STATE = ("big", "used", "pending", "decimals", "rows")
    GIVEN = ("slots", "block", "pairs")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.block = slots * len(INTERVALS)
        self.pairs = 0
        self.rows: NDArray[np.int64] = np.zeros((_ROOM * self.block, _WIDTH), np.int64)
        self.big: dict[int, Values] = {}  # index -> values of a row that 64 bits cannot hold
        self.used: list[list[int]] = []  # a pair: for each interval, how many candles it has put
        self.decimals: list[tuple[int, int]] = []
        self.pending: dict[int, list[int]] = {}  # close_ms -> indices of rows that close then

    def state(self) -> list[Any]:
        *plain, rows = super().state()
        return [*plain, rows[self._in_use()].tobytes()]

    def restore(self, state: list[Any]) -> None:
        *plain, decimals, packed = state
        super().restore([*plain, [(prices, sizes) for prices, sizes in decimals], self.rows])
        at = self._in_use()
        self.rows[at] = np.frombuffer(packed, np.int64).reshape(len(at), _WIDTH)

    def _in_use(self) -> NDArray[np.intp]:
        """The rows that hold candles."""
        used = np.array(self.used, np.int64).reshape(self.pairs, len(INTERVALS), 1)
        return np.flatnonzero(np.arange(self.slots) < used)

    def add_pair(self) -> int:
        """Room for another pair; its number."""
        number = self.pairs
        self.pairs += 1
        if self.pairs * self.block > len(self.rows):
            more = max(_ROOM, number // 8) * self.block
            self.rows = np.concatenate([self.rows, np.zeros((more, _WIDTH), np.int64)])
        self.used.append([0] * len(INTERVALS))
        self.decimals.append((0, 0))
        return number

    # ------------------------------------------------------------------ one row

    def next_index(self, pair: int, interval: int) -> int:
        """Where the interval's next candle goes: the place of its oldest, once the ring is full."""
        return pair * self.block + interval * self.slots + self.used[pair][interval] % self.slots

    def is_taken(self, pair: int, interval: int) -> bool:
        """Whether the next candle overwrites one."""
        return self.used[pair][interval] >= self.slots

    def put(self, pair: int, interval: int, values: Values) -> int:
        """A new candle into the ring, pending; its index."""
        index = self.next_index(pair, interval)
        self.used[pair][interval] += 1
        self.write(index, values)
        self.pending.setdefault(values[CLOSE_MS], []).append(index)
        return index

    def write(self, index: int, values: Values) -> None:
        try:
            rv, squares = values[_RV], values[_SQUARES]
            _ROW.pack_into(
                self.rows.data, index * _ROW.size, *values[:_RV], rv >> _LIMB, values[_RV + 1], squares >> _LIMB,
                rv & _LOW, squares & _LOW,
            )  # fmt: skip
            if self.big:
                self.big.pop(index, None)
        except TooBig:
            self.big[index] = values
            self.rows[index, :CVD] = values[:CVD]

    def read(self, index: int) -> Values:
        if index in self.big:
            return list(self.big[index])
        row = self.rows[index]
        values: Values = row.tolist()
        values[BOOK:PART] = row[BOOK:PART].view(np.float64).tolist()
        values[_RV] = (values[_RV] << _LIMB) + values[_RV_LOW]
        values[_SQUARES] = (values[_SQUARES] << _LIMB) + values[_SQUARES_LOW]
        return values[:_RV_LOW]

    def indices(self, pair: int, interval: int) -> list[int]:
        """The rows that an interval of a pair has, in the order of time."""
        begin = pair * self.block + interval * self.slots
        count = min(self.used[pair][interval], self.slots)
        order = np.argsort(self.rows[begin : begin + count, OPEN_MS], kind="stable")
        return (order + begin).tolist()  # type: ignore[no-any-return]

    def find(self, pair: int, interval: int, open_ms: int) -> int | None:
        begin = pair * self.block + interval * self.slots
        count = min(self.used[pair][interval], self.slots)
        found = np.flatnonzero(self.rows[begin : begin + count, OPEN_MS] == open_ms)
        return begin + int(found[0]) if len(found) else None

    def owner(self, index: int) -> tuple[int, int]:
        """(pair, interval) of a row."""
        pair, rest = divmod(index, self.block)
        return pair, rest // self.slots

    # ------------------------------------------------------------------ closing

    def due(self, until_ms: int) -> list[int]:
        """The pending rows that end by `until_ms`, in the order of that; they are not pending any more."""
        if not self.pending:
            return []
        ends = sorted(end for end in self.pending if end <= until_ms)
        return [index for end in ends for index in self.pending.pop(end)]

    def undo_pending(self, index: int, close_ms: int) -> bool:
        """Take a row out of the pending ones; false where it was not."""
        waiting = self.pending.get(close_ms, [])
        if index not in waiting:
            return False
        waiting.remove(index)
        if not waiting:
            del self.pending[close_ms]
        return True

    def mark(self, indices: Iterable[int], flags: int) -> None:
        """Set flags, and nothing else."""
        for index in indices:
            if index in self.big:
                self.big[index][FLAGS] |= flags
        self.rows[np.fromiter(indices, np.intp), FLAGS] |= flags

    def published(self, indices: list[int]) -> Block:
        """The rows as they are published, in the order of `indices`."""
        at = np.array(indices, np.intp)
        pairs, rest = np.divmod(at, self.block)
        exact, real = self._published(self.rows[at], np.array(self.decimals, np.int64)[pairs])
        big: list[list[Any]] = []
        if self.big and not self.big.keys().isdisjoint(indices):
            for place, (index, pair) in enumerate(zip(indices, pairs.tolist(), strict=True)):
                if index in self.big:
                    big.append([place, published(self.read(index), *self.decimals[pair])])
        return Block(pairs.tolist(), (rest // self.slots).tolist(), exact.tobytes(), real.tobytes(), big)

    @staticmethod
    def _published(
        held: NDArray[np.int64], decimals: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        part = held[:, PART:].T
        volume, buy, count, large = part[flow.VOLUME], part[flow.BUY_VOLUME], part[flow.COUNT], part[flow.LARGE]
        exact = held[:, _EXACT]
        exact[:, _DECIMALS] = decimals
        exact[:, _DELTA] = delta = 2 * buy - volume
        exact[:, _LARGE_DELTA] = 2 * part[flow.LARGE_BUY] - large
        prices, sizes = _TENS[decimals.T]
        squares = part[flow.SQUARES] * _LIMB_UNIT + held[:, _SQUARES_LOW]
        some = np.maximum(volume, 1)
        real = np.empty((len(held), REALS))
        real[:, 0] = np.where(volume > 0, part[flow.QUOTE_VOLUME] / some / prices, nan)
        real[:, 1] = delta / some
        real[:, 2] = volume / np.maximum(count, 1) / sizes
        real[:, 3] = np.sqrt((part[flow.RV] * _LIMB_UNIT + held[:, _RV_LOW]) / flow.RV_UNIT)
        real[:, 4] = part[flow.KYLE] / np.where(squares > 0, squares, 1.0) * (sizes / prices)
        real[:, 5:] = held[:, BOOK:PART].view(np.float64)
        return exact, real


def published(values: Values, price_decimals: int, quantity_decimals: int) -> Row:
    """One candle as it is published; the same as in columns, bit for bit."""
    open_ms, close_ms, revision, flags, cvd, anchor_ms, *numbers = values[:PART]
    part = values[PART:]
    volume, buy, large, count = part[flow.VOLUME], part[flow.BUY_VOLUME], part[flow.LARGE], part[flow.COUNT]
    delta, prices, sizes = 2 * buy - volume, float(_TENS[price_decimals]), float(_TENS[quantity_decimals])
    squares, variance = _two_limbs(part[flow.SQUARES]), _two_limbs(part[flow.RV])
    some = float(max(volume, 1))
    return [
        open_ms, close_ms, revision, flags, price_decimals, quantity_decimals, *part[flow.OPEN : flow.CLOSE + 1],
        *part[flow.SUMS], part[flow.FIRST_ID], part[flow.LAST_ID], delta, part[flow.D_MAX], part[flow.D_MIN],
        cvd, anchor_ms, part[flow.MAX_SIZE], large, 2 * part[flow.LARGE_BUY] - large,
        float(part[flow.QUOTE_VOLUME]) / some / prices if volume else None, float(delta) / some,
        float(volume) / float(max(count, 1)) / sizes, sqrt(variance / flow.RV_UNIT),
        float(part[flow.KYLE]) / (squares if squares > 0 else 1.0) * (sizes / prices),
        *[None if number != number else number for number in numbers],
    ]  # fmt: skip


def _two_limbs(value: int) -> float:
    return float(value >> _LIMB) * _LIMB_UNIT + float(value & _LOW)


def flat(price: int) -> Part:
    """The part of a candle without a trade: everything 0 but its prices."""
    part = [0] * flow.WIDTH
    part[flow.OPEN : flow.CLOSE + 1] = [price] * 4
    return part


def partial(open_ms: int, since_ms: int) -> int:
    return PARTIAL if open_ms < since_ms else 0
