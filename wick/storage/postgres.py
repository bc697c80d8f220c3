"""Closed candles in PostgreSQL, or in TimescaleDB where the database has its extension.

Rows go in by binary COPY, straight into their tables; only where a candle stands there already (a correction, or what
is written again after a crash) by way of a temporary table, so that the better row stays. They come out in columns
(`pg_rows`), by binary COPY too.

A connection that broke is made anew by whatever is called next.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from psycopg2.errors import DivisionByZero, UniqueViolation
from psycopg2.extensions import cursor as Cursor

from wick.errors import FencedError
from wick.market.intervals import NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, Row
from wick.market.stored import LENGTH_MS, OPEN, Reader, needs
from wick.storage import checks, timescale
from wick.storage import pg_schema as schema
from wick.storage.pg_connection import SESSION, PostgresConnection, one, version_of
from wick.storage.pg_rows import form
from wick.storage.store import END_MS, INPUTS, Finding, Position

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch


DAY_MS: Final = 86_400_000
_FENCE: Final = "SELECT 1 / (fence = {})::int FROM writer FOR SHARE; "  # an error where it is another one
_POSITION: Final = (
    "INSERT INTO positions VALUES {} ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq"
)
_PAIRS: Final = "SELECT * FROM unnest(%s::text[], %s::text[])"
_REVISION: Final = CANDLE_FIELDS.index("revision")
_ROW_FIELDS: Final = needs(CANDLE_FIELDS)


class PostgresStore(PostgresConnection):
    """One connection, of one thread at a time."""

    # ------------------------------------------------------------------ in

    def take_over(self) -> int:
        from wick.storage import pg_batch  # noqa: F401  before the first candles wait for it

        with self._cursor() as cursor:
            cursor.execute("UPDATE writer SET fence = fence + 1 RETURNING fence")
            self._fence = int(one(cursor))
        return self._fence

    def write(self, batch: "Batch", positions: Mapping[str, Position]) -> None:
        best = batch.best()
        with self._cursor() as cursor:
            parts = self._parts(cursor, best)
            # What has been corrected stands there already.
            if not best.exact[:, _REVISION].any():
                try:
                    self._transaction(cursor, parts, positions, straight=True)
                    return
                except UniqueViolation:
                    cursor.execute("ROLLBACK")
            self._transaction(cursor, parts, positions, straight=False)

    def rest(self) -> None:
        """The server does that by itself."""

    def _parts(self, cursor: Cursor, batch: "Batch") -> list[tuple[str, bytes]]:
        """The tables with what goes into each."""
        if not batch.n:
            return []
        from wick.storage.pg_batch import of_tables

        missing = [pair for pair in batch.pairs if pair not in self._numbers]
        if missing:
            told = [venue for venue, _ in missing], [symbol for _, symbol in missing]
            cursor.execute(f"INSERT INTO symbols (venue, symbol) {_PAIRS} ON CONFLICT DO NOTHING", told)
            cursor.execute(f"SELECT venue, symbol, id FROM symbols WHERE (venue, symbol) IN ({_PAIRS})", told)
            self._numbers |= {(venue, symbol): number for venue, symbol, number in cursor.fetchall()}
        return of_tables(batch, [self._numbers[pair] for pair in batch.pairs])

    def _transaction(
        self, cursor: Cursor, parts: list[tuple[str, bytes]], positions: Mapping[str, Position], straight: bool
    ) -> None:
        """A statement for each table, and one more, each of several commands: a way to the server and back takes as
        long as a hundred rows."""
        before = "BEGIN; "
        if not straight and parts:
            cursor.execute(schema.MAKE_STAGE)
            before += f"{timescale.NO_LIMIT}; " if self.timescale else ""
        for table, data in parts:
            into = f"COPY {table if straight else schema.STAGE} ({', '.join(schema.ALL)}) FROM STDIN (FORMAT binary)"
            cursor.copy_expert(before + into, BytesIO(data), 1 << 22)
            before = "" if straight else f"{schema.upsert(table)}; DELETE FROM {schema.STAGE}; "
        told = [value for stream, position in positions.items() for value in (stream, *position)]
        if positions:
            before += _POSITION.format(", ".join(["(%s, %s, %s)"] * len(positions))) + "; "
        if self._fence is not None:
            before += _FENCE.format(self._fence)  # nobody takes over before this transaction has ended
        try:
            cursor.execute(before + "COMMIT", told)
        except DivisionByZero:
            cursor.execute("ROLLBACK; SELECT fence FROM writer")
            raise FencedError(
                f"{self.address}: another sink has taken over (writer {one(cursor)}, this is {self._fence})"
            ) from None

    # ------------------------------------------------------------------ out

    def positions(self) -> dict[str, Position]:
        def ask(cursor: Cursor) -> dict[str, Position]:
            cursor.execute("SELECT stream, epoch, seq FROM positions")
            return {stream: (epoch, seq) for stream, epoch, seq in cursor.fetchall()}

        return self._ask(ask)

    def candles(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS, from_ms: int = 0,
        *, oldest: bool = False, fields: Sequence[str] | None = None,
    ) -> list[Row]:  # fmt: skip
        wanted = _ROW_FIELDS if fields is None else needs(fields)
        found = self._found(venue, symbol, interval, limit, before_ms, from_ms, oldest, wanted)
        if found is None:
            return []
        return Reader(NAMES.index(interval), found).rows(CANDLE_FIELDS if fields is None else fields)

    def inputs(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS
    ) -> list[tuple[int, ...]]:
        found = self._found(
            venue, symbol, interval, limit, before_ms, -END_MS, False, needs(INPUTS), f"flags & {CLOSED} <> 0"
        )
        return [tuple(row) for row in Reader(NAMES.index(interval), found).rows(INPUTS)] if found else []

    def _found(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int, from_ms: int, oldest: bool,
        wanted: tuple[str, ...], condition: str = "TRUE",
    ) -> dict[str, Sequence[Any]] | None:  # fmt: skip
        """What `needs` asks for of these candles, oldest first."""
        number, asked = NAMES.index(interval), form(wanted)

        def ask(cursor: Cursor) -> dict[str, Sequence[Any]] | None:
            pair = self._number(cursor, venue, symbol)
            if pair is None:
                return None
            told: dict[str, Sequence[Any]] = {}
            for first, last in self._spans(from_ms, before_ms, limit * LENGTH_MS[number], oldest):
                data = BytesIO()
                rows = (
                    f"FROM {schema.TABLES[number]} WHERE pair = {pair} "
                    f"AND open_time_ms >= {first} AND open_time_ms < {last} AND {condition} "
                    f"ORDER BY open_time_ms {'ASC' if oldest else 'DESC'} LIMIT {int(limit)}"
                )
                cursor.copy_expert(asked.sql(rows), data)
                told = asked.read(data.getvalue(), backwards=not oldest)
                if len(told[OPEN]) >= limit:
                    break
            return told

        return self._ask(ask)

    def _spans(self, from_ms: int, before_ms: int, length_ms: int, oldest: bool) -> Iterator[tuple[int, int]]:
        """Where to look for candles. Without bounds every chunk of a hypertable is asked: so first where they should
        be, and then everywhere, as what should be there a clock that is wrong does not know."""
        if self.timescale and oldest:
            yield from_ms, min(before_ms, from_ms + 2 * length_ms)
        elif self.timescale:
            last_ms = min(before_ms, time.time_ns() // 1_000_000 + DAY_MS)
            yield max(from_ms, last_ms - 2 * length_ms - DAY_MS), last_ms
        yield from_ms, before_ms

    def _number(self, cursor: Cursor, venue: str, symbol: str) -> int | None:
        if (venue, symbol) not in self._numbers:
            cursor.execute("SELECT id FROM symbols WHERE venue = %s AND symbol = %s", (venue, symbol))
            found = cursor.fetchone()
            if found is None:
                return None
            self._numbers[venue, symbol] = found[0]
        return self._numbers[venue, symbol]

    def symbols(self) -> list[tuple[str, str]]:
        has = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE pair = id)" for table in schema.TABLES)

        def ask(cursor: Cursor) -> list[tuple[str, str]]:
            cursor.execute(
                f'SELECT venue, symbol FROM symbols WHERE {has} ORDER BY venue COLLATE "C", symbol COLLATE "C"'
            )
            return [(venue, symbol) for venue, symbol in cursor.fetchall()]

        return self._ask(ask)

    # ------------------------------------------------------------------ operations

    def status(self) -> dict[str, Any]:
        def ask(cursor: Cursor) -> dict[str, Any]:
            cursor.execute(
                "SELECT current_setting('server_version'), pg_database_size(current_database()), fence FROM writer"
            )
            server, size, fence = cursor.fetchone() or ("", 0, 0)
            told: dict[str, Any] = {
                "kind": "PostgreSQL", "server": server.split()[0], "version": version_of(cursor), "bytes": size,
                "writer": fence, "intervals": {},
            }  # fmt: skip
            if self.timescale:
                told |= {"kind": "TimescaleDB", "timescale": timescale.status(cursor, self.timescale)}
            for name, table in zip(NAMES, schema.TABLES, strict=True):
                cursor.execute(_EXTENT.format(table=table))
                oldest, newest = cursor.fetchone() or (None, None)
                if oldest is not None:
                    cursor.execute(f"SELECT count(*) FROM {table}")
                    told["intervals"][name] = {"rows": one(cursor), "oldest_ms": oldest, "newest_ms": newest}
            return told

        return self._ask(ask) | {"positions": self.positions()}

    def verify(self) -> Iterator[Finding]:
        """Every row of every table is read, and what it says looked at."""
        with self._cursor() as cursor:
            cursor.execute(_BROKEN_INDEXES, (schema.SCHEMA,))
            broken = [index for (index,) in cursor.fetchall()]
        for index in broken:
            yield Finding(f"the index {index} is not usable", True, f"REINDEX INDEX {schema.SCHEMA}.{index}")
        yield from checks.consistency(self)

    def compact(self, keep_days: Mapping[str, float], now_ms: int | None = None) -> Iterator[str]:
        """A transaction a step."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        for number, (name, table) in enumerate(zip(NAMES, schema.TABLES, strict=True)):
            if name in keep_days:
                before = now_ms - int(keep_days[name] * DAY_MS)
                yield from self._forget(name, table, before)
            if self.timescale and self.timescale.compresses:
                yield from timescale.compress(
                    self._cursor, name, table, now_ms - timescale.OPEN_CANDLES * LENGTH_MS[number]
                )

    def _forget(self, name: str, table: str, before_ms: int) -> Iterator[str]:
        deleted, some = 0, DELETED_AT_ONCE
        with self._cursor() as cursor:
            chunks = timescale.drop(cursor, table, before_ms) if self.timescale else 0
        while some == DELETED_AT_ONCE:
            with self._cursor() as cursor:
                cursor.execute(_DELETE.format(table=table, before=before_ms))
                some = cursor.rowcount
            deleted += some
            if some:
                yield f"{name}: {deleted:,} candles from before {_instant(before_ms)} deleted"
        if chunks:
            yield f"{name}: {chunks} chunks from before {_instant(before_ms)} dropped"
        if deleted:
            with self._cursor() as cursor:
                for statement in ("SET statement_timeout = 0", f"VACUUM {table}", SESSION):
                    cursor.execute(statement)
            yield f"{name}: their space is free for new candles"


DELETED_AT_ONCE: Final = 10_000
_DELETE: Final = (
    "DELETE FROM {table} WHERE (pair, open_time_ms) IN (SELECT c.pair, c.open_time_ms FROM symbols, LATERAL ("
    "SELECT pair, open_time_ms FROM {table} WHERE pair = id AND open_time_ms < {before} "
    f"LIMIT {DELETED_AT_ONCE}) c LIMIT {DELETED_AT_ONCE})"
)
# The key leads with the pair: two looks into it a pair, rather than all rows.
_EXTENT: Final = (
    "SELECT min(a.open_time_ms), max(b.open_time_ms) FROM symbols, "
    "LATERAL (SELECT open_time_ms FROM {table} WHERE pair = id ORDER BY open_time_ms LIMIT 1) a, "
    "LATERAL (SELECT open_time_ms FROM {table} WHERE pair = id ORDER BY open_time_ms DESC LIMIT 1) b"
)
_BROKEN_INDEXES: Final = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND NOT (i.indisvalid AND i.indisready)"
)


def _instant(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000))
