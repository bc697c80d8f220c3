"""Closed candles in columns, on their way into a store."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from wick.market.blocks import EXACT, REALS, of_metrics
from wick.market.intervals import NAMES
from wick.market.schema import FLOW_FIELDS, FOREIGN, FORMED, FORMED_FIELDS, METRIC_FIELDS, PARTIAL, UNKNOWN, Row
from wick.metrics import pattern_table
from wick.metrics.fields import FIELDS

METRICS = len(FIELDS)
PATTERNS = len(pattern_table.NAMES)
MISSING = -(2**63)  # in `exact`: not known
_INT64 = 2**63
_EXACT_TYPE, _REAL_TYPE = np.dtype("<i8"), np.dtype("<f8")
_WIDTHS: Final[tuple[tuple[np.dtype[Any], int], ...]] = (
    (_EXACT_TYPE, EXACT),
    (_REAL_TYPE, REALS),
    (_REAL_TYPE, METRICS),
    (np.dtype(np.int8), PATTERNS),
)
_NONE: Final[list[tuple[Any, ...]]] = [()] * 9  # of no blocks
_NAN = np.array(np.nan, _REAL_TYPE).tobytes()
_INTERVAL = {name: number for number, name in enumerate(NAMES)}
_REVISION, _FLAGS = FORMED_FIELDS.index("revision"), FORMED_FIELDS.index("flags")
_FLOWS = [at for at, name in enumerate(FORMED_FIELDS) if name in FLOW_FIELDS and at < EXACT]
_ANCHOR = [field.name for field in FIELDS].index("obv_anchor_ms")
_NEVER = 2.0**63


class Batch(NamedTuple):
    """`n` candles. A value that is not known is NaN, or MISSING; a candle whose metrics nobody has computed has `known`
    False.

    A candle with an exact number beyond 64 bits is in `big` by its place, FORMED whole; its row of `exact` has zeros
    where a number does not fit.
    """

    pairs: list[tuple[str, str]]  # (venue, symbol), each once
    pair: NDArray[np.int32]  # (n,) an index of `pairs`
    interval: NDArray[np.int16]  # (n,) an index of INTERVALS
    exact: NDArray[np.int64]  # (n, EXACT) the exact fields of FORMED
    real: NDArray[np.float64]  # (n, REALS) its REAL fields
    metrics: NDArray[np.float64]  # (n, METRICS)
    patterns: NDArray[np.int8]  # (n, PATTERNS)
    known: NDArray[np.bool_]  # (n,) whether metrics and patterns have been computed
    big: dict[int, list[Any]]

    @classmethod
    def empty(cls) -> Self:
        return cls.of_rows([])

    @classmethod
    def of_closes(cls, blocks: Iterable[Sequence[Any]]) -> Self:
        """Of the blocks of `wire.messages.Closes`. Many small ones: what they have is joined first."""
        venues, symbols, pairs, intervals, exact, real, bigs, metrics, patterns = [*zip(*blocks, strict=True)] or _NONE
        counts = [*map(len, pairs)]
        numbers: dict[tuple[str, str], int] = {}
        named: list[int] = []
        places: dict[tuple[str, tuple[str, ...]], int] = {}  # in `named`: many blocks have the same symbols
        begins = []
        for key in zip(venues, map(tuple, symbols), strict=True):
            if key not in places:
                places[key] = len(named)
                named += [numbers.setdefault((key[0], symbol), len(numbers)) for symbol in key[1]]
            begins.append(places[key])
        begin = np.repeat(np.array(begins, np.int64), counts)
        pair = np.array(named, np.int32)[begin + np.fromiter(chain.from_iterable(pairs), np.int64, len(begin))]
        interval = np.frombuffer(b"".join(map(bytes, intervals)), np.uint8).astype(np.int16)
        has = np.array([*map(bool, metrics)], np.bool_)
        if not has.all():
            metrics = tuple([own or _NAN * (n * METRICS) for own, n in zip(metrics, counts, strict=True)])
            patterns = tuple([own or bytes(n * PATTERNS) for own, n in zip(patterns, counts, strict=True)])
        columns = [
            np.frombuffer(bytearray().join(part), kind).reshape(-1, width).astype(kind.newbyteorder("="), copy=False)
            for part, (kind, width) in zip((exact, real, metrics, patterns), _WIDTHS, strict=True)
        ]
        before = accumulate(counts, initial=0)
        told = [(start + place, row) for start, big in zip(before, bigs, strict=False) for place, row in big]
        big = _put_big(columns[0], columns[1], told)
        return cls._make([[*numbers], pair, interval, *columns, np.repeat(has, counts), big])

    @classmethod
    def of_rows(cls, rows: Iterable[Row]) -> Self:
        """Of rows [venue, symbol, interval, *CANDLE_FIELDS]; `bull` and `bear` are those of `patterns`."""
        told = list(rows)
        n, width = len(told), len(FORMED)
        numbers: dict[tuple[str, str], int] = {}
        exact, real = np.zeros((n, EXACT), np.int64), np.full((n, REALS), np.nan)
        metrics, patterns = np.full((n, METRICS), np.nan), np.zeros((n, PATTERNS), np.int8)
        known, big = np.zeros(n, np.bool_), {}
        pair = [numbers.setdefault((row[0], row[1]), len(numbers)) for row in told]
        for place, (_, _, _, *row) in enumerate(told):
            exact[place], real[place], whole = _columns(row[:width])
            if whole:
                big[place] = row[:width]
            *values, _, _, found = row[width:]
            if found is not None:
                known[place] = True
                metrics[place] = values  # None becomes NaN
                patterns[place] = np.frombuffer(found, np.int8)
        interval = np.array([_INTERVAL[row[2]] for row in told], np.int16)
        return cls([*numbers], np.array(pair, np.int32), interval, exact, real, metrics, patterns, known, big)

    @classmethod
    def join(cls, batches: Iterable["Batch"]) -> Self:
        """One behind the other."""
        numbers: dict[tuple[str, str], int] = {}
        parts = []
        for batch in batches:
            own = np.array([numbers.setdefault(pair, len(numbers)) for pair in batch.pairs], np.int32)
            parts.append(batch._replace(pair=own[batch.pair]))
        return cls._joined([*numbers], parts)

    @classmethod
    def _joined(cls, pairs: list[tuple[str, str]], parts: Sequence["Batch"]) -> Self:
        if not parts:
            return cls.empty()
        big: dict[int, list[Any]] = {}
        before = 0
        for part in parts:
            big |= {before + place: row for place, row in part.big.items()}
            before += len(part.pair)
        columns = zip(*[part._columns for part in parts], strict=True)
        return cls._make([pairs, *map(np.concatenate, columns), big])

    @property
    def n(self) -> int:
        return len(self.pair)

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        return sum(column.nbytes for column in self._columns)

    @property
    def _columns(self) -> Any:
        return self[1:-1]

    def take(self, places: Any) -> "Batch":
        """These candles, by place (numbers, a slice or a mask), in that order; of all `pairs`."""
        order = np.arange(self.n)[places]
        big = {}
        if self.big:
            big = {at: self.big[place] for at, place in enumerate(order.tolist()) if place in self.big}
        return Batch._make([self.pairs, *(column[order] for column in self._columns), big])

    def knows(self) -> NDArray[np.int64]:
        """How many fields each knows of those that a row may miss."""
        made: NDArray[np.int64] = (self.exact[:, _FLOWS] != MISSING).sum(axis=1)
        made += np.isfinite(self.real).sum(axis=1) + np.isfinite(self.metrics).sum(axis=1)
        return made + (len(METRIC_FIELDS) - METRICS) * self.known  # the patterns and their masks

    def rank(self) -> NDArray[np.float64]:
        """`market.rows.rank` of each candle, (n, 5); `best` of what compares equal is the later."""
        flags, anchor = self.exact[:, _FLAGS], self.metrics[:, _ANCHOR]
        return np.column_stack(
            (
                flags & PARTIAL == 0,
                flags & FOREIGN == 0,
                self.exact[:, _REVISION],
                self.knows(),
                np.where(np.isnan(anchor), -_NEVER, -anchor),
            )
        )

    def best(self) -> "Batch":
        """One row a candle: the best by `rank`, of equals the last. Where none comes twice, as nearly always, this is
        the batch itself; else it is in order of pair, interval and time."""
        if self._comes_once():
            return self
        rank = self.rank()
        keys = (self.exact[:, 0], self.interval, self.pair)
        order = np.lexsort((*rank.T[::-1], *keys))  # stable: of equals the last comes last
        last = np.zeros(self.n, np.bool_)
        last[-1] = True
        for key in keys:
            sorted_key = key[order]
            last[:-1] |= sorted_key[1:] != sorted_key[:-1]
        return self.take(order[last])

    def _comes_once(self) -> bool:
        """Whether no candle comes twice, as far as one number a candle tells."""
        keys = self.exact[:, 0] * (len(NAMES) * len(self.pairs)) + self.pair * len(NAMES) + self.interval
        keys.sort()
        return bool((keys[1:] != keys[:-1]).all())

    def rows(self) -> list[Row]:
        """[venue, symbol, interval, *CANDLE_FIELDS] of each."""
        made = []
        patterns = of_metrics(self.metrics.astype(_REAL_TYPE).tobytes(), self.patterns.tobytes())
        columns = (self.pair, self.interval, self.exact, self.real, self.known)
        told = zip(*(column.tolist() for column in columns), patterns, strict=True)
        for place, (pair, interval, exact, real, known, more) in enumerate(told):
            formed = self.big.get(place)
            if formed is None:
                formed = [*(None if value == MISSING else value for value in exact), *_nulls(real)]
            made.append([*self.pairs[pair], NAMES[interval], *formed, *(more if known else UNKNOWN)])
        return made


def _nulls(values: list[Any]) -> list[Any]:
    return [None if value != value else value for value in values]


def _put_big(
    exact: NDArray[np.int64], real: NDArray[np.float64], told: Sequence[tuple[int, Row]]
) -> dict[int, list[Any]]:
    """Put the rows that came beside, by place, into the columns; those of numbers that do not fit."""
    big: dict[int, list[Any]] = {}
    # The number that stands for what is not known, should one ever be published as a value.
    published = exact.min(initial=0) == MISSING
    for place in map(int, np.nonzero((exact == MISSING).any(axis=1))[0]) if published else ():
        big[place] = [*exact[place].tolist(), *_nulls(real[place].tolist())]
        exact[place][exact[place] == MISSING] = 0
    for place, row in told:
        exact[place], real[place], whole = _columns(row)
        if whole:
            big[place] = list(row)
    return big


def _columns(row: Row) -> tuple[list[int], list[Any], bool]:
    """FORMED as a row of `exact` and one of `real`, and whether a number does not fit into 64 bits."""
    exact = row[:EXACT]
    fits = [value is None or -_INT64 < value < _INT64 for value in exact]
    own = [(MISSING if value is None else value) if fit else 0 for value, fit in zip(exact, fits, strict=True)]
    return own, row[EXACT:], not all(fits)
