"""A feed in a process of its own, a simulated exchange in another, and the test as the only worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from tests.sim.exchange_process import ROOT, Exchange
from wick.market.trades import DEPTH, QUOTE, TRADE
from wick.net import bus
from wick.wire.codec import unpack
from wick.wire.messages import TickHeader, records

FEED = ROOT / "services" / "feed.py"


class Worker:
    """What a feed sends: by (venue, symbol) the trades in their order, and the newest quote and depth."""

    def __init__(self, data_dir: Path) -> None:
        (data_dir / "run").mkdir(mode=0o700, parents=True)
        self.pull = bus.pull(data_dir, 0, 100_000)
        self.trades: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        self.quotes: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.depths: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.outages: list[tuple[str, int]] = []  # (venue, shard), but for a stream's first part
        self.clocks: list[int] = []
        self._seqs: dict[tuple[str, int, int], int] = {}

    def read(self, wait_s: float = 0.05) -> None:
        if self.pull.poll(int(wait_s * 1000), zmq.POLLIN):
            bus.drain(self.pull, self._take, 100_000)

    def until(self, condition: Callable[[], Any], timeout_s: float = 20.0, what: str = "it") -> Any:
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what} did not happen in time"
            self.read()
        return value

    def _take(self, frames: list[bytes]) -> None:
        header = TickHeader.unpack(frames[0])
        rows = iter(records(frames[1], header).tolist())
        self.clocks.append(header.clock_ns)
        for shard, seq, outage, symbols, counts in header.parts:
            stream = (header.venue, header.epoch, shard)
            assert seq == self._seqs.get(stream, 0) + 1, "a part is missing"
            self._seqs[stream] = seq
            if outage and seq > 1:
                self.outages.append((header.venue, shard))
            for symbol, count in zip(symbols, counts, strict=True):
                for _ in range(count):
                    self._record((header.venue, symbol), next(rows))

    def _record(self, pair: tuple[str, str], row: tuple[Any, ...]) -> None:
        kind = row[9]
        if kind == TRADE:
            self.trades.setdefault(pair, []).append(row)
        elif kind == QUOTE:
            self.quotes[pair] = row
        else:
            assert kind == DEPTH
            self.depths[pair] = row

    def ids(self, venue: str, symbol: str) -> list[int]:
        return [row[1] for row in self.trades.get((venue, symbol), [])]


class Feed:
    """A running feed: its settings as WICK_* variables, its stats, its log."""

    def __init__(self, directory: Path, worker: bool = True, **settings: Any) -> None:
        self.data_dir = directory / "var"
        self.worker = Worker(self.data_dir)
        self.log_path = directory / "feed.log"
        own = {"CORE_DATA_DIR": self.data_dir, "AGGREGATOR_WORKERS": 1, "FEED_BACKOFF_S": 0.5}
        self.env = {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        self.stats = bus.subscriber(self.data_dir, ["feed-0"], [b"stats."])
        self.process = self._start()
        self.newest: dict[str, Any] = {}

    def _start(self) -> "subprocess.Popen[bytes]":
        env = {k: v for k, v in os.environ.items() if not k.startswith("WICK_")} | self.env
        with self.log_path.open("ab") as log:
            return subprocess.Popen([sys.executable, str(FEED)], env=env, cwd=ROOT, stdout=log, stderr=log)

    def told(self) -> dict[str, Any]:
        """What it last said of itself: counters and gauges."""
        while self.stats.poll(0):
            self.newest = unpack(self.stats.recv_multipart()[1])
        return self.newest.get("counters", {}) | self.newest.get("gauges", {})

    def until(self, condition: Callable[[dict[str, Any]], Any], timeout_s: float = 20.0) -> Any:
        """Wait for what it says of itself (once a second)."""
        try:
            return self.worker.until(lambda: (told := self.told()) and condition(told), timeout_s)
        except AssertionError:
            raise AssertionError(f"not in time: {self.told()}\n{self.log()[-3000:]}") from None

    def log(self) -> str:
        return self.log_path.read_text()

    def tell(self, number: int = signal.SIGHUP) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=15)
        self.worker.read(0.2)
        for socket in (self.worker.pull, self.stats):
            socket.close(linger=0)
        return code


def truth(exchange: Exchange, native: str) -> dict[int, tuple[str, str, str, int]]:
    """All trades that the exchange has made of a symbol, by id: price, quantity, taker, time (ms)."""
    found: dict[int, tuple[str, str, str, int]] = {}
    first = 0
    while True:
        answer = exchange.get(f"/_truth?symbol={native}&from_id={first}&limit=10000")
        page = {row[0]: (row[1], row[2], row[3], row[4]) for row in answer["trades"]}
        if not page:
            return found
        found |= page
        first = max(page) + 1


