"""Closed candles in SQLite (WAL mode): the embedded default store.

Rows, those of `sqlite_rows`, lie by pair, interval and time (`settled`), so that a series is read at once. What closes
at one instant would change a page of each series, and split every third of them: it goes one behind the other into a
small table (`fresh`), and from there many instants at a time. A row of `fresh` is newer than all of its interval in
`settled`: none is in both, and the view `candles` is simply all of them. The view `candles_float` gives plain numbers.
A row is replaced only by a better one (`market.rows.rank`), so writing the same rows again, in any order, changes
nothing.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wick.errors import FencedError, StoreAwayError, StoreError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, Row
from wick.market.stored import LENGTH_MS, OPEN, needs
from wick.storage import checks, sqlite_rows, sqlite_schema
from wick.storage.store import END_MS, INPUTS, Finding, Position

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch

BUSY_MS = 5_000
# So many a pair wait in `fresh` before they are settled: those of five minutes. With half of it a third more pages are
# written in all, with twice as many a sixth less; but what is fresh takes twice as long to read.
FRESH_ROWS = 40
CACHE_KB, WAL_PAGES = 24_000, 10_000  # of a writer; 10,000 pages are 40 MB
DAY_MS = 86_400_000
MAY_PASS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL}  # fmt: skip
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_STEP = 5_000  # rows in one transaction, where old ones are deleted
_COUNTED = 200 << 20  # of a larger file the rows are told from times, not counted

_RANK = f"substr({{}}.data, 1, {sqlite_rows.RANK})"


def _upsert(table: str, rows: str) -> str:
    better = f"{_RANK.format('excluded')} >= {_RANK.format(table)}"
    changed = "data = excluded.data, patterns = excluded.patterns"
    return f"INSERT INTO {table} {rows} ON CONFLICT DO UPDATE SET {changed} WHERE {better}"


_PUT = {table: _upsert(table, "VALUES (?, ?, ?, ?, ?)") for table in ("settled", "fresh")}
_SETTLE = _upsert("settled", f"SELECT * FROM fresh WHERE true ORDER BY pair, interval, {OPEN}")
# Rows go all together, and their numbers begin with 1 again.
_COUNT = "SELECT coalesce(max(rowid), 0), (SELECT count(*) FROM symbols) FROM fresh"
_POSITION = """
INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""
_SYMBOLS = """
SELECT venue, symbol FROM symbols s WHERE EXISTS (SELECT 1 FROM candles c WHERE c.pair = s.pair) ORDER BY venue, symbol
"""
# Two looks into the key a pair and interval.
_END = f"(SELECT {OPEN} FROM candles c WHERE (c.pair, c.interval) = (s.pair, i.interval) ORDER BY {OPEN} {{}} LIMIT 1)"
_SPANS = f"SELECT i.interval, {_END.format('ASC')}, {_END.format('DESC')} FROM intervals i CROSS JOIN symbols s"


_Kept = tuple[int, int, int, bytes, bytes | None]


