"""The candles of a pair, from the store and from what the front itself knows, without a seam."""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from gevent.threadpool import ThreadPool

from wick.api.replies import RequestError
from wick.errors import WickError
from wick.market.intervals import NAMES
from wick.market.rows import rank
from wick.market.schema import CLOSED, Row

if TYPE_CHECKING:  # a database comes into the process with the first question
    from wick.storage.store import Store

END_MS = 2**63 - 1
DEEP, SLACK = 500, 100  # rows of a series that are kept, and how many more before it is cut
MOST = 6_000  # rows in all: 3.2 KB each
KEPT_S = 30.0  # then the store is asked again: a backfill may have changed what nobody told the front

log = logging.getLogger("wick")


class Window(NamedTuple):
    """Candles that open in [from_ms, to_ms): the newest `limit` of them, or `forward` the oldest."""

    limit: int
    from_ms: int = 0
    to_ms: int = END_MS
    forward: bool = False

    def of(self, rows: list[Row]) -> list[Row]:
        """Of rows in order those inside."""
        inside = [row for row in rows if self.from_ms <= row[0] < self.to_ms]
        return inside[: self.limit] if self.forward else inside[-self.limit :]


def join(stored: Iterable[Row], recent: Iterable[Row], live: Row | None) -> list[Row]:
    """What the store has, overlaid by what closed since, then the live candle."""
    rows = {row[0]: row for row in stored}
    for row in recent:
        known = rows.get(row[0])
        if known is None or _at_least(row, known):
            rows[row[0]] = row
    if live is not None and live[0]:
        rows[live[0]] = live
    return [rows[open_ms] for open_ms in sorted(rows)]


def _at_least(row: Row, known: Row) -> bool:
    """Closed beats what was made of diffs; then the store's own rule."""
    if (row[3] ^ known[3]) & CLOSED:
        return bool(row[3] & CLOSED)
    return rank(row) >= rank(known)


class Standing(NamedTuple):
    """Where a reader of the workers stands: what closed at a place of this epoch from `reach` on is known to it."""

    epoch: int
    seq: int
    reach: int


class _Newest:
    """The newest rows of a series, as of a place; `all`: the store has none before them."""

    def __init__(self, rows: list[Row], is_all: bool, standing: Standing, read_s: float) -> None:
        self.rows, self.is_all = rows, is_all
        self.epoch, self.seq = standing.epoch, standing.seq
        self.read_s = read_s

    def take(self, rows: Iterable[Row], standing: Standing) -> None:
        """What closed, or was corrected, since."""
        for row in rows:
            at = bisect_left(self.rows, row[0], key=_opens)
            if at == len(self.rows) or self.rows[at][0] != row[0]:
                if at or self.is_all:
                    self.rows.insert(at, row)
            elif _at_least(row, self.rows[at]):
                self.rows[at] = row
        if len(self.rows) > DEEP + SLACK:
            del self.rows[:-DEEP]
            self.is_all = False
        self.seq = standing.seq

    def of(self, window: Window) -> list[Row] | None:
        """None: some of these rows are older than what is here."""
        first, end = (bisect_left(self.rows, at, key=_opens) for at in (window.from_ms, window.to_ms))
        if window.forward:
            return self.rows[first:end][: window.limit] if first or self.is_all else None
        start = max(first, end - window.limit)
        return self.rows[start:end] if start or self.is_all or end == window.limit else None


def _opens(row: Row) -> int:
    open_ms: int = row[0]
    return open_ms


