"""The tables that a PostgreSQL store has, in a schema of their own (`wick`), and how they came to be, step by step.

A table an interval, all alike: `pair` (a number of `symbols`), `open_time_ms`, what `market.stored` keeps of a candle,
`patterns`, and `wide` (numbers beyond a column's bytes, by name).
"""

from collections.abc import Sequence
from typing import Final

from wick.market.intervals import NAMES
from wick.market.stored import COLUMNS, DIGITS, LENGTH_MS, ORDER, PATTERNS, SIGNED
from wick.storage.stored_sql import Dialect, floats, rank_sql

SCHEMA: Final = "wick"
TYPES: Final = {2: "smallint", 4: "integer", 8: "bigint"}
KEY: Final = ("pair", "open_time_ms")
WIDTHS: Final = {"pair": 4, "open_time_ms": 8, **{column.name: column.bytes for column in COLUMNS}}
# As they go in by COPY: integers by their width, then what has any length.
ALL: Final = (*ORDER, PATTERNS, "wide")

# Not `candles_1M`: names without quotes are lower case.
TABLES: Final = [f"candles_{'1month' if name == '1M' else name}" for name in NAMES]
STAGE: Final = "staged_candles"


def _candles(table: str) -> str:
    columns = [f"{name} {TYPES[width]}{' NOT NULL' if name in KEY else ''}" for name, width in WIDTHS.items()]
    columns += [f"{PATTERNS} bytea", "wide jsonb", f"PRIMARY KEY ({', '.join(KEY)})"]
    return f"CREATE TABLE {table} ({', '.join(columns)})"


def _column(name: str) -> str:
    """A number of any size, or the code of one: those are never too big for their column."""
    kind = next(column.kind for column in COLUMNS if column.name == name)
    return name if kind in (DIGITS, SIGNED) else f"coalesce({name}::numeric, (wide ->> '{name}')::numeric)"


_SQL: Final = Dialect(
    column=_column, quotient=lambda one, other: f"div({one}, {other})", power=lambda e: f"power(2::float8, {e})",
    real="float8", most="greatest", least="least",
)  # fmt: skip


def _view(interval: int, table: str) -> str:
    """Candles in plain numbers, for people and other programs: everything but the patterns."""
    fields = ", ".join(
        f"{sql} AS {name}" for name, sql in floats(_SQL, str(LENGTH_MS[interval])).items() if name != "open_time_ms"
    )
    return (
        f"CREATE VIEW {table}_float AS SELECT venue, symbol, to_timestamp(open_time_ms / 1000.0) AS open_time, "
        f"open_time_ms, {fields} FROM {table} JOIN symbols ON id = pair"
    )


_FIRST: Final = (
    "CREATE TABLE symbols (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, venue text NOT NULL, "
    "symbol text NOT NULL, UNIQUE (venue, symbol))",
    "CREATE TABLE positions (stream text PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL)",
    "CREATE TABLE writer (fence bigint NOT NULL)",
    "INSERT INTO writer VALUES (0)",
    *[_candles(table) for table in TABLES],
    *[_view(interval, table) for interval, table in enumerate(TABLES)],
)

# What each version changes; what has been carried out somewhere is never edited.
MIGRATIONS: Final[Sequence[Sequence[str]]] = (_FIRST,)
VERSION: Final = len(MIGRATIONS)

VERSION_TABLE: Final = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET LOCAL search_path TO {SCHEMA}, public; "
    "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
)
MAKE_STAGE: Final = f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGE} (LIKE {TABLES[0]}) ON COMMIT DELETE ROWS"


def upsert(table: str) -> str:
    """What is staged into its table, where it is as good as what stands there."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in ALL if name not in KEY)
    return (
        f"INSERT INTO {table} AS held SELECT * FROM {STAGE} ORDER BY {', '.join(KEY)} "
        f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {changed} WHERE {rank_sql('excluded.')} >= {rank_sql('held.')}"
    )
