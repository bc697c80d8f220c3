"""The candles of a pair, from the store and from what the front itself knows, without a seam."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gevent.threadpool import ThreadPool

from wick.api.replies import RequestError
from wick.errors import StoreError
from wick.market.intervals import NAMES
from wick.market.rows import rank
from wick.market.schema import CLOSED, Row

if TYPE_CHECKING:  # SQLite comes into the process with the first question
    from wick.storage.sqlite import SqliteStore

END_MS = 2**63 - 1

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


class History:
    """Reads the sink's file in a thread of its own (SQLite waits for the disk).

    `recent(venue, symbol, interval index)` gives what closed lately, oldest first, `live` the candle that is open, as
    rows. A store that cannot be read is logged and counted by `failed`, and whoever asks is told (503): what the front
    knows by itself would look like all that there is.
    """

    def __init__(
        self,
        path: Path,
        recent: Callable[[str, str, int], Iterable[Row]],
        live: Callable[[str, str, int], Row | None],
        failed: Callable[[], None],
    ) -> None:
        self._path, self._recent, self._live, self._failed = path, recent, live, failed
        self._threads = ThreadPool(1)
        self._store: SqliteStore | None = None

    def read(self, venue: str, symbol: str, interval: str, window: Window) -> list[Row]:
        """Oldest first; RequestError where the store cannot be read. One that is not there yet has nothing stored."""
        index = NAMES.index(interval)
        stored = self._threads.apply(self._stored, (venue, symbol, interval, window))
        if stored is None:
            told = "what is stored cannot be read now; the front's log says why"
            raise RequestError("unreadable_store", "candles", "", "to ask again in a moment", 503, told)
        # Only now, without a switch to other greenlets: what was closed while the store was read is in here.
        rows = join(stored, self._recent(venue, symbol, index), self._live(venue, symbol, index))
        return window.of(rows)

    def _stored(self, venue: str, symbol: str, interval: str, window: Window) -> list[Row] | None:
        """None: it cannot be read. gevent would write what is raised in its threads to stderr."""
        from wick.storage.sqlite import SqliteStore

        try:
            if self._store is None:
                if not self._path.exists():
                    return []
                self._store = SqliteStore(self._path, read_only=True)
            limit, from_ms, to_ms, forward = window
            return self._store.candles(venue, symbol, interval, limit, to_ms, from_ms, oldest=forward)
        except StoreError as error:
            log.error("history cannot be read: %s", error)
            self._failed()
            self._store = None
            return None
