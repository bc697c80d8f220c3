"""A reader's copy of a shard: the pairs' states, and the rows before each live candle. Pure, and without numpy."""

from collections.abc import Iterator
from typing import Any

from wick.errors import WireError
from wick.market.intervals import INTERVALS
from wick.market.rows import rank
from wick.market.schema import CANDLE_FIELDS, CLOSED, EMPTY, FORMED, STATE_WIDTHS, Row
from wick.stream import diffs
from wick.wire.messages import Diffs, Snapshot

RECENT = 8  # rows before the live candle, an interval, that a snapshot carries: what a store may not have yet


def live_row(head: list[int], live: list[int], close_ms: int) -> Row:
    """The row of a live candle from a reader's copy of the state (its trade ids are not known there: 0)."""
    volumes = [total - opening for total, opening in zip(head[3:8], live[4:9], strict=True)]
    return [
        live[0],
        close_ms,
        0,
        live[9],
        head[12],
        head[13],
        live[1],
        live[2],
        live[3],
        head[0],
        *volumes,
        0,
        0,
        *[None] * (len(CANDLE_FIELDS) - CANDLE_FIELDS.index("delta")),
    ]


class ShardMirror:
    """A reader's copy of a shard: states by pair number, and the rows before each live candle."""

    def __init__(self) -> None:
        self.names: dict[int, tuple[str, str]] = {}
        self.groups: dict[int, list[list[int]]] = {}
        # (venue, symbol) -> for each interval: open_ms -> row, oldest first
        self.recent: dict[tuple[str, str], list[dict[int, Row]]] = {}

    def restart(self, snapshot: Snapshot) -> None:
        self.names.clear()
        self.groups.clear()
        before, self.recent = self.recent, {}
        self._introduce(snapshot.pairs)
        for number, *changes in snapshot.entries:
            diffs.apply(self.groups[number], changes)
        for venue, symbol, interval, *row in snapshot.recent:
            known = before[venue, symbol][_INDEX[interval]].get(row[0]) if (venue, symbol) in before else None
            # A worker does not keep the metrics of what it has published: whoever heard them knows more.
            is_same = known is not None and known[:_FORMED] == row[:_FORMED]
            self.close(venue, symbol, interval, known if known is not None and is_same else row)

    def apply(self, message: Diffs) -> Iterator[tuple[int, list[int]]]:
        """Apply a message, one change at a time, as it is iterated: gives the (pair number, changes) just made."""
        self._introduce(message.pairs)
        for number, *changes in message.entries:
            if number not in self.groups:
                raise WireError(f"a diff of shard pair {number}, which no message has introduced")
            groups = self.groups[number]
            # A candle whose opening time changes is over: keep it until its CLOSE comes, a grace period later.
            over = [index - 1 for index, mask, _ in diffs.split(changes) if 0 < index < len(groups) and mask & 1]
            for index in over:
                live = groups[index + 1]
                if live[0] and not live[-1] & EMPTY:
                    row = live_row(groups[0], live, INTERVALS[index].close_ms(live[0]))
                    self._keep(self.recent[self.names[number]][index], row)
            diffs.apply(groups, changes)
            yield number, changes

    def close(self, venue: str, symbol: str, interval: str, row: Row) -> Row:
        """Take a closed or revised candle; the row that stands, which is not this one where a better one was known."""
        rows = self.recent.setdefault((venue, symbol), [{} for _ in INTERVALS])[_INDEX[interval]]
        known = rows.get(row[0])
        if known is not None and known[_FLAGS] & row[_FLAGS] & CLOSED and rank(known) > rank(row):
            return known
        self._keep(rows, row)
        return row

    @staticmethod
    def _keep(rows: dict[int, Row], row: Row) -> None:
        rows[row[0]] = row
        while len(rows) > RECENT:
            del rows[min(rows)]

    def _introduce(self, pairs: list[list[Any]]) -> None:
        for number, venue, symbol in pairs:
            self.names[number] = (venue, symbol)
            self.groups[number] = [[0] * width for width in STATE_WIDTHS]
            self.recent.setdefault((venue, symbol), [{} for _ in INTERVALS])


_FORMED, _FLAGS = len(FORMED), CANDLE_FIELDS.index("flags")
_INDEX = {interval.name: index for index, interval in enumerate(INTERVALS)}
