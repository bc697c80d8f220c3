"""Closed candles in SQLite (WAL mode): the embedded default store.

Values are those of `market.schema`, exact; an integer beyond 64 bits is stored as its decimal text, and what is not
known, or is no number, as NULL. The view `candles_float` gives floating-point numbers. A row is replaced only by a
better one (`market.rows.rank`), so writing the same rows again, in any order, changes nothing.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from wick.errors import StoreAwayError, StoreError
from wick.market.rows import MAY_MISS
from wick.market.schema import CANDLE, CANDLE_FIELDS, CLOSED, PARTIAL, PRICE, TURNOVER, VOLUME

VERSION = 3
BUSY_MS = 5_000
INT64 = 2**63

_SCALE = {PRICE: "price_decimals", VOLUME: "quantity_decimals", TURNOVER: "price_decimals + quantity_decimals"}
# SQLite's own pow() is a compile-time option; the text form of a power of ten is not.
_FLOATS = ", ".join(
    f"CAST({name} AS REAL) * CAST('1e-' || ({_SCALE[kind]}) AS REAL) AS {name}" if kind in _SCALE else name
    for name, kind in CANDLE
)
# No declared type: SQLite keeps an integer an integer and a text a text.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS candles (
    venue TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    {", ".join(name if name in MAY_MISS else f"{name} NOT NULL" for name in CANDLE_FIELDS)},
    PRIMARY KEY (venue, symbol, interval, open_time_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL);
CREATE VIEW IF NOT EXISTS candles_float AS SELECT venue, symbol, interval, {_FLOATS} FROM candles;
PRAGMA user_version = {VERSION};
"""


def _rank(row: str) -> str:
    """`market.rows.rank` in SQL; `row` is a table's name and a dot, or nothing."""
    known = " + ".join(f"({row}{name} IS NOT NULL)" for name in MAY_MISS)
    return f"(~{row}flags & {PARTIAL}, {row}revision, {known}, -coalesce({row}obv_anchor_ms, {INT64 - 1}))"


_UPSERT = f"""
INSERT INTO candles VALUES ({", ".join("?" * (3 + len(CANDLE_FIELDS)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in CANDLE_FIELDS[1:])}
WHERE {_rank("excluded.")} >= {_rank("candles.")}
"""
_POSITION = """
INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""
_SELECT = f"""
SELECT {", ".join(CANDLE_FIELDS)} FROM candles
WHERE venue = ? AND symbol = ? AND interval = ? AND open_time_ms >= ? AND open_time_ms < ?
ORDER BY open_time_ms {{}} LIMIT ?
"""
_NEWEST, _OLDEST = _SELECT.format("DESC"), _SELECT.format("ASC")
_NEXT_PAIR = "SELECT venue, symbol FROM candles WHERE (venue, symbol) > (?, ?) ORDER BY venue, symbol LIMIT 1"
# What metrics are made of. These columns come early in a row: SQLite reads it from its beginning.
INPUTS = (
    "open_time_ms", "close_time_ms", "price_decimals", "quantity_decimals", "open", "high", "low", "close",
    "quote_volume", "volume", "taker_buy_volume",
)  # fmt: skip
_INPUTS = f"""
SELECT {", ".join(INPUTS)} FROM candles
WHERE venue = ? AND symbol = ? AND interval = ? AND open_time_ms < ? AND flags & {CLOSED}
ORDER BY open_time_ms DESC LIMIT ?
"""


class SqliteStore:
    """One connection to the file. Every failure is a StoreError that names the file."""

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        try:
            if read_only:
                uri = f"{self.path.resolve().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(self.path, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error
        try:
            self._prepare(read_only)
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(f"{self.path}: {error}") from error
        except StoreError:
            self._db.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        # Before anything is written: a file of another version stays as it is. A new file has version 0.
        if version != VERSION and (version or read_only):
            raise StoreError(
                f"{self.path}: its schema has version {version}, this wick writes version {VERSION}; "
                "move the file away, and the sink begins a new one"
            )
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            # A commit reaches the disk with the next checkpoint of the WAL: a killed process loses nothing.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)

    address = "sqlite:x"

    def take_over(self):
        return 1

    def write(self, batch, positions) -> None:
        from wick.market.stored import rounded; from wick.market.intervals import NAMES; rows = [[*r[:3], *rounded(NAMES.index(r[2]), r[3:])] for r in batch.rows()]
        self.w(rows, positions)

    def w(self, rows: Iterable[Sequence[Any]], positions: dict[str, tuple[int, int]]) -> None:
        """Rows of [venue, symbol, interval, *CANDLE_FIELDS] and stream positions, in one transaction."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_UPSERT, ([_keep(value) for value in row] for row in rows))
                self._db.executemany(_POSITION, [(stream, *position) for stream, position in positions.items()])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreAwayError(f"{self.path}: {error}") from error

    def positions(self) -> dict[str, tuple[int, int]]:
        """What has been written of each stream: (epoch, sequence)."""
        try:
            return {stream: (epoch, seq) for stream, epoch, seq in self._db.execute("SELECT * FROM positions")}
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def candles(
        self,
        venue: str,
        symbol: str,
        interval: str,
        limit: int,
        before_ms: int = INT64 - 1,
        from_ms: int = 0,
        *,
        oldest: bool = False,
    ) -> list[list[Any]]:
        """The newest `limit` rows (CANDLE_FIELDS) that open in [from_ms, before_ms), or the `oldest`, in order."""
        select = _OLDEST if oldest else _NEWEST
        try:
            rows = self._db.execute(select, (venue, symbol, interval, from_ms, before_ms, limit)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        return [[_given(value) for value in row] for row in (rows if oldest else reversed(rows))]

    def inputs(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = INT64 - 1
    ) -> list[tuple[int, ...]]:
        """INPUTS of the newest `limit` closed candles that open before `before_ms`, oldest first."""
        try:
            rows = self._db.execute(_INPUTS, (venue, symbol, interval, before_ms, limit)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        rows.reverse()
        if str in {*map(type, chain.from_iterable(rows))}:
            rows = [tuple(map(int, row)) for row in rows]
        return rows

    def symbols(self) -> list[tuple[str, str]]:
        """(venue, symbol) of every pair that has a candle."""
        try:
            return self._pairs()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _pairs(self) -> list[tuple[str, str]]:
        """One look into the primary key a pair: DISTINCT would read every row."""
        pairs: list[tuple[str, str]] = []
        pair = ("", "")
        while pair := self._db.execute(_NEXT_PAIR, pair).fetchone():
            pairs.append(pair)
        return pairs

    def close(self) -> None:
        self._db.close()


def _keep(value: Any) -> Any:
    if type(value) is float:
        return value if isfinite(value) else None
    return str(value) if type(value) is int and not -INT64 <= value < INT64 else value


def _given(value: Any) -> Any:
    return int(value) if type(value) is str else value
