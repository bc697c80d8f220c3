"""The newest candles of many streams, some fields of each, in rings that are overwritten in place. Pure."""

from copy import copy

import numpy as np
from numpy.typing import NDArray

from wick.metrics.fields import Scale
from wick.metrics.registry import Column

Index = NDArray[np.intp]
Counts = NDArray[np.int64]


class Ring:
    """`fields`: what each scales with. `window`: rows that are looked at, `rows`: rows that are kept."""

    def __init__(self, fields: tuple[Scale, ...], window: int, rows: int) -> None:
        self.fields, self.window, self.rows = fields, window, rows
        self.values: Column = np.zeros((len(fields), rows, 0))
        # (window, rows): the rows of the window that ends in each row, and where they begin in a field's values.
        self._rows = (np.arange(rows) + np.arange(1 - window, 1)[:, None]) % rows
        self._places = self._rows * 0

    def widen(self, width: int) -> None:
        """Room for so many streams."""
        wider = np.zeros((*self.values.shape[:2], width))
        wider[:, :, : self.values.shape[2]] = self.values
        self.values = wider
        self._places = self._rows * width

    def of(self, columns: Index) -> "Ring":
        """A copy with these streams only."""
        part = copy(self)
        part.values = self.values.take(columns, axis=2)
        part._places = self._rows * len(columns)
        return part

    def look(self, columns: Index, counts: Counts, at: slice | Index, in_step: bool) -> Column:
        """(fields, window, streams), oldest first; the last row is that of the candle to come, with anything in it.

        `at`: the columns, as a slice if they are adjacent; `in_step`: and if they also have equal counts. If so, where
        the rows stand together as they are, it is they themselves: the last row may be written to, its place in the
        ring is free. Else it is a copy.
        """
        fields, n = len(self.fields), len(columns)
        if in_step:
            own, end = self.values[:, :, at], int(counts[0]) % self.rows + 1
            begin = end - self.window
            if begin >= 0:
                return own[:, begin:end]
            room = np.empty((fields, self.window, n))
            room[:, :-end] = own[:, begin:]
            room[:, -end:] = own[:, :end]
            return room
        room = np.empty((fields, self.window, n))
        places = self._places.take(counts % self.rows, 1)
        places += columns
        flat = self.values.reshape(fields, -1)
        np.take(flat, places.ravel(), axis=1, out=room.reshape(fields, -1), mode="clip")
        return room

    def put(self, columns: Index, counts: Counts, newest: Column) -> None:
        """The candle that comes after `counts` others; `newest` may be its place itself."""
        if newest.base is not self.values:
            self.values[:, counts % self.rows, columns] = newest

    def restate(self, columns: Index, factors: Column) -> None:
        """`factors`: of prices and of sizes, (2, streams)."""
        for values, (price, size) in zip(self.values, self.fields, strict=True):
            if price or size:
                values[:, columns] *= factors[0] ** price * factors[1] ** size
