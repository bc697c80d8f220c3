"""The real system as subprocesses, on random ports and in a temporary folder, for tests that look from outside."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WORKERS = 2
SYMBOLS = 60  # of the demo market: more than fit on the page
START_S = 120.0  # two seconds or three on a machine that has nothing else to do
STOP_S = 30.0
POLL_S = 0.05


class RunningWick:
    """Exchange, sink, front, aggregators and feed. `settings` are WICK_* variables without the prefix."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        self.port, exchange_port = free_port(), free_port()
        exchange = f"127.0.0.1:{exchange_port}"
        (data_dir / "wick.toml").touch()
        own = {
            "CONFIG": data_dir / "wick.toml", "CORE_DATA_DIR": data_dir, "FRONT_PORT": self.port,
            "AGGREGATOR_WORKERS": WORKERS, "EXCHANGE_PORT": exchange_port, "FEED_SYMBOLS": "*",
            "FEED_WS_URL": f"ws://{exchange}", "FEED_REST_URL": f"http://{exchange}",
        }  # fmt: skip
        self.env = os.environ | {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str, index: int = 0, count: int = 1, *options: str) -> None:
        command = [sys.executable, f"services/{name}.py", "--index", str(index), "--of", str(count), *options]
        process = f"{name}-{index}"
        with (self.data_dir / f"{process}.log").open("ab") as output:
            self.processes[process] = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=output, stderr=output)

    def start_all(self) -> None:
        for name in ("exchange", "sink", "front"):
            self.start(name)
        for index in range(WORKERS):
            self.start("aggregator", index, WORKERS)
        self.start("feed")

    def kill(self, process: str) -> None:
        """kill -9."""
        self.processes[process].kill()
        self.processes.pop(process).wait()

    def stop(self, process: str) -> None:
        """As supervisord does."""
        stop({process: self.processes.pop(process)})

    def get(self, path: str, port: int | None = None) -> Any:
        """The JSON that the front answers; None where nobody listens (yet), or it was killed over it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=30) as answer:
                return json.load(answer)
        except (OSError, HTTPException):
            return None

    def candles(self, symbol: str, interval: str, **query: object) -> list[dict[str, Any]]:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        answer = self.get(f"/api/v1/candles?venue=binance&symbol={symbol}&interval={interval}{more}")
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def wait_until_it_runs(self) -> None:
        """Until the front has heard of every shard and of the first pairs."""
        deadline = time.monotonic() + START_S
        while True:
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)}"
            health = self.get("/healthz")
            if health and health["status"] == "running" and health["pairs"] and not health["shards_waiting"]:
                return
            assert time.monotonic() < deadline, f"not ready within {START_S} s: {health}\n{self.log('front-0')}"
            time.sleep(POLL_S)

    def log_whole(self, process: str) -> str:
        return (self.data_dir / f"{process}.log").read_text(errors="replace")

    def log(self, process: str) -> str:
        return (self.data_dir / f"{process}.log").read_text(errors="replace")[-3000:]

    def stop_all(self) -> None:
        stop(self.processes)


def stop(processes: dict[str, subprocess.Popen[bytes]], wait_s: float = STOP_S) -> None:
    """As supervisord does: asked first, killed where that takes too long."""
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    for process in processes.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    processes.clear()


@contextmanager
def running(**settings: object) -> Iterator[RunningWick]:
    """A system to be started; everything is stopped at the end. The folder's path is short: sockets live there."""
    with TemporaryDirectory(prefix="wick-", ignore_cleanup_errors=True) as folder:
        wick = RunningWick(Path(folder), **settings)
        try:
            yield wick
        finally:
            wick.stop_all()
