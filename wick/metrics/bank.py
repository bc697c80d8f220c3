"""The metric state of all streams of one interval, a column each, and how it goes on. Pure.

A stream keeps its newest candles in rings, and the state of what is recursive. Beside that are older copies of the
state, taken every few candles: when a candle is corrected, the stream goes back to the copy before it and takes all
candles since again. So what comes after a correction is, bit for bit, what it would have been without the mistake.

A stream's values never depend on which others are taken with it, nor on how many.
"""

from collections.abc import Iterator
from copy import copy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wick.metrics import patterns
from wick.metrics.fields import PRICE, PURE, SIZE, Scale
from wick.metrics.pattern_table import NAMES as PATTERNS
from wick.metrics.registry import Column
from wick.metrics.ring import Counts, Index, Ring
from wick.metrics.table import FIELDS, METRICS
from wick.metrics.window import FLOW_ROWS, ROWS, SHORT_ROWS, Window

Patterns = NDArray[np.int8]

# A candle as it is taken, in ticks and lots; `delta`: taker buy - taker sell volume.
TIME, OPEN, HIGH, LOW, CLOSE, TURNOVER, VOLUME, DELTA = range(8)
TAKEN: Final = 8

_COPIES = 4
_GROW = 8  # columns at a time: a doubling would leave up to half of each ring unused
_ONE_BY_ONE = 20  # streams up to which patterns are found for one after the other (scripts/bench/patterns.py)
_STATE: Final = tuple(scale for one in METRICS for scale in one.state)
_DEFINED_FROM = np.array([field.n for field in FIELDS])[:, None]
_ALL_DEFINED = int(_DEFINED_FROM.max())
_TAKEN: Final = (PURE, PRICE, PRICE, PRICE, PRICE, (1, 1), SIZE, SIZE)
_TENS = np.array([10.0**power for power in range(40)])
_GK = 2.0 * float(np.log(2.0)) - 1.0
_UNIT = np.array([(PURE, PRICE, SIZE).index(field.scale) for field in FIELDS])  # what its numbers are multiples of


