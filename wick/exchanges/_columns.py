"""Many trades decoded at once, as columns: no Python object a trade. Pure.

A message that is not of a venue's layout in every byte is left to its `parse`; what is taken here, `parse` takes too,
and makes the same of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from wick.exchanges import Refused, Venue
from wick.exchanges._cursor import BEYOND, Cursor, Decimals, Flags, Ints, Symbols
from wick.exchanges._text import Names
from wick.market.trades import Event, Trade

AT_LEAST = 300  # trades; fewer are faster one by one
LEAST_BYTES = AT_LEAST * 80  # there are not so many in less
SAMPLES = 32  # messages of a read that tell how many of them are trades
MARKED = 64  # bytes: where a message's mark is


class TradeColumns(NamedTuple):
    """Trades, in order. A trade's symbol is that of its code in `symbols`."""

    symbols: Sequence[str]
    frames: Ints  # each trade's frame, by its place
    codes: Ints
    event_ns: Ints
    ids: Ints
    price: Ints
    price_decimals: Ints
    quantity: Ints
    quantity_decimals: Ints
    taker_buy: Flags
    matches: Ints

    def of(self, which: Flags | Ints) -> "TradeColumns":
        """Some of them."""
        some: list[Any] = [column[which] for column in self[1:]]
        return TradeColumns(self.symbols, *some)

    def trades(self) -> list[Trade]:
        """As `parse` gives them."""
        rows = zip(*(column.tolist() for column in self[1:]), strict=True)
        return [Trade(self.symbols[code], *rest) for _, code, *rest in rows]


# And the places of the messages that are left, and of those of them that look like trades.
Columns = tuple[TradeColumns, list[int], list[int]]
# Codes, event_ns, ids, price, quantity, whether the taker bought, and matches where that is not 1.
Row = tuple[Ints, Ints, Ints, Decimals, Decimals, Flags, Ints | None]


class Layout:
    """How a venue writes trades: `walk` goes through one, by the example of a message where there are several ways.

    A message has the mark near its beginning. It is a trade; or, with a `head`, `{head[{trade},{trade}]}`, where there
    are no braces in a trade.
    """

    def __init__(
        self,
        mark: bytes,
        walk: Callable[[Cursor, bytes], Row],
        names: Names,
        head: Callable[[Cursor], None] | None = None,
    ) -> None:
        self._mark, self._walk, self._head, self._symbols = mark, walk, head, Symbols(names)

    def read(self, frames: Sequence[bytes]) -> Columns | None:
        """As `Venue.columns`."""
        mark, sample = self._mark, frames[:: 1 + len(frames) // SAMPLES]
        hits = sum(mark in raw[:MARKED] for raw in sample)
        if not hits:
            return None
        if hits == len(sample):
            places, some = np.arange(len(frames)), frames
        else:
            places = np.array([place for place, raw in enumerate(frames) if mark in raw[:MARKED]])
            some = [frames[place] for place in places.tolist()]
        found = self._several(some) if self._head else self._single(some)
        if found is None:
            return None
        columns, bad = found
        if bad.any():
            columns = columns.of(~bad[columns.frames])
        is_left = np.ones(len(frames), np.bool_)
        is_left[places[~bad]] = False
        columns = columns._replace(frames=places[columns.frames])
        return columns, np.flatnonzero(is_left).tolist(), places[bad].tolist()

    def _single(self, frames: Sequence[bytes]) -> tuple[TradeColumns, Flags] | None:
        if len(frames) < AT_LEAST:
            return None
        text, starts, ends = _joined(frames)
        cursor = Cursor(text, starts, ends, self._symbols)
        columns = self._columns(np.arange(len(frames)), self._walk(cursor, frames[0]))
        return columns, ~cursor.is_good()

    def _several(self, frames: Sequence[bytes]) -> tuple[TradeColumns, Flags] | None:
        text, starts, ends = _joined(frames)
        seen = np.frombuffer(text, np.uint8)
        braces = np.flatnonzero(seen[: -len(BEYOND)] == ord("{"))
        first = np.searchsorted(braces, starts)
        counts = np.diff(first, append=len(braces)) - 1
        if len(braces) - len(frames) < AT_LEAST or counts.min() < 0 or (braces[first] != starts).any():
            return None
        is_row = np.ones(len(braces), np.bool_)
        is_row[first] = False
        begins, of = braces[is_row], np.arange(len(frames)).repeat(counts)
        is_last = np.diff(of, append=-1) != 0
        row_ends = np.where(is_last, ends[of] - 2, np.append(begins[1:], 0) - 1)
        heads = Cursor(text, starts, np.append(braces, 0)[first + 1], self._symbols)
        assert self._head is not None
        self._head(heads)
        rows = Cursor(text, begins, row_ends, self._symbols)
        columns = self._columns(of, self._walk(rows, frames[0]))
        bad = ~heads.is_good()
        bad |= (seen[ends - 2] != ord("]")) | (seen[ends - 1] != ord("}")) | (counts == 0)
        bad[of[~(rows.is_good() & (is_last | (seen[row_ends] == ord(","))))]] = True
        return columns, bad

    def _columns(self, frames: Ints, row: Row) -> TradeColumns:
        codes, event_ns, ids, price, quantity, taker_buy, matches = row
        if matches is None:
            matches = np.ones(len(codes), np.int64)
        return TradeColumns(
            self._symbols.symbols, frames, codes, event_ns, ids, *price, *quantity, taker_buy, matches
        )  # fmt: skip


def _joined(frames: Sequence[bytes]) -> tuple[bytes, Ints, Ints]:
    """The frames as one, and where each begins and ends."""
    lengths = np.fromiter(map(len, frames), np.int64, len(frames))
    ends = np.cumsum(lengths)
    return b"".join((*frames, BEYOND)), ends - lengths, ends


def take(venue: Venue, frames: Sequence[bytes]) -> tuple[TradeColumns | None, list[Event | Refused]]:
    """As the venue's `take`, but flawless trades of a flood are had in columns.

    Each symbol's trades are in order: all of them are either there or among the events.
    """
    found = venue.columns(frames) if sum(map(len, frames)) >= LEAST_BYTES else None
    if found is None:
        return None, venue.take(frames)
    columns, left, places = found
    while True:
        events = venue.take([frames[place] for place in places])
        torn = {event.symbol for event in events if isinstance(event, Trade)}
        codes = [code for code in np.unique(columns.codes).tolist() if columns.symbols[code] in torn] if torn else []
        if codes:
            moved = columns.frames[np.isin(columns.codes, codes)]
            columns = columns.of(~np.isin(columns.frames, moved))
            places, left = sorted({*places, *moved.tolist()}), sorted({*left, *moved.tolist()})
        elif len(places) < len(left):  # so far only those that look like trades, which mostly tell all
            places = left
        else:
            break
    return columns, [one._replace(place=left[one.place]) if isinstance(one, Refused) else one for one in events]
