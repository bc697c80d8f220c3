"""The tables and views of the SQLite store, by version."""

from collections.abc import Callable, Iterator

from wick.market.intervals import NAMES
from wick.market.stored import COLUMNS, LENGTH_MS, OPEN
from wick.storage import sqlite_rows
from wick.storage.store import END_MS
from wick.storage.stored_sql import Dialect, floats

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
    inner = f"SELECT {names}, {sqlite_rows.hexadecimal()} FROM {{}}"
    joined = f"{inner} JOIN symbols USING (pair) JOIN intervals USING (interval)"
    made = f"SELECT venue, symbol, name AS interval, {shown}, patterns FROM (SELECT {names}, {form} FROM ({joined}))"
    return " UNION ALL ".join(made.format(table) for table in ("settled", "fresh"))


def _whole_schema() -> Iterator[str]:
    names = "venue TEXT NOT NULL, symbol TEXT NOT NULL, UNIQUE (venue, symbol)"
    yield f"CREATE TABLE symbols (pair INTEGER PRIMARY KEY, {names})"
    # `settled_ms`: when the newest candle opened that is, or was, in `settled`.
    yield (
        "CREATE TABLE intervals (interval INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, length_ms INTEGER NOT NULL, "
        "settled_ms INTEGER NOT NULL)"
    )
    told = ", ".join(f"({at}, '{name}', {LENGTH_MS[at]}, {-END_MS})" for at, name in enumerate(NAMES))
    yield f"INSERT INTO intervals VALUES {told}"
    yield "CREATE TABLE positions (stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL)"
    yield "CREATE TABLE writer (number INTEGER NOT NULL)"
    yield "INSERT INTO writer VALUES (0)"
    yield "CREATE TABLE powers_of_two (e INTEGER PRIMARY KEY, value REAL NOT NULL)"  # not every SQLite has pow()
    yield "INSERT INTO powers_of_two VALUES " + ", ".join(f"({e}, {2.0**e!r})" for e in range(-160, 161))
    key = ("pair", "interval", OPEN)
    columns = f"{', '.join(f'{name} INTEGER NOT NULL' for name in key)}, data BLOB NOT NULL, patterns BLOB"
    yield f"CREATE TABLE settled ({columns}, PRIMARY KEY ({', '.join(key)})) WITHOUT ROWID"
    yield f"CREATE TABLE fresh ({columns}, UNIQUE ({', '.join(key)}))"
    yield "CREATE VIEW candles AS SELECT * FROM settled UNION ALL SELECT * FROM fresh"
    yield f"CREATE VIEW candles_float AS {_view()}"


# By the version that a file has, what makes the next of it. A new file has version 0; versions before 6 had another
# table and are not read.
MIGRATIONS: dict[int, tuple[int, Callable[[], Iterator[str]]]] = {0: (6, _whole_schema)}


def newest_version() -> int:
    return max(version for version, _ in MIGRATIONS.values())