class Bank:
    """`depth`: how many of a stream's newest candles can still be corrected."""

    def __init__(self, depth: int) -> None:
        self.every = -(-depth // (_COPIES - 1))  # a copy is at most so many candles older than the next
        older = _COPIES * self.every
        self.prices = Ring((PRICE, PRICE, PRICE), ROWS, ROWS + older)  # high, low, close
        # open, turnover, log return, range variance, time
        self.others = Ring((PRICE, (1, 1), PURE, PURE, PURE), SHORT_ROWS, SHORT_ROWS + older)
        self.flow = Ring((SIZE, SIZE), FLOW_ROWS, FLOW_ROWS + older)
        self.state: Column = np.zeros((1 + _COPIES, len(_STATE), 0))  # now, then the copies, newest first
        self.count: Counts = np.zeros(0, np.int64)
        self.decimals: Counts = np.zeros((2, 0), np.int64)
        self.expected: Column = np.zeros(0)  # when the first candle after a history has to open; 0: whenever

    @property
    def rings(self) -> tuple[Ring, Ring, Ring]:
        return self.prices, self.others, self.flow

    def widen(self, streams: int) -> None:
        """Room for at least so many."""
        width = -(-streams // _GROW) * _GROW
        more = width - len(self.count)
        if more <= 0:
            return
        for ring in self.rings:
            ring.widen(width)
        self.state = np.concatenate([self.state, np.zeros((*self.state.shape[:2], more))], axis=2)
        self.count = np.concatenate([self.count, np.zeros(more, np.int64)])
        self.decimals = np.concatenate([self.decimals, np.zeros((2, more), np.int64)], axis=1)
        self.expected = np.concatenate([self.expected, np.zeros(more)])

    def of(self, columns: Index) -> "Bank":
        """A copy with these streams only, in this order: what it takes is not committed here."""
        part = copy(self)
        part.prices, part.others, part.flow = (ring.of(columns) for ring in self.rings)
        part.state, part.decimals = self.state.take(columns, axis=2), self.decimals.take(columns, axis=1)
        part.count, part.expected = self.count.take(columns), self.expected.take(columns)
        return part

    # ------------------------------------------------------------------ candles

    def take(self, columns: Index, candles: Column, decimals: Counts) -> tuple[Column, Patterns]:
        """The next candle of each of these streams, (TAKEN, streams); `decimals`: of prices and sizes, (2, streams).

        Gives (FIELDS, streams) in real units, NaN where a value is not defined yet, and (61, streams) of patterns.
        """
        return self._run(columns, candles, decimals, commit=True)

    def peek(self, columns: Index, candles: Column, decimals: Counts) -> tuple[Column, Patterns]:
        """What `take` would give; nothing is committed."""
        return self._run(columns, candles, decimals, commit=False)

    def _run(self, columns: Index, candles: Column, decimals: Counts, commit: bool) -> tuple[Column, Patterns]:
        n = len(columns)
        if n == 1:  # numpy adds up a single column in another order
            columns, candles, decimals = columns.repeat(2), candles.repeat(2, axis=1), decimals.repeat(2, axis=1)
        first, last = int(columns[0]), int(columns[-1])
        is_run = last - first == len(columns) - 1 and bool(np.logical_and.reduce(columns[1:] > columns[:-1]))
        at = slice(first, last + 1) if is_run else columns
        candles, decimals = self._in_units(columns, at, candles, decimals)
        counts = self.count[at]
        in_step = is_run and bool(np.logical_and.reduce(counts == counts[0]))
        prices, others, flow = (ring.look(columns, counts, at, in_step) for ring in self.rings)
        prices[:, -1] = candles[HIGH : CLOSE + 1]
        others[:, -1] = _once(candles, prices[2, -2], counts)
        flow[:, -1] = candles[VOLUME:]
        window = Window(prices, others, flow, counts + 1, _TENS[decimals])
        state = self.state[0][:, at]
        if is_run and not commit:
            state = state.copy()
        values = _computed(window, state)
        found = _patterns(window)
        if commit:
            self.prices.put(columns, counts, prices[:, -1])
            self.others.put(columns, counts, others[:, -1])
            self.flow.put(columns, counts, flow[:, -1])
            if not is_run:
                self.state[0][:, columns] = state
            self._counted(columns, at, counts + 1)
        return values[:, :n], found[:, :n]

    def _counted(self, columns: Index, at: slice | Index, counts: Counts) -> None:
        self.count[at] = counts
        is_due = counts % self.every == 0
        if np.logical_or.reduce(is_due):
            due = at if np.logical_and.reduce(is_due) else columns[is_due]
            self.state[1:, :, due] = self.state[:-1, :, due]

    def _in_units(self, columns: Index, at: slice | Index, candles: Column, decimals: Counts) -> tuple[Column, Counts]:
        """Candles of these streams, and their decimals, in the finest units that either has had: a coarser one would
        leave parts of ticks, which are no ties any more."""
        known = self.decimals[:, at]
        if not (decimals != known).any():
            return candles, decimals
        finest = np.maximum(decimals, known)
        gains = _TENS[finest - known]
        finer = np.flatnonzero(gains.max(axis=0) > 1.0)
        if len(finer):
            self._restate(columns[finer], gains[:, finer], finest[:, finer])
        return candles * _factors(_TAKEN, _TENS[finest - decimals]), finest

    def _restate(self, columns: Index, gains: Column, decimals: Counts) -> None:
        columns, first = np.unique(columns, return_index=True)  # one alone is taken twice
        gains = gains[:, first]
        for ring in self.rings:
            ring.restate(columns, gains)
        for row, factor in enumerate(_factors(_STATE, gains)):
            self.state[:, row, columns] *= factor
        self.decimals[:, columns] = decimals[:, first]

    def meet(self, columns: Index, times: Column) -> None:
        """Candles that open at these times are to be taken, those of a stream in order: where the first one after a
        history leaves a gap, the history is forgotten."""
        if not self.expected[columns].any():
            return
        columns, first = np.unique(columns, return_index=True)
        times, expected = times[first], self.expected[columns]
        lost = columns[(expected > 0.0) & (times != expected)]
        self.count[lost] = 0
        self.state[:, :, lost] = 0.0
        self.expected[columns] = 0.0

    # ------------------------------------------------------------------ corrections

    def last_times(self, columns: Index) -> Column:
        """When the newest candle of each stream opened (ms); -1 where there is none."""
        counts = self.count[columns]
        times = self.others.values[-1, (counts - 1) % self.others.rows, columns]
        return np.where(counts > 0, times, -1.0)

    def correct(
        self, columns: list[int], candles: list[Column], decimals: Counts
    ) -> Iterator[list[tuple[Column, Patterns]]]:
        """Corrected candles of these streams, or such that were missing: (TAKEN, candles) for each, by time.

        What is newer than the first of them is taken again too. Gives for each stream (FIELDS, candles) and
        (61, candles) of those that were given; NaN and 0 where they are older than what is kept. That comes last: the
        lists before it are empty, and give the caller time for what these streams have no part in.
        """
        at = np.array(columns, np.intp)
        # First of all: what is taken again is read in the units of what it is taken with.
        each = [self._in_units(at[[row]], at[[row]], its, decimals[:, [row]]) for row, its in enumerate(candles)]
        candles, decimals = [its for its, _ in each], np.concatenate([own for _, own in each], axis=1)
        queues = []
        for column, its in zip(columns, candles, strict=True):
            queues.append(self._rewound(column, its))
            yield []
        made = [
            (np.full((len(FIELDS), its.shape[1]), np.nan), np.zeros((len(PATTERNS), its.shape[1]), np.int8))
            for its in candles
        ]
        places = [{time: at for at, time in enumerate(its[TIME].tolist())} for its in candles]
        for step in range(max((queue.shape[1] for queue in queues), default=0)):
            some = [stream for stream, queue in enumerate(queues) if step < queue.shape[1]]
            now = np.stack([queues[stream][:, step] for stream in some], axis=1)
            values, found = self.take(at[some], now, decimals[:, some])
            for row, stream in enumerate(some):
                place = places[stream].get(now[TIME, row])
                if place is not None:
                    made[stream][0][:, place], made[stream][1][:, place] = values[:, row], found[:, row]
            yield []
        yield made

    def _rewound(self, column: int, given: Column) -> Column:
        """Set a stream back to before the first of these candles that is not too old. What it has to take again, in
        order."""
        count = int(self.count[column])
        oldest = max(0, (count // self.every - _COPIES + 1) * self.every)  # where it was when that copy was made
        first = max(0, oldest - 1)
        history = self._candles(column, first, count)
        times = history[TIME]
        if oldest:
            given = given[:, given[TIME] > times[0]]
        if not given.shape[1]:
            return given
        kept = count - int((times >= given[TIME, 0]).sum())
        begins = [(count // self.every - copy) * self.every for copy in range(_COPIES)]
        number, begin = next((number, begin) for number, begin in enumerate(begins, 1) if begin <= kept)
        self.state[0, :, column] = self.state[number, :, column]
        for older in range(1, _COPIES - number + 2):
            self.state[older, :, column] = self.state[older + number - 1, :, column]
        self.count[column] = begin
        history = history[:, begin - first :]
        # What was given stands for what was there.
        merged = dict(zip(history[TIME].tolist(), history.T, strict=True))
        merged |= dict(zip(given[TIME].tolist(), given.T, strict=True))
        return np.array([merged[time] for time in sorted(merged)]).T

    def _candles(self, column: int, begin: int, end: int) -> Column:
        """Candles of a stream as they were taken, (TAKEN, candles)."""
        number = np.arange(begin, end)
        prices, others, flow = (ring.values[:, number % ring.rows, column] for ring in self.rings)
        return np.stack([others[4], others[0], *prices, others[1], *flow])

    # ------------------------------------------------------------------ as bytes

    def save(self, columns: Index) -> list[Any]:
        """All that later values of these streams depend on."""
        return [array[..., columns].tobytes() for array in self._arrays]

    def restore(self, columns: Index, saved: list[Any]) -> None:
        """Into streams of a bank of the same depth."""
        for array, packed in zip(self._arrays, saved, strict=True):
            array[..., columns] = np.frombuffer(packed, array.dtype).reshape(*array.shape[:-1], len(columns))

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        """All that there is, streams last."""
        return [*[ring.values for ring in self.rings], self.state, self.count, self.decimals, self.expected]


def _factors(scales: tuple[Scale, ...], gains: Column) -> Column:
    """What fields grow by, (scales, streams), where the units of prices and of sizes do by `gains`, (2, streams)."""
    return np.array([gains[0] ** price * gains[1] ** size for price, size in scales])


def _once(candles: Column, before: Column, counts: Counts) -> Column:
    """What is kept of a candle beside its prices, returns made once: open, turnover, return, variance, time."""
    opened, close = candles[OPEN], candles[CLOSE]
    bases = np.array((np.where(counts > 0, before, close), candles[LOW], opened))
    returns, height, body = _log_ratio(candles[[CLOSE, HIGH, CLOSE]], bases)
    variance = height * height / 2.0 - _GK * (body * body)
    return np.array((opened, candles[TURNOVER], returns, variance, candles[TIME]))


def _log_ratio(price: Column, base: Column) -> Column:
    """ln(price / base), by their difference: the quotient of two near prices has lost the digits that matter."""
    base = np.maximum(base, 1e-300)
    change = (price - base) / base
    logs = np.log1p(np.maximum(change, -0.5))
    far = change < -0.5
    if far.any():
        logs[far] = np.log(np.maximum(price[far], 1e-300)) - np.log(base[far])
    return logs


def _computed(window: Window, state: Column) -> Column:
    results: list[Column] = []
    own = 0
    for compute, fields, scales in METRICS:
        result = compute(window, state[own : own + len(scales)])
        results += result if len(fields) > 1 else (result,)
        own += len(scales)
    values = np.concatenate(results).reshape(len(FIELDS), -1)
    values /= np.concatenate([np.ones_like(window.tens[:1]), window.tens]).take(_UNIT, 0)
    if int(window.count.min()) < _ALL_DEFINED:
        values[window.count < _DEFINED_FROM] = np.nan
    return values


def _patterns(window: Window) -> Patterns:
    o, h, l, c = (  # noqa: E741  (as everybody calls them)
        prices[-patterns.ROWS :] for prices in (window.opens, window.highs, window.lows, window.closes)
    )
    if len(window.count) > _ONE_BY_ONE:
        return patterns.columns(o, h, l, c, window.count)
    each = zip(o.T.tolist(), h.T.tolist(), l.T.tolist(), c.T.tolist(), window.count.tolist(), strict=True)
    found = b"".join([patterns.one(*one) for one in each])
    return np.frombuffer(found, np.int8).reshape(-1, len(PATTERNS)).T