class SqliteStore:
    """One connection to the file."""

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self.address = f"sqlite:{path}"
        self._read_only = read_only
        self._number: int | None = None
        self._pairs: dict[tuple[str, str], int] = {}
        self._inode: tuple[int, int] | None = None
        self._db = self._connect()

    # ------------------------------------------------------------------ the file

    def _connect(self) -> sqlite3.Connection:
        with self._told():
            if self._read_only:
                uri = f"{self.path.resolve().as_uri()}?mode=ro"
                db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        self._inode = self._now()
        self._pairs.clear()
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != sqlite_schema.newest_version() and (self._read_only or version not in sqlite_schema.MIGRATIONS):
            raise StoreError(self._other_version(version))
        if self._read_only:
            return
        if not version:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that `compact` gives space back a little at a time
        db.execute("PRAGMA journal_mode = WAL")
        # A commit reaches the disk with the next checkpoint of the WAL, in the next `rest`: a killed process loses
        # nothing, and what a crashed machine loses the sink asks for again, as positions go the same way.
        db.execute("PRAGMA synchronous = NORMAL")
        # What settles changes some pages of each pair: with the default cache (2 MB) and a checkpoint every 4 MB it
        # takes twice as long.
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        if version != sqlite_schema.newest_version():
            self._migrate(db)

    def _other_version(self, version: int) -> str:
        newest = sqlite_schema.newest_version()
        way = (
            f"`wick store init {self.address}` brings it there" if version in sqlite_schema.MIGRATIONS else
            "move the file away, and the sink begins a new one"
        )  # fmt: skip
        return f"{self.address}: its schema has version {version}, this wick writes version {newest}; {way}"

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Step by step, all in one transaction; another process that begins as well waits, and finds it done."""
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            while version != sqlite_schema.newest_version():
                version, statements = sqlite_schema.MIGRATIONS[version]
                for statement in statements():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite raises, as an error of ours that says what helps."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in MAY_PASS:
                raise StoreAwayError(f"{self.address}: {error}") from error
            if code in BROKEN:
                raise StoreError(
                    f"{self.address}: {error}; `wick store verify {self.address}` says what is damaged, "
                    f"`wick store copy {self.address} sqlite:NEW` saves what can be read"
                ) from error
            raise StoreError(f"{self.address}: {error}") from error
        except OSError as error:
            raise StoreAwayError(f"{self.address}: {error}") from error

    def _now(self) -> tuple[int, int] | None:
        try:
            told = self.path.stat()
        except OSError:
            return None
        return told.st_dev, told.st_ino

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection. Where somebody has moved or replaced the file, a reader opens the one that is there now; a
        writer is told: what it writes into the old one nobody would see."""
        if self._inode is not None and self._now() != self._inode:
            if not self._read_only:
                raise StoreError(f"{self.address}: the file was moved away, deleted or replaced while it was open")
            self._db.close()
            self._db = self._connect()
        with self._told():
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                self._pairs.clear()  # numbers that were given in here are given no more
                if db.in_transaction:  # a full disk has rolled back by itself
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._db.close()

    # ------------------------------------------------------------------ in

    def take_over(self) -> int:
        with self._transaction() as db:
            db.execute("UPDATE writer SET number = number + 1")
            (number,) = db.execute("SELECT number FROM writer").fetchone()
        self._number = number
        return int(number)

    def write(self, batch: "Batch", positions: Mapping[str, Position]) -> None:
        from wick.storage.sqlite_pack import packed

        kept = packed(batch)
        with self._transaction() as db:
            if self._number is not None:
                (number,) = db.execute("SELECT number FROM writer").fetchone()
                if number != self._number:
                    raise FencedError(
                        f"{self.address}: writer {number} has taken over, this one was number {self._number}"
                    )
            pairs = [self._pair(db, *pair) for pair in batch.pairs]
            numbers = [pairs[pair] for pair in batch.pair.tolist()]
            self._put(db, list(zip(numbers, batch.interval.tolist(), *kept, strict=True)))
            db.executemany(_POSITION, [(stream, *position) for stream, position in positions.items()])

    def _put(self, db: sqlite3.Connection, rows: list[_Kept]) -> None:
        count, pairs = db.execute(_COUNT).fetchone()
        if count + len(rows) > FRESH_ROWS * pairs:
            self._settle(db)
        settled = dict(db.execute("SELECT interval, settled_ms FROM intervals").fetchall())
        late = [row for row in rows if row[2] <= settled[row[1]]]
        if late:
            rows = [row for row in rows if row[2] > settled[row[1]]]
        db.executemany(_PUT["settled"], late)
        db.executemany(_PUT["fresh"], rows)

    def _settle(self, db: sqlite3.Connection) -> None:
        """Move what is fresh, a series after the other."""
        newest = db.execute(f"SELECT max({OPEN}), interval FROM fresh GROUP BY interval").fetchall()
        db.execute(_SETTLE)
        db.execute("DELETE FROM fresh")
        db.executemany("UPDATE intervals SET settled_ms = max(settled_ms, ?) WHERE interval = ?", newest)

    def rest(self) -> None:
        with self._open() as db:
            count, pairs = db.execute(_COUNT).fetchone()
            if count and count >= FRESH_ROWS * pairs // 2:
                with self._transaction():
                    self._settle(db)
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # nobody waits for the disk now

    def _pair(self, db: sqlite3.Connection, venue: str, symbol: str) -> int:
        known = self._number_of(db, venue, symbol)
        if known is None:
            db.execute("INSERT INTO symbols (venue, symbol) VALUES (?, ?)", (venue, symbol))
            return self._pair(db, venue, symbol)
        return known

    def _number_of(self, db: sqlite3.Connection, venue: str, symbol: str) -> int | None:
        number = self._pairs.get((venue, symbol))
        if number is None:
            found = db.execute("SELECT pair FROM symbols WHERE venue = ? AND symbol = ?", (venue, symbol)).fetchone()
            if found is None:
                return None
            number = self._pairs[venue, symbol] = found[0]
        return number

    # ------------------------------------------------------------------ out

    def positions(self) -> dict[str, Position]:
        with self._open() as db:
            return {stream: (epoch, seq) for stream, epoch, seq in db.execute("SELECT * FROM positions")}

    def candles(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS, from_ms: int = 0,
        *, oldest: bool = False, fields: Sequence[str] | None = None,
    ) -> list[Row]:  # fmt: skip
        names = CANDLE_FIELDS if fields is None else fields
        return self._read(venue, symbol, interval, limit, before_ms, from_ms, oldest, names)

    def _read(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int, from_ms: int, oldest: bool,
        names: Sequence[str], where: str = "",
    ) -> list[Row]:  # fmt: skip
        needed = needs(names)
        asked = sqlite_rows.asked(needed)
        number = NAMES.index(interval)
        order, tables = ("ASC", ("settled", "fresh")) if oldest else ("DESC", ("fresh", "settled"))
        select = (
            f"SELECT {', '.join(asked)} FROM {{}} WHERE pair = ? AND interval = ? AND {OPEN} >= ? AND {OPEN} < ? "
            f"{where} ORDER BY {OPEN} {order} LIMIT ?"
        )
        found: list[tuple[Any, ...]] = []
        with self._open() as db:
            pair = self._number_of(db, venue, symbol)
            if pair is None:
                return []
            db.execute("BEGIN")  # both tables as of one moment; a merge in SQL would have to give the time, too
            try:
                for table in tables:
                    asking = (pair, number, from_ms, before_ms, limit - len(found))
                    found += db.execute(select.format(table), asking).fetchall()
            finally:
                db.rollback()
        if not found:
            return []
        if not oldest:
            found.reverse()
        told: dict[str, Sequence[Any]] = dict(zip(asked, zip(*found, strict=True), strict=True))
        return sqlite_rows.reader(number, needed, told).rows(names)

    def inputs(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS
    ) -> list[tuple[int, ...]]:
        rows = self._read(
            venue, symbol, interval, limit, before_ms, -END_MS, False, INPUTS, f"AND {sqlite_rows.closed()}"
        )  # fmt: skip
        return [tuple(row) for row in rows]

    def symbols(self) -> list[tuple[str, str]]:
        with self._open() as db:
            return db.execute(_SYMBOLS).fetchall()

    # ------------------------------------------------------------------ for operators

    def status(self) -> dict[str, Any]:
        size = sum(_size(Path(f"{self.path}{end}")) for end in ("", "-wal"))
        with self._open() as db:
            intervals = self._intervals(db, size)
            (free,), (page,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size"))
            (writer,) = db.execute("SELECT number FROM writer").fetchone()
        return {
            "kind": "SQLite", "server": sqlite3.sqlite_version, "version": sqlite_schema.newest_version(),
            "bytes": size, "free_bytes": free * page, "counted": size <= _COUNTED, "writer": writer,
            "intervals": intervals, "positions": self.positions(),
        }  # fmt: skip

    def _intervals(self, db: sqlite3.Connection, size: int) -> dict[str, dict[str, int]]:
        spans: dict[int, list[tuple[int, int]]] = {}
        for interval, oldest, newest in db.execute(_SPANS):
            if oldest is not None:
                spans.setdefault(interval, []).append((oldest, newest))
        if size <= _COUNTED:
            rows = dict(db.execute("SELECT interval, count(*) FROM candles GROUP BY interval").fetchall())
        else:
            rows = {at: sum((last - first) // LENGTH_MS[at] + 1 for first, last in own) for at, own in spans.items()}
        return {
            NAMES[at]: {
                "rows": rows[at],
                "oldest_ms": min(first for first, _ in own),
                "newest_ms": max(last for _, last in own),
            }
            for at, own in spans.items()
        }

    def verify(self) -> Iterator[Finding]:
        yield Finding("every page of the file is read")
        damage = []
        with self._open() as db:
            try:
                for (text,) in db.execute("PRAGMA quick_check(20)"):
                    damage += [text] if text != "ok" else []
            except sqlite3.DatabaseError as error:
                damage.append(str(error))
        for text in damage:
            yield Finding(text.replace("\n", " "), True, f"wick store copy {self.address} sqlite:NEW")
        if not damage:
            yield from checks.consistency(self)

    def compact(self, keep_days: Mapping[str, float], now_ms: int | None = None) -> Iterator[str]:
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        with self._transaction() as db:
            self._settle(db)
        for interval, days in keep_days.items():
            number, before = NAMES.index(interval), now - int(days * DAY_MS)
            deleted = 0
            for pair in self._all_pairs():
                while count := self._delete(pair, number, before):
                    deleted += count
                    yield f"{interval}: {deleted} candles older than {days:g} days deleted"
        while free := self._give_back():
            yield f"{free >> 20} MB to be given back to the file system"

    def _all_pairs(self) -> list[int]:
        with self._open() as db:
            return [pair for (pair,) in db.execute("SELECT pair FROM symbols ORDER BY pair")]

    def _delete(self, pair: int, interval: int, before_ms: int) -> int:
        """At most _STEP of the oldest rows."""
        series = "FROM settled WHERE pair = ? AND interval = ?"
        oldest = f"SELECT {OPEN} {series} AND {OPEN} < ? ORDER BY {OPEN} LIMIT {_STEP}"
        with self._transaction() as db:
            found = db.execute(f"SELECT count(*), max({OPEN}) FROM ({oldest})", (pair, interval, before_ms)).fetchone()
            if found[0]:
                db.execute(f"DELETE {series} AND {OPEN} <= ?", (pair, interval, found[1]))
        return int(found[0])

    def _give_back(self) -> int:
        """A few free pages at the file's end; how many bytes are left to be given."""
        with self._open() as db:
            (free,), (page,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size"))
            if free:
                db.executescript("PRAGMA incremental_vacuum(2000)")  # `execute` would give one page back
                (left,) = db.execute("PRAGMA freelist_count").fetchone()
                return int(left * page) if left < free else 0
        return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
