"""The tables that a PostgreSQL store has, in a schema of their own (`wick`), and how they came to be, step by step.

A table an interval, all alike: `pair` (a number of `symbols`), `open_time_ms`, what `market.stored` keeps of a candle,
`patterns`, and `wide` (numbers beyond a column's bytes, by name).
"""

from collections.abc import Sequence
from typing import Final

from wick.market.intervals import NAMES
from wick.market.schema import FOREIGN, PARTIAL
from wick.market.stored import COLUMNS, PATTERNS

SCHEMA: Final = "wick"
TYPES: Final = {2: "smallint", 4: "integer", 8: "bigint"}
KEY: Final = ("pair", "open_time_ms")
WIDTHS: Final = {"pair": 4, "open_time_ms": 8, **{column.name: column.bytes for column in COLUMNS}}
# As COPY has them: integers, then what has any length.
ALL: Final = (*WIDTHS, PATTERNS, "wide")

# Not `candles_1M`: names without quotes are lower case.
TABLES: Final = [f"candles_{'1month' if name == '1M' else name}" for name in NAMES]
STAGE: Final = "staged_candles"


def _candles(table: str) -> str:
    columns = [f"{name} {TYPES[width]}{' NOT NULL' if name in KEY else ''}" for name, width in WIDTHS.items()]
    columns += [f"{PATTERNS} bytea", "wide jsonb", f"PRIMARY KEY ({', '.join(KEY)})"]
    return f"CREATE TABLE {table} ({', '.join(columns)})"


_FIRST: Final = (
    "CREATE TABLE symbols (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, venue text NOT NULL, "
    "symbol text NOT NULL, UNIQUE (venue, symbol))",
    "CREATE TABLE positions (stream text PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL)",
    "CREATE TABLE writer (fence bigint NOT NULL)",
    "INSERT INTO writer VALUES (0)",
    *[_candles(table) for table in TABLES],
)

# What each version changes; what has been carried out somewhere is never edited.
MIGRATIONS: Final[Sequence[Sequence[str]]] = (_FIRST,)
VERSION: Final = len(MIGRATIONS)

VERSION_TABLE: Final = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET LOCAL search_path TO {SCHEMA}, public; "
    "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
)
MAKE_STAGE: Final = f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGE} (LIKE {TABLES[0]}) ON COMMIT DELETE ROWS"


def _rank(row: str) -> str:
    """`market.rows.rank`."""
    anchor = f"coalesce({row}.obv_anchor_ms, {2**63 - 1})"
    return f"({row}.flags & {PARTIAL} = 0, {row}.flags & {FOREIGN} = 0, {row}.revision, {row}.known, -{anchor})"


def upsert(table: str) -> str:
    """What is staged into its table, where it is as good as what stands there."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in ALL if name not in KEY)
    return (
        f"INSERT INTO {table} AS held SELECT * FROM {STAGE} ORDER BY {', '.join(KEY)} "
        f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {changed} WHERE {_rank('excluded')} >= {_rank('held')}"
    )
