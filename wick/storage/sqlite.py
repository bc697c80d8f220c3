"""Closed candles in SQLite (WAL mode): the embedded default store.

One table, by pair, interval and time, whose rows are those of `sqlite_rows`. The view `candles_float` gives plain
numbers. A row is replaced only by a better one (`market.rows.rank`), so writing the same rows again, in any order,
changes nothing.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wick.errors import FencedError, StoreAwayError, StoreError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, Row
from wick.market.stored import COLUMNS, LENGTH_MS, OPEN, needs
from wick.storage import checks, sqlite_rows
from wick.storage.store import END_MS, INPUTS, Finding, Position
from wick.storage.stored_sql import Dialect, floats

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch

BUSY_MS = 5_000
CACHE_KB, WAL_PAGES = 24_000, 10_000  # of a writer; 10,000 pages are 40 MB
DAY_MS = 86_400_000
MAY_PASS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL}  # fmt: skip
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_STEP = 5_000  # rows in one transaction, where old ones are deleted
_COUNTED = 200 << 20  # of a larger file the rows are told from times, not counted

_DIALECT = Dialect(
    column=lambda name: name, quotient=lambda one, other: f"(({one}) / {other})",
    power=lambda e: f"(SELECT value FROM powers_of_two WHERE e = {e})", real="REAL", most="max", least="min",
    less=False,
)  # fmt: skip


def _view() -> str:
    """Values in plain numbers, of the stored form, of what stands in the table."""
    shown = ", ".join(f"{sql} AS {name}" for name, sql in floats(_DIALECT, "length_ms").items())
    form = ", ".join(sqlite_rows.whole(column.name) for column in COLUMNS if column.name != "known")
    names = f"venue, symbol, name, length_ms, {OPEN}, patterns"
    inner = f"SELECT {names}, {sqlite_rows.hexadecimal()} FROM candles"
    joined = f"{inner} JOIN symbols USING (pair) JOIN intervals USING (interval)"
    return f"SELECT venue, symbol, name AS interval, {shown}, patterns FROM (SELECT {names}, {form} FROM ({joined}))"


def _whole_schema() -> Iterator[str]:
    names = "venue TEXT NOT NULL, symbol TEXT NOT NULL, UNIQUE (venue, symbol)"
    yield f"CREATE TABLE symbols (pair INTEGER PRIMARY KEY, {names})"
    yield "CREATE TABLE intervals (interval INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, length_ms INTEGER NOT NULL)"
    told = ", ".join(f"({at}, '{name}', {LENGTH_MS[at]})" for at, name in enumerate(NAMES))
    yield f"INSERT INTO intervals VALUES {told}"
    yield "CREATE TABLE positions (stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL)"
    yield "CREATE TABLE writer (number INTEGER NOT NULL)"
    yield "INSERT INTO writer VALUES (0)"
    yield "CREATE TABLE powers_of_two (e INTEGER PRIMARY KEY, value REAL NOT NULL)"  # not every SQLite has pow()
    yield "INSERT INTO powers_of_two VALUES " + ", ".join(f"({e}, {2.0**e!r})" for e in range(-160, 161))
    yield (
        f"CREATE TABLE candles (pair INTEGER NOT NULL, interval INTEGER NOT NULL, {OPEN} INTEGER NOT NULL, "
        f"data BLOB NOT NULL, patterns BLOB, PRIMARY KEY (pair, interval, {OPEN})) WITHOUT ROWID"
    )
    yield f"CREATE VIEW candles_float AS {_view()}"


# By the version that a file has, what makes the next of it. A new file has version 0; versions before 6 had another
# table and are not read.
MIGRATIONS: dict[int, tuple[int, Callable[[], Iterator[str]]]] = {0: (6, _whole_schema)}


def newest_version() -> int:
    return max(version for version, _ in MIGRATIONS.values())


_RANK = f"substr({{}}.data, 1, {sqlite_rows.RANK})"
_UPSERT = f"""
INSERT INTO candles VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data, patterns = excluded.patterns
WHERE {_RANK.format("excluded")} >= {_RANK.format("candles")}
"""
_POSITION = """
INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""
_SYMBOLS = """
SELECT venue, symbol FROM symbols s WHERE EXISTS (SELECT 1 FROM candles c WHERE c.pair = s.pair) ORDER BY venue, symbol
"""
# Two looks into the key a pair and interval.
_END = f"(SELECT {OPEN} FROM candles c WHERE (c.pair, c.interval) = (s.pair, i.interval) ORDER BY {OPEN} {{}} LIMIT 1)"
_SPANS = f"SELECT i.interval, {_END.format('ASC')}, {_END.format('DESC')} FROM intervals i CROSS JOIN symbols s"


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
        if version != newest_version() and (self._read_only or version not in MIGRATIONS):
            raise StoreError(self._other_version(version))
        if self._read_only:
            return
        if not version:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that `compact` gives space back a little at a time
        db.execute("PRAGMA journal_mode = WAL")
        # A commit reaches the disk with the next checkpoint of the WAL: a killed process loses nothing, and what a
        # crashed machine loses the sink asks for again, as positions go the same way.
        db.execute("PRAGMA synchronous = NORMAL")
        # What closes at one instant changes a page of each pair: with the default cache (2 MB) and a checkpoint every
        # 4 MB a commit takes twice as long.
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        if version != newest_version():
            self._migrate(db)

    def _other_version(self, version: int) -> str:
        newest = newest_version()
        way = (
            f"`wick store init {self.address}` brings it there" if version in MIGRATIONS else
            "move the file away, and the sink begins a new one"
        )  # fmt: skip
        return f"{self.address}: its schema has version {version}, this wick writes version {newest}; {way}"

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Step by step, all in one transaction; another process that begins as well waits, and finds it done."""
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            while version != newest_version():
                version, statements = MIGRATIONS[version]
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
            db.executemany(_UPSERT, zip(numbers, batch.interval.tolist(), *kept, strict=True))
            db.executemany(_POSITION, [(stream, *position) for stream, position in positions.items()])

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
        order = "ASC" if oldest else "DESC"
        select = (
            f"SELECT {', '.join(asked)} FROM candles WHERE pair = ? AND interval = ? AND {OPEN} >= ? AND {OPEN} < ? "
            f"{where} ORDER BY {OPEN} {order} LIMIT ?"
        )
        with self._open() as db:
            pair = self._number_of(db, venue, symbol)
            if pair is None:
                return []
            found = db.execute(select, (pair, number, from_ms, before_ms, limit)).fetchall()
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
            "kind": "SQLite", "server": sqlite3.sqlite_version, "version": newest_version(), "bytes": size,
            "free_bytes": free * page, "counted": size <= _COUNTED, "writer": writer, "intervals": intervals,
            "positions": self.positions(),
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
        series = "FROM candles WHERE pair = ? AND interval = ?"
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
