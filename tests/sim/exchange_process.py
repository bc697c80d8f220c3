"""A simulated exchange in a process of its own, and clients that speak to it over real sockets."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

RUNNER = Path(__file__).with_name("run_exchange.py")
ROOT = RUNNER.parents[2]


class Exchange:
    """A running exchange: its addresses, its faults, its log."""

    def __init__(self, log: Path, **asked: Any) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(RUNNER), json.dumps(asked)], stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT
            )
        line = self.process.stdout.readline()
        assert line, f"the exchange did not start: {log.read_text()}"
        self.port = int(line)

    def connect(self, *streams: str, path: str = "", **options: Any) -> ClientConnection:
        path = path or f"/stream?streams={'/'.join(streams)}"
        # Without a bound: this client cannot close in order while its queue is full, and waits for ten seconds.
        options = {"compression": None, "proxy": None, "max_queue": None, **options}
        return connect(f"ws://127.0.0.1:{self.port}{path}", **options)

    def get(self, path: str) -> Any:
        """The parsed body; urllib's HTTPError where the status is not 200."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def refused(self, path: str) -> tuple[int, Any, Any]:
        """Status, body and headers of a request that fails."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.get(path)
        with caught.value as error:
            return error.code, json.load(error), error.headers

    def fault(self, name: str, **params: Any) -> Any:
        body = json.dumps({"fault": name, **params}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_faults", body, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def counters(self) -> dict[str, int]:
        return self.get("/_faults")["counters"]

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        return code


StartExchange = Callable[..., Exchange]


def take(client: ClientConnection, count: int) -> list[Any]:
    """The next `count` data frames, parsed and out of their envelope."""
    return [json.loads(client.recv(timeout=30))["data"] for _ in range(count)]


def take_until(client: ClientConnection, done: Callable[[list[Any]], Any], more: int = 50) -> list[Any]:
    """Data frames until `done` with them, and a few more; fails when that takes too long."""
    frames: list[Any] = []
    deadline = time.monotonic() + 30
    while not done(frames):
        assert time.monotonic() < deadline, "it did not arrive in time"
        frames += take(client, 1)
    return frames + take(client, more)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
