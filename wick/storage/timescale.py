"""What the TimescaleDB extension does for a PostgreSQL store: chunks by time, compression, dropping whole chunks.

All of it is done in wick's own turns (`compact`): the Apache-licensed edition has no background policies, and so there
is one way for all. That edition does not compress either.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from psycopg2.extensions import cursor as Cursor

from wick.market.stored import LENGTH_MS
from wick.storage import pg_schema as schema

CHUNK_CANDLES: Final = 1_440  # of a pair in a chunk: 15 s candles of 6 hours, 1 min ones of a day
OPEN_CANDLES: Final = (
    60  # how long a chunk is left alone behind its end: what is corrected later is decompressed for it
)
# A correction of old candles decompresses all those it might touch.
NO_LIMIT: Final = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"

Cursors = Callable[[], AbstractContextManager[Cursor]]


class Edition(NamedTuple):
    """What the extension can do here."""

    version: str
    compresses: bool

    @property
    def text(self) -> str:
        return f"TimescaleDB {self.version}" + ("" if self.compresses else " (Apache edition: nothing is compressed)")


def probe(cursor: Cursor) -> Edition | None:
    """None: the database does not have the extension."""
    cursor.execute(
        "SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension "
        "WHERE extname = 'timescaledb'"
    )
    found = cursor.fetchone()
    return Edition(found[0], found[1] == "timescale") if found else None


def prepare(cursor: Cursor, edition: Edition) -> None:
    """Tables without rows become hypertables. One with rows, from before the extension came, stays as it is."""
    done = hypertables(cursor)
    for number, table in enumerate(schema.TABLES):
        if table in done:
            continue
        cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table})")
        if (cursor.fetchone() or (True,))[0]:
            continue
        chunk_ms = CHUNK_CANDLES * LENGTH_MS[number]
        cursor.execute(
            f"SELECT create_hypertable('{table}', 'open_time_ms', chunk_time_interval => {chunk_ms}::bigint, "
            "create_default_indexes => false, if_not_exists => true)"
        )
        if edition.compresses:
            cursor.execute(
                f"ALTER TABLE {table} SET (timescaledb.compress, timescaledb.compress_segmentby = 'pair', "
                "timescaledb.compress_orderby = 'open_time_ms DESC')"
            )


def drop(cursor: Cursor, table: str, before_ms: int) -> int:
    """Whole chunks; how many."""
    if table not in hypertables(cursor):
        return 0
    cursor.execute(f"SELECT drop_chunks('{table}', older_than => {before_ms}::bigint)")
    return int(cursor.rowcount)


def hypertables(cursor: Cursor) -> set[str]:
    cursor.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = %s", (schema.SCHEMA,)
    )
    return {name for (name,) in cursor.fetchall()}


def compress(cursors: Cursors, name: str, table: str, before_ms: int) -> Iterator[str]:
    """The chunks that ended before; one at a time."""
    with cursors() as cursor:
        cursor.execute(_UNCOMPRESSED, (schema.SCHEMA, table, before_ms))
        chunks = [chunk for (chunk,) in cursor.fetchall()]
    for number, chunk in enumerate(chunks, 1):
        with cursors() as cursor:
            cursor.execute("BEGIN; SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT compress_chunk(%s::regclass, true)", (chunk,))
            cursor.execute("COMMIT")
        yield f"{name}: {number} of {len(chunks)} chunks compressed"


# Also those in which a correction lies beside what is compressed (status bit 8; the views do not show it).
_UNCOMPRESSED: Final = (
    "SELECT format('%%I.%%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks "
    "JOIN _timescaledb_catalog.chunk ON (schema_name, table_name) = (chunk_schema, chunk_name) "
    "WHERE hypertable_schema = %s AND hypertable_name = %s AND status & 9 <> 1 AND range_end_integer <= %s "
    "ORDER BY range_end_integer"
)


def status(cursor: Cursor, edition: Edition) -> dict[str, Any]:
    """Per table: chunks, how many of them are compressed; which tables are none of its own."""
    cursor.execute(
        "SELECT h.hypertable_name, count(c.chunk_name), count(*) FILTER (WHERE c.is_compressed) "
        "FROM timescaledb_information.hypertables h LEFT JOIN timescaledb_information.chunks c "
        "USING (hypertable_schema, hypertable_name) WHERE hypertable_schema = %s GROUP BY 1",
        (schema.SCHEMA,),
    )
    chunks = {name: {"chunks": all_, "compressed": some} for name, all_, some in cursor.fetchall()}
    plain = [table for table in schema.TABLES if table not in chunks]
    return {"edition": edition.text, "chunks": chunks, **({"plain_tables": plain} if plain else {})}
