"""Metrics and patterns of rows at rest: streams of them in the order of time, as `wick candles` has them. Pure."""

from collections.abc import Hashable, Sequence
from operator import itemgetter
from typing import Final

import numpy as np

from wick.market.blocks import of_metrics
from wick.market.schema import CANDLE_FIELDS, CLOSED, FORMED, Row
from wick.metrics.bank import Bank
from wick.metrics.pattern_table import NAMES as PATTERNS
from wick.metrics.processor import TAKEN_FROM, as_taken, turns
from wick.metrics.table import FIELDS

_DEPTH: Final = 20  # nothing is ever corrected here; with a smaller one the state is copied more often

_TAKEN = itemgetter(*TAKEN_FROM)
_DECIMALS = itemgetter(CANDLE_FIELDS.index("price_decimals"), CANDLE_FIELDS.index("quantity_decimals"))
_FLAGS: Final = CANDLE_FIELDS.index("flags")


class Streams:
    """A stream is the candles of a pair at an interval, named by a key. One bank has them all."""

    def __init__(self) -> None:
        self._bank = Bank(_DEPTH)
        self._columns: dict[Hashable, int] = {}

    def enrich(self, keys: Sequence[Hashable], rows: Sequence[Row]) -> list[Row]:
        """The rows with metrics and patterns; the stream of each is named by `keys`.

        Those of a stream come in the order of time, in one call or in several, and each but once: they are final. One
        that is not closed gets its values, but is not remembered: it may come again.
        """
        if not rows:
            return []
        bank, columns = self._bank, self._columns
        at = np.array([columns.setdefault(key, len(columns)) for key in keys], np.intp)
        bank.widen(len(columns))
        candles = as_taken(np.array([_TAKEN(row) for row in rows], np.float64).T)
        decimals = np.array([_DECIMALS(row) for row in rows], np.int64).T
        closed = np.array([row[_FLAGS] & CLOSED for row in rows], np.bool_)
        metrics, found = np.empty((len(rows), len(FIELDS))), np.empty((len(rows), len(PATTERNS)), np.int8)
        for some, run in ((closed.nonzero()[0], bank.take), ((~closed).nonzero()[0], bank.peek)):
            for turn in turns(some, at):
                values, own = run(at[turn], candles[:, turn], decimals[:, turn])
                metrics[turn], found[turn] = values.T, own.T
        made = of_metrics(metrics.tobytes(), found.tobytes())
        return [[*row[: len(FORMED)], *more] for row, more in zip(rows, made, strict=True)]
