"""What a client holds of one topic: its state, its position in the stream, the candles that are over. Pure.

The rules are those of docs/protocol.md: a SNAPSHOT replaces the state and the position, a DIFF applies where it starts
from the client's position, a row stands for its open time until another one comes.
"""

from collections.abc import Iterator
from itertools import chain
from math import isfinite
from typing import Any, Final

from wick.client.events import Book, Changed, Closed, Event, Gap, Live, Revised, Snapshot, Trades
from wick.client.views import Candle, Ticker, Trade
from wick.errors import WireError, shown
from wick.market.schema import CANDLE, CLOSED, HEAD, LIVE
from wick.stream import diffs
from wick.wire.topics import KINDS, parse_topics

WIDTHS: Final = {"HEAD": len(HEAD), "LIVE": len(LIVE)}
CAN_MISS: Final = ("candles", "closes", "trades")  # the others tell what is true now: nothing in them can be missed
ENDED_KEPT: Final = 8  # candles that wait for their CLOSE; for one without trades it may never come
_FLAGS: Final = [name for name, _ in CANDLE].index("flags")
_CLOSE_TIME: Final = [name for name, _ in CANDLE].index("close_time_ms")

Row = list[Any]


def _row(values: Any) -> Row:
    """A candle's row; what is no number (JSON has none such) is not known."""
    if type(values) is not list or len(values) < len(CANDLE):
        raise WireError(f"a row is not an array of {len(CANDLE)} values")
    return [None if type(value) is float and not isfinite(value) else value for value in values[: len(CANDLE)]]


class Held:
    """One concrete topic. To be read by anyone, changed by the core alone.

    `groups`, `rows`, `epoch` and `seq` are as on the wire; `ticker`, `candle`, `candles` are the same to be read by
    name. `rows` keeps the newest `keep` candles by open time.
    """

    __slots__ = (
        "_ended",
        "_interval",
        "_keep",
        "_said",
        "book",
        "epoch",
        "groups",
        "in_step",
        "kind",
        "latest",
        "processes",
        "rows",
        "seq",
        "told",
        "topic",
    )

    def __init__(self, topic: str, keep: int) -> None:
        single = parse_topics(topic).single
        if single is None:
            raise WireError(f"{shown(topic)} is not one topic")
        self.topic, self.kind, self._interval, self._keep = topic, single.kind, single.interval, keep
        self.epoch: int | None = None
        self.seq: int | None = None
        self.groups: list[list[int]] = []
        self.rows: dict[int, Row] = {}
        self.latest: Candle | None = None  # of a `metrics:` topic
        self.book: Book | None = None  # of a `book:` topic
        self.processes: dict[str, dict[str, Any]] = {}  # of the `stats` topic: what each said last
        self._said: set[int] = set()  # the rows that have closed, if only once
        self._ended: dict[int, Candle] = {}  # by open time: as they stood when the next one began
        self.in_step = False  # DIFFs apply
        self.told = False  # it has been told of once, on this connection or one before

    @property
    def ticker(self) -> Ticker | None:
        """Of `ticker:` and `candles:` topics; None until the first snapshot."""
        return Ticker(self.groups[0]) if self.groups else None

    @property
    def candle(self) -> Candle | None:
        """The live candle of a `candles:` or `metrics:` topic; None before the first trade."""
        if self.kind == "metrics":
            return self.latest
        return Candle.live(self.groups[0], self.groups[1], self._interval) if len(self.groups) > 1 else None

    @property
    def candles(self) -> list[Candle]:
        """Those that are over, oldest first; the last ones may still wait for their close."""
        known = {**self._ended, **{at: Candle(row) for at, row in self.rows.items()}}
        return [known[at] for at in sorted(known)]

    @property
    def position(self) -> tuple[int, int] | None:
        """(epoch, seq) from which another connection can go on."""
        if self.epoch is None or self.seq is None or not KINDS[self.kind].resumes:
            return None
        return self.epoch, self.seq

    def forget(self) -> None:
        """Trust the position no more: the next snapshot is to tell everything."""
        self.epoch = self.seq = None
        self.in_step = False

    def gap(self, reason: str, missed: int | None = None) -> Gap:
        closes = [row[_CLOSE_TIME] for row in self.rows.values() if row[_FLAGS] & CLOSED]
        return Gap(self.topic, reason, max(closes, default=None), missed)

    # ------------------------------------------------------------------ messages

    def snapshot(self, epoch: int, seq: int, groups: list[list[int]], rows: list[Row]) -> Iterator[Event]:
        widths = [WIDTHS[name] for name in KINDS[self.kind].groups]
        if len(groups) < len(widths) or any(len(group) < width for group, width in zip(groups, widths, strict=False)):
            raise WireError(f"a snapshot of {self.topic} does not have its groups")
        if {type(value) for value in (epoch, seq, *chain(*groups))} != {int}:
            raise WireError(f"a snapshot of {self.topic} has a state that is not of integers")
        was_told, self.told = self.told, True
        self.epoch, self.seq, self.groups, self.in_step = epoch, seq, groups, True
        candles = []
        for values in rows:
            row = _row(values)
            candles.append(Candle(row))
            news = self._keep_row(row)
            if was_told and news:
                yield news
        yield Snapshot(self.topic, self.ticker, self.candle, candles)

    def diff(self, seq: int, back: int, changes: list[int]) -> Event | None:
        """None: a hole; the state stays as it was, and takes no further diff before its snapshot."""
        if seq - back != self.seq:
            self.in_step = False
            return None
        before = self.candle
        diffs.apply(self.groups, changes)
        self.seq = seq
        now = self.candle
        ended = before if before and now and now.values[0] != before.values[0] else None
        if ended and ended.values[0] not in self.rows:
            self._ended[ended.values[0]] = ended
            if len(self._ended) > ENDED_KEPT:
                del self._ended[min(self._ended)]
        return Changed(self.topic, Ticker(self.groups[0]), now, ended)

    def live(self, values: Row) -> Live:
        self.told, self.latest = True, Candle(_row(values))
        return Live(self.topic, self.latest)

    def close(self, seq: int, values: Row) -> Event | None:
        """None: nothing that was not known."""
        if self.kind == "closes" and self.seq is not None and seq > self.seq:
            self.seq = seq
        return self._keep_row(_row(values))

    def trades(self, epoch: int, seq: int, missed: int, decimals: list[int], rows: list[Row]) -> Iterator[Event]:
        """Those that are new; a front may tell the last ones again."""
        if self.told and epoch != self.epoch:
            yield self.gap("unproven")
        elif self.seq is not None:
            missed += max(0, seq - len(rows) - missed - self.seq)
            rows = rows[max(0, len(rows) - (seq - self.seq)) :]
        if missed:
            yield self.gap("slow", missed)
        self.epoch, self.seq, self.told = epoch, seq, True
        if rows:
            yield Trades(self.topic, [Trade.of(row, *decimals) for row in rows], missed)

    def _keep_row(self, row: Row) -> Closed | Revised | None:
        """Keeps the row: what was told last stands. Says what it is where it is news."""
        at = row[0]
        held = self.rows.get(at)
        self.rows[at] = row
        self._ended.pop(at, None)
        event = None
        if row[_FLAGS] & CLOSED and row != held:
            event = Revised(self.topic, Candle(row)) if at in self._said else Closed(self.topic, Candle(row))
            self._said.add(at)
        if len(self.rows) > self._keep:
            oldest = min(self.rows)
            del self.rows[oldest]
            self._said.discard(oldest)
        return event
