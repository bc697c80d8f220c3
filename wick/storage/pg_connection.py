"""A connection to the PostgreSQL of a store: made anew when it broke, with a schema of this version, and errors in our
own words.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import make_dsn, parse_dsn

from wick.errors import StoreAwayError, StoreError
from wick.storage import pg_schema as schema
from wick.storage import timescale

T = TypeVar("T")

LOCK: Final = 0x7769636B  # of migrations: one at a time
# Of the connection, whatever the server has: nobody waits for ever, neither we nor those who wait for us.
_CONNECT: Final = {
    "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 20_000, "application_name": "wick",
}  # fmt: skip
# Candles are asked for in the order of their key, which finds them one by one; a server that thinks it cheaper to sort
# takes all that a pair has first.
SESSION: Final = (
    f"SET search_path TO {schema.SCHEMA}, public; SET statement_timeout = '30s'; SET lock_timeout = '10s'; "
    "SET idle_in_transaction_session_timeout = '60s'; SET timezone = 'UTC'; "
    "SET enable_sort = off"
)
# SQLSTATEs, or classes of them, of what may be over later: no connection, no room, shut down, cancelled, a lock, a
# deadlock, a standby that is to become the primary, an error of a disk.
_AWAY: Final = ("08", "53", "57P", "57014", "55P03", "40001", "40P01", "25006", "58")
_WRONG: Final = {  # how to mend it
    "28": "look at the user and the password in store.url",
    "3D": "make the database: createdb NAME",
    "42P01": "wick store init",
    "42501": "the database's owner has to let wick in: GRANT CREATE, CONNECT ON DATABASE ... TO ...",
    "XX": "the database is damaged: restore a backup, then wick backfill --gaps",
}
# Said at connecting, where there is no SQLSTATE.
_WAIT: Final = ("starting up", "shutting down", "terminating", "recovery", "too many", "remaining connection slots")


class PostgresConnection:
    """Every failure is a StoreError that names the address without its password."""

    def __init__(self, url: str, read_only: bool = False) -> None:
        try:
            parts = parse_dsn(url)
        except psycopg2.Error:
            raise StoreError(
                "store.url is no address of a PostgreSQL: valid is postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            ) from None
        self._password = parts.pop("password", "")
        user, host, port = parts.get("user", ""), parts.get("host", ""), parts.get("port", "")
        place = f"{user}{user and '@'}{host}{port and ':'}{port}/{parts.get('dbname', '')}"
        self.address = f"postgresql://{place}"
        self._dsn = make_dsn(url, **{name: value for name, value in _CONNECT.items() if name not in parts})
        self._read_only = read_only
        self._db: Connection | None = None
        self._fence: int | None = None
        self._numbers: dict[tuple[str, str], int] = {}
        self.timescale: timescale.Edition | None = None
        self._ask(lambda cursor: None)

    # ------------------------------------------------------------------ the connection

    def _connected(self) -> Connection:
        if self._db is None or self._db.closed:
            self._numbers.clear()
            db = psycopg2.connect(self._dsn)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _prepare(self, db: Connection) -> None:
        db.autocommit = True  # transactions are begun and ended in the statements themselves
        with db.cursor() as cursor:
            cursor.execute(SESSION)
            if self._read_only:
                cursor.execute("SET default_transaction_read_only = on")
            else:
                self._migrate(cursor)
            self._check_version(cursor)
            self.timescale = timescale.probe(cursor)
            if self.timescale and not self._read_only:
                timescale.prepare(cursor, self.timescale)

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        """Errors are ours, and no transaction stays open behind one."""
        try:
            with self._connected().cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            self._undo()
            raise self._told(error) from error
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        if self._db is not None and not self._db.closed:
            try:
                with self._db.cursor() as cursor:
                    cursor.execute("ROLLBACK")
                return
            except psycopg2.Error:
                pass
        self.close()

    def _told(self, error: psycopg2.Error) -> StoreError:
        text = " ".join(str(error).split()) or type(error).__name__
        if self._password:
            text = text.replace(self._password, "***")
        code = error.pgcode or ""
        lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not code
        if code.startswith(_AWAY) or (lost and ("FATAL" not in text or any(some in text for some in _WAIT))):
            return StoreAwayError(f"{self.address}: {text}")
        mend = next((how for begin, how in _WRONG.items() if code.startswith(begin)), "")
        return StoreError(f"{self.address}: {text}{mend and '; '}{mend}")

    def _ask(self, question: Callable[[Cursor], T]) -> T:
        """Something that changes nothing: asked twice, where the connection had broken unnoticed."""
        was_there = self._db is not None
        try:
            with self._cursor() as cursor:
                return question(cursor)
        except StoreAwayError:
            if not was_there or self._db is not None:
                raise
        with self._cursor() as cursor:
            return question(cursor)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    # ------------------------------------------------------------------ the schema

    def _migrate(self, cursor: Cursor) -> None:
        cursor.execute("SELECT to_regclass(%s)", (f"{schema.SCHEMA}.schema_version",))
        if one(cursor) and version_of(cursor) >= schema.VERSION:
            return
        while True:
            cursor.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK})")
            cursor.execute(schema.VERSION_TABLE)
            version = version_of(cursor)
            if version < schema.VERSION:
                for statement in schema.MIGRATIONS[version]:
                    cursor.execute(statement)
                cursor.execute("INSERT INTO schema_version VALUES (%s)", (version + 1,))
            cursor.execute("COMMIT")
            if version + 1 >= schema.VERSION:
                return

    def _check_version(self, cursor: Cursor) -> None:
        cursor.execute("SELECT to_regclass(%s)", (f"{schema.SCHEMA}.schema_version",))
        if not one(cursor):
            raise StoreError(f"{self.address}: nothing is stored there yet; wick store init makes the tables")
        version = version_of(cursor)
        if version != schema.VERSION:
            newer = version > schema.VERSION
            mend = "use the wick that wrote it, or a newer one" if newer else "wick store init brings it up to date"
            raise StoreError(
                f"{self.address}: its schema has version {version}, this wick knows {schema.VERSION}; {mend}"
            )


def one(cursor: Cursor) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def version_of(cursor: Cursor) -> int:
    cursor.execute("SELECT coalesce(max(version), 0) FROM schema_version")
    return int(one(cursor))