class History:
    """Reads the store in a thread of its own (a store waits for a disk, or a server), and keeps what was read of the
    series that are asked for: the newest DEEP rows of each, MOST in all, whatever closes since put in.

    `recent(venue, symbol, interval index, since)` gives what closed lately, oldest first (since that place, where it
    is told), `live` the candle that is open, as rows, `standing` up to where these know all. A store that cannot be
    read is logged and counted by `failed`, and whoever asks is told (503): what the front knows by itself would look
    like all that there is.
    """

    def __init__(
        self,
        url: str,
        recent: Callable[[str, str, int, int], Iterable[Row]],
        live: Callable[[str, str, int], Row | None],
        standing: Callable[[str, str, int], Standing],
        failed: Callable[[], None],
        steady_s: Callable[[], float] = monotonic,
    ) -> None:
        self._url, self._recent, self._live, self._standing, self._failed = url, recent, live, standing, failed
        self._steady_s = steady_s
        self._threads = ThreadPool(1)
        self._store: Store | None = None
        self._kept: dict[tuple[str, str, str], _Newest] = {}  # in the order in which they were asked for

    def read(self, venue: str, symbol: str, interval: str, window: Window) -> list[Row]:
        """Oldest first; RequestError where the store cannot be read. One that is not there yet has nothing stored."""
        index = NAMES.index(interval)
        kept = self._current(venue, symbol, interval)
        rows = None if kept is None else kept.of(window)
        if rows is None and kept is None and not window.forward and window.to_ms == END_MS:
            kept = self._fill(venue, symbol, interval, max(window.limit, DEEP))
            rows = kept.of(window)
        if rows is None:
            stored = self._ask(venue, symbol, interval, window)
            # Only now, without a switch to other greenlets: what was closed while the store was read is in here.
            rows = join(stored, self._recent(venue, symbol, index, -1), None)
        live = self._live(venue, symbol, index)
        if live is not None and live[0] and (not rows or rows[-1][0] <= live[0]):
            rows = [*(rows[:-1] if rows and rows[-1][0] == live[0] else rows), live]
        elif live is not None and live[0]:
            rows = join(rows, (), live)
        return window.of(rows)

    # ------------------------------------------------------------------ what is kept

    def _current(self, venue: str, symbol: str, interval: str) -> _Newest | None:
        """What is kept of a series, with what closed since; None where it may lack some of that."""
        kept = self._kept.pop((venue, symbol, interval), None)
        if kept is None:
            return None
        index = NAMES.index(interval)
        standing = self._standing(venue, symbol, index)
        if standing.epoch != kept.epoch or standing.reach > kept.seq or self._steady_s() - kept.read_s > KEPT_S:
            return None
        kept.take(self._recent(venue, symbol, index, kept.seq), standing)
        self._kept[venue, symbol, interval] = kept
        return kept

    def _fill(self, venue: str, symbol: str, interval: str, count: int) -> _Newest:
        index = NAMES.index(interval)
        stored = self._ask(venue, symbol, interval, Window(count))
        standing = self._standing(venue, symbol, index)
        rows = join(stored, self._recent(venue, symbol, index, -1), None)
        if len(stored) == count:  # of what is older than the store's answer, all or nothing
            rows = [row for row in rows if row[0] >= stored[0][0]]
        kept = _Newest(rows, len(stored) < count, standing, self._steady_s())
        if count <= DEEP and stored:
            self._kept[venue, symbol, interval] = kept
            while sum(len(one.rows) for one in self._kept.values()) > MOST and len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
        return kept

    # ------------------------------------------------------------------ the store

    def _ask(self, venue: str, symbol: str, interval: str, window: Window) -> list[Row]:
        stored = self._threads.apply(self._stored, (venue, symbol, interval, window))
        if stored is None:
            told = "what is stored cannot be read now; the front's log says why"
            raise RequestError("unreadable_store", "candles", "", "to ask again in a moment", 503, told)
        return list(stored)

    def _stored(self, venue: str, symbol: str, interval: str, window: Window) -> list[Row] | None:
        """None: it cannot be read. gevent would write what is raised in its threads to stderr."""
        from wick.storage.store import open_store

        try:
            if self._store is None:
                if self._url.startswith("sqlite:") and not Path(self._url.removeprefix("sqlite:")).exists():
                    return []
                self._store = open_store(self._url, read_only=True)
            limit, from_ms, to_ms, forward = window
            return self._store.candles(venue, symbol, interval, limit, to_ms, from_ms, oldest=forward)
        except WickError as error:
            log.error("history cannot be read: %s", error)
            self._failed()
            if self._store is not None:
                self._store.close()
            self._store = None
            return None
