"""The metrics processor: closed candles of many pairs and intervals in, the same with metrics and patterns out. Pure.

All pairs of a worker share it, whatever shard they are in: the more that close together, the less each costs. What
comes out for a pair depends on nothing but its own candles.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT, Block
from wick.market.intervals import INTERVALS
from wick.market.schema import FORMED_FIELDS
from wick.metrics.bank import CLOSE, DELTA, TAKEN, TIME, VOLUME, Bank, Patterns
from wick.metrics.pattern_table import NAMES as PATTERNS
from wick.metrics.registry import Column
from wick.metrics.ring import Counts, Index
from wick.metrics.table import FIELDS

MOST = 384  # streams taken in one go: what they cost is how long the hub is held

# The fields of a row that a bank takes, in the order of its candles; in the place of `DELTA` the taker buy volume.
TAKEN_FROM: Final = [
    FORMED_FIELDS.index(name)
    for name in ("open_time_ms", "open", "high", "low", "close", "quote_volume", "volume", "taker_buy_volume")
]
_DECIMALS: Final = [FORMED_FIELDS.index(name) for name in ("price_decimals", "quantity_decimals")]

assert len(TAKEN_FROM) == TAKEN and (TIME, CLOSE, VOLUME, DELTA) == (0, 4, 6, 7)

Work = tuple[Index, Block]  # the columns of a block's pairs by their numbers in it, and the block


class Processor:
    """`depth`: how many closed candles of an interval can still be corrected."""

    def __init__(self, depth: int = 19) -> None:
        self.depth = depth
        self.banks = [Bank(depth) for _ in INTERVALS]
        self.columns: dict[tuple[str, str], int] = {}

    def column(self, venue: str, symbol: str) -> int:
        """The pair's place in all banks; one that is new gets one."""
        return self.columns.setdefault((venue, symbol), len(self.columns))

    def learn(
        self,
        interval: int,
        pairs: Sequence[int],
        histories: Sequence[Column],
        decimals: Sequence[Counts],
        next_ms: Sequence[int],
    ) -> Iterator[None]:
        """Begin these pairs' streams with candles that closed before: (TAKEN, candles) and (2, candles) of each, oldest
        first. `next_ms`: when the next candle has to open, if it is to follow them without a gap; 0: whenever it comes.
        Gives the caller time in between."""
        bank = self._bank(interval)
        columns, lengths = np.array(pairs, np.intp), np.array([own.shape[1] for own in histories])
        for left in range(int(lengths.max(initial=0)), 0, -1):
            some = np.flatnonzero(lengths >= left)
            for at in np.array_split(some, -(-len(some) // MOST)):
                each = np.stack([histories[one][:, -left] for one in at.tolist()], axis=1)
                bank.take(columns[at], each, np.stack([decimals[one][:, -left] for one in at.tolist()], axis=1))
                yield
        bank.expected[columns] = next_ms

    def run(self, work: Sequence[Work]) -> Iterator[list[Block]]:
        """The blocks with metrics and patterns, in the last list that comes; the lists before it are empty, and give
        the caller time for something else. No pair may be in two of the blocks."""
        columns, intervals, candles, decimals = _joined(work)
        metrics = np.empty((len(columns), len(FIELDS)))
        found = np.empty((len(columns), len(PATTERNS)), np.int8)
        yield []
        for interval in sorted({*intervals.tolist()}):
            bank, rows = self._bank(interval), (intervals == interval).nonzero()[0]
            bank.meet(columns[rows], candles[TIME, rows])
            rows, wrong = _in_order(bank, rows, columns, candles[TIME])
            for some in _corrections(wrong, columns):
                its = [candles[:, at] for at in some]
                each = np.array([decimals[:, at[-1]] for at in some]).T
                made: list[tuple[Column, Patterns]] = []
                for made in bank.correct([int(columns[at[0]]) for at in some], its, each):  # noqa: B007  (the last one)
                    yield []
                for at, (values, own) in zip(some, made, strict=True):
                    metrics[at], found[at] = values.T, own.T
            for at in turns(rows, columns):
                values, own = bank.take(columns[at], candles[:, at], decimals[:, at])
                metrics[at], found[at] = values.T, own.T
                yield []
        yield _enriched(work, metrics, found)

    def peek(self, before: Sequence[Work], work: Sequence[Work]) -> Iterator[list[Block]]:
        """Blocks of live candles, each of another stream, with the metrics that they would have if they closed now.

        `before`: candles of these streams that have ended, and will be closed first; in the order of time. Nothing is
        committed. The blocks come last, as in `run`.
        """
        columns, intervals, candles, decimals = _joined([*before, *work])
        metrics = np.full((len(columns), len(FIELDS)), np.nan)
        found = np.zeros((len(columns), len(PATTERNS)), np.int8)
        for interval in sorted({*intervals.tolist()}):
            rows = (intervals == interval).nonzero()[0]
            streams, columns[rows] = np.unique(columns[rows], return_inverse=True)
            bank = self._bank(interval).of(streams)
            bank.meet(columns[rows], candles[TIME, rows])
            # What comes too late waits for its turn: it is a correction.
            rows = rows[candles[TIME, rows] > bank.last_times(columns[rows])]
            for at in turns(rows, columns):
                values, own = bank.take(columns[at], candles[:, at], decimals[:, at])
                metrics[at], found[at] = values.T, own.T
                yield []
        first = sum(len(block.pairs) for _, block in before)
        yield _enriched(work, metrics[first:], found[first:])

    # ------------------------------------------------------------------ as bytes

    def save(self, pairs: Sequence[int]) -> list[list[Any]]:
        """All that later metrics of these pairs depend on."""
        return [self._bank(interval).save(np.array(pairs, np.intp)) for interval in range(len(self.banks))]

    def restore(self, pairs: Sequence[int], saved: list[list[Any]]) -> None:
        for interval, its in enumerate(saved):
            self._bank(interval).restore(np.array(pairs, np.intp), its)

    def _bank(self, interval: int) -> Bank:
        """With room for all pairs that there are."""
        bank = self.banks[interval]
        bank.widen(len(self.columns))
        return bank


class History(NamedTuple):
    """Candles of a stream as a bank takes them, (TAKEN, candles) and (2, candles), and when the last one closed."""

    candles: Column
    decimals: Counts
    close_ms: int


def history_of(rows: Sequence[Sequence[int]], contiguous: bool) -> History | None:
    """Of rows in the order of time: open and close time, decimals of prices and of sizes, then TAKEN_FROM without the
    time. `contiguous`: what is before a gap is left out. None where there are none."""
    if not rows:
        return None
    table = np.array(rows, np.float64).T
    times, ends = table[0], table[1]
    gaps = np.flatnonzero(times[1:] != ends[:-1])
    begin = int(gaps[-1]) + 1 if contiguous and len(gaps) else 0
    candles = as_taken(np.concatenate([table[:1], table[4:]])[:, begin:])
    return History(candles, table[2:4, begin:].astype(np.int64), int(ends[-1]))


def _joined(work: Sequence[Work]) -> tuple[Index, Index, Column, Counts]:
    """Of all rows of these blocks: the column and the interval, the candle as a bank takes it, its decimals."""
    columns = np.concatenate([own[block.pairs] for own, block in work])
    intervals = np.array([interval for _, block in work for interval in block.intervals], np.intp)
    candles, decimals = zip(*[_read(block) for _, block in work], strict=True)
    return columns, intervals, np.concatenate(candles, axis=1), np.concatenate(decimals, axis=1)


def _enriched(work: Sequence[Work], metrics: Column, found: NDArray[np.int8]) -> list[Block]:
    """The blocks with what was found of their rows, which are in order."""
    ends = np.add.accumulate([0, *[len(block.pairs) for _, block in work]]).tolist()
    return [
        block._replace(metrics=metrics[begin:end].tobytes(), patterns=found[begin:end].tobytes())
        for (_, block), begin, end in zip(work, ends[:-1], ends[1:], strict=True)
    ]


def _read(block: Block) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A block's rows as a bank takes them, and their decimals."""
    exact = np.frombuffer(block.exact, "<i8").reshape(-1, EXACT)
    candles = exact[:, TAKEN_FROM].T.astype(np.float64)
    decimals = exact[:, _DECIMALS].T.astype(np.int64)
    for place, row in block.big:
        candles[:, place] = [float(row[at]) for at in TAKEN_FROM]
        decimals[:, place] = [row[at] for at in _DECIMALS]
    return as_taken(candles), decimals


def as_taken(candles: Column) -> Column:
    """The values of TAKEN_FROM, (TAKEN, candles), as a bank takes them: with the delta instead of what makes it."""
    candles[DELTA] = 2.0 * candles[DELTA] - candles[VOLUME]
    return candles


def _in_order(bank: Bank, rows: Index, columns: Index, times: NDArray[np.float64]) -> tuple[Index, Index]:
    """The rows of streams that simply go on, and those of streams that a correction sets back."""
    back = times[rows] <= bank.last_times(columns[rows])
    if not back.any():
        return rows, rows[:0]
    again = {*columns[rows[back]].tolist()}
    wrong = np.array([column in again for column in columns[rows].tolist()])
    return rows[~wrong], rows[wrong]


def turns(rows: Index, columns: Index) -> Iterator[Index]:
    """The rows in the order of their columns, each of these at most once a turn, no more than MOST at a time."""
    while len(rows):
        order = np.argsort(columns[rows], kind="stable")
        rows = rows[order]
        again = np.zeros(len(rows), bool)
        again[1:] = columns[rows[1:]] == columns[rows[:-1]]
        now, rows = rows[~again], rows[again]
        parts = -(-len(now) // MOST)
        yield from np.array_split(now, parts)


def _corrections(rows: Index, columns: Index) -> Iterator[list[Index]]:
    """The rows of each stream, those of at most MOST streams at a time."""
    rows = rows[np.argsort(columns[rows], kind="stable")]
    starts = (np.diff(columns[rows]) != 0).nonzero()[0] + 1
    streams = np.split(rows, starts) if len(rows) else []
    for at in range(0, len(streams), MOST):
        yield streams[at : at + MOST]
