"""A reader's copy of a shard: the pairs' states, and the rows before each live candle. Pure, and without numpy.

Rows are kept as bytes: a candle with its metrics takes 0.7 KB so, 3.2 KB as a list, and of 300 pairs there are 13,500.
A row has a stamp, the sequence of the diffs stream at which it was taken. It is the same in all readers that have heard
all since then, so whoever stands at a position of the stream lacks nothing but what `rows` gives from there.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from wick.errors import WireError
from wick.market.intervals import INTERVALS, NAMES
from wick.market.rows import rank
from wick.market.schema import CANDLE_FIELDS, CLOSED, EMPTY, FORMED, STATE_WIDTHS, Row
from wick.stream import diffs
from wick.wire.codec import pack, unpack
from wick.wire.messages import Diffs, Snapshot

# Rows before the live candle that a snapshot carries, by interval: what a store may not have yet, and what clients that
# were away for a minute or two may lack.
RECENT: Final = (8, 6, 4, *[3] * (len(INTERVALS) - 3))

_HEAD = Struct("<qq?")  # of a kept row: its stamp, its open time, whether it is closed; then the row as msgpack
_FORMED, _FLAGS = len(FORMED), CANDLE_FIELDS.index("flags")
_INDEX = {name: index for index, name in enumerate(NAMES)}


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


class Ring:
    """The rows of an interval that were taken last, at most `most`: of two with one open time the later."""

    __slots__ = ("_kept", "_most", "reach")

    def __init__(self, reach: int, most: int) -> None:
        self._most = most
        self.reach = reach  # no row with this stamp, or a later one, has been dropped
        self._kept: list[bytes] = []  # in the order in which they were taken

    def keep(self, stamp: int, row: Row) -> None:
        kept, open_ms = self._kept, row[0]
        for at, one in enumerate(kept):
            if _HEAD.unpack_from(one)[1] == open_ms:
                del kept[at]
                break
        kept.append(_HEAD.pack(stamp, open_ms, row[_FLAGS] & CLOSED) + pack(row))
        if len(kept) > self._most:
            # Not the oldest candle: a late revision of one must reach who stands before it.
            self.reach = _HEAD.unpack_from(kept.pop(0))[0] + 1

    def find(self, open_ms: int) -> Row | None:
        """The row of the candle that opened then."""
        for one in self._kept:
            if _HEAD.unpack_from(one)[1] == open_ms:
                return _row(one)
        return None

    def rows(self, since: int) -> list[Row]:
        """Those with this stamp or a later one, by open time."""
        wanted = [one for one in self._kept if _HEAD.unpack_from(one)[0] >= since]
        return sorted(map(_row, wanted), key=lambda row: row[0])

    def packed(self) -> list[bytes]:
        """Those that are closed, by open time, as msgpack."""
        heads = [(_HEAD.unpack_from(one), one) for one in self._kept]
        closed = sorted((open_ms, one) for (_, open_ms, is_closed), one in heads if is_closed)
        return [one[_HEAD.size :] for _, one in closed]


def _row(kept: bytes) -> Row:
    row: Row = unpack(memoryview(kept)[_HEAD.size :])
    return row


class ShardMirror:
    """The copy as of `seq` of the diffs stream of `epoch`: states by pair number, and the rows."""

    def __init__(self) -> None:
        self.epoch = self.seq = 0
        self.names: dict[int, tuple[str, str]] = {}
        self.groups: dict[int, list[list[int]]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._rings: dict[tuple[str, str], list[Ring]] = {}  # one an interval

    # ------------------------------------------------------------------ what is known

    def state(self, venue: str, symbol: str) -> list[list[int]] | None:
        """The groups of the pair's state as they change; None where it is not known."""
        number = self._numbers.get((venue, symbol))
        return None if number is None else self.groups[number]

    def rows(self, venue: str, symbol: str, interval: int, since: int = -1) -> list[Row]:
        """The rows that are over, oldest first: those that were taken at `since` or later."""
        rings = self._rings.get((venue, symbol))
        return rings[interval].rows(since) if rings else []

    def packed(self, venue: str, symbol: str, interval: int) -> list[bytes]:
        """The closed ones of these, as msgpack."""
        rings = self._rings.get((venue, symbol))
        return rings[interval].packed() if rings else []

    def reach(self, venue: str, symbol: str, interval: int) -> int:
        """From this position on `rows` lacks nothing."""
        rings = self._rings.get((venue, symbol))
        return rings[interval].reach if rings else 0

    # ------------------------------------------------------------------ what is told

    def restart(self, snapshot: Snapshot) -> None:
        self.epoch, self.seq = snapshot.epoch, snapshot.diffs_seq
        self.names.clear()
        self.groups.clear()
        self._numbers.clear()
        before, self._rings = self._rings, {}
        self._introduce(snapshot.pairs, self.seq)
        for number, *changes in snapshot.entries:
            diffs.apply(self.groups[number], changes)
        for venue, symbol, interval, *row in snapshot.recent:
            known = before[venue, symbol][_INDEX[interval]].find(row[0]) if (venue, symbol) in before else None
            # A worker does not keep the metrics of what it has published: whoever heard them knows more.
            is_same = known is not None and known[:_FORMED] == row[:_FORMED]
            self.close(venue, symbol, interval, known if known is not None and is_same else row)

    def apply(self, message: Diffs) -> Iterator[tuple[int, list[int]]]:
        """Apply a message, one change at a time, as it is iterated: gives the (pair number, changes) just made."""
        self.epoch, self.seq = message.epoch, message.seq
        self._introduce(message.pairs, 0)  # the worker has not heard of them before either
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
                    self._rings[self.names[number]][index].keep(self.seq, row)
            diffs.apply(groups, changes)
            yield number, changes

    def close(self, venue: str, symbol: str, interval: str, row: Row) -> Row:
        """Take a closed or revised candle; the row that stands, which is not this one where a better one was known."""
        ring = self._rings_of(venue, symbol, self.seq)[_INDEX[interval]]
        known = ring.find(row[0])
        if known is not None and known[_FLAGS] & row[_FLAGS] & CLOSED and rank(known) > rank(row):
            return known
        ring.keep(self.seq, row)
        return row

    def improve(self, venue: str, symbol: str, interval: str, row: Row) -> None:
        """Take what somebody else knows of a candle that is kept here, where it is more."""
        rings = self._rings.get((venue, symbol))
        known = rings[_INDEX[interval]].find(row[0]) if rings else None
        if known is not None and known != row:
            self.close(venue, symbol, interval, row)

    def _introduce(self, pairs: list[list[Any]], reach: int) -> None:
        for number, venue, symbol in pairs:
            self.names[number] = (venue, symbol)
            self.groups[number] = [[0] * width for width in STATE_WIDTHS]
            self._numbers[venue, symbol] = number
            self._rings_of(venue, symbol, reach)

    def _rings_of(self, venue: str, symbol: str, reach: int) -> list[Ring]:
        rings = self._rings.get((venue, symbol))
        if rings is None:
            rings = self._rings[venue, symbol] = [Ring(reach, most) for most in RECENT]
        return rings
