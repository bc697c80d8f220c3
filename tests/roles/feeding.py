"""A feed in a process of its own, simulated exchanges in others, and the test as the only worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import zmq

from tests.sim.exchange_process import ROOT, Exchange
from wick.exchanges import load
from wick.market.records import records
from wick.market.trades import DEPTH, QUOTE, TRADE
from wick.net import bus
from wick.wire.codec import unpack
from wick.wire.messages import TickHeader

RUNNER = Path(__file__).with_name("run_feed.py")
Pair = tuple[str, str]  # venue, symbol


class Worker:
    """What a feed sends: by (venue, symbol) the trades in their order, and the newest quote and depth."""

    def __init__(self, data_dir: Path) -> None:
        (data_dir / "run").mkdir(mode=0o700, parents=True)
        self.pull = bus.pull(data_dir, 0, 100_000)
        self.trades: dict[Pair, list[tuple[Any, ...]]] = {}
        self.quotes: dict[Pair, tuple[Any, ...]] = {}
        self.depths: dict[Pair, tuple[Any, ...]] = {}
        self.outages: list[tuple[str, int]] = []  # (venue, shard), but for a stream's first part
        self.clocks: list[int] = []
        self._seqs: dict[tuple[str, int, int], int] = {}

    def read(self, wait_s: float = 0.05) -> None:
        if self.pull.poll(int(wait_s * 1000), zmq.POLLIN):
            bus.drain(self.pull, self._take, 100_000)

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0, what: str = "it") -> Any:
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

    def _record(self, pair: Pair, row: tuple[Any, ...]) -> None:
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

    def __init__(self, directory: Path, exchanges: dict[str, Exchange], **settings: Any) -> None:
        self.exchanges = exchanges
        self.data_dir = directory / "var"
        self.worker = Worker(self.data_dir)
        self.log_path = directory / "feed.log"
        own = {
            "CORE_DATA_DIR": self.data_dir, "AGGREGATOR_WORKERS": 1, "FEED_BACKOFF_S": 0.5, "FEED_SYMBOLS": "*",
            "FEED_VENUES": ",".join(exchanges),
        }  # fmt: skip
        wick = {f"WICK_{name}": str(value) for name, value in (own | settings).items()}
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")} | wick
        self._addresses = json.dumps({venue: exchange.port for venue, exchange in exchanges.items()})
        self.stats = bus.subscriber(self.data_dir, ["feed-0"], [b"stats."])
        self.start()

    def start(self) -> None:
        """Also again, when it has ended."""
        self._newest: dict[str, Any] = {}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RUNNER), self._addresses], env=self._env, cwd=ROOT, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """As if it had never been: what it has not sent it does not send, and what it has said is forgotten."""
        self.process.kill()
        self.process.wait()

    def told(self) -> dict[str, Any]:
        """What it last said of itself: counters and gauges."""
        while self.stats.poll(0):
            said = unpack(self.stats.recv_multipart()[1])
            if said["pid"] == self.process.pid:  # not a word of one that was killed, which may come late
                self._newest = said
        return self._newest.get("counters", {}) | self._newest.get("gauges", {})

    def until(self, condition: Callable[[dict[str, Any]], Any], timeout_s: float = 60.0) -> Any:
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
        """Its exit code; what it sent last is read."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()
            if not self.worker.pull.closed:
                self.worker.read(0.2)
                self.worker.pull.close(linger=0)
                self.stats.close(linger=0)


@contextmanager
def feeding(
    directory: Path, *venues: str, demo: dict[str, Any] | None = None, ends_with: int = 0, **settings: Any
) -> Iterator[Feed]:
    """A feed of these venues, each with a demo market; all end in order."""
    market = {"seed": 3, "count": 5, "rate": 300} | (demo or {})
    exchanges = {venue: Exchange(directory / f"{venue}.log", venue=venue, demo=market) for venue in venues}
    feed = Feed(directory, exchanges, **settings)
    try:
        yield feed
        assert feed.stop() == ends_with, feed.log()
    finally:
        try:
            feed.stop()
        finally:
            codes = [exchange.stop() for exchange in exchanges.values()]
    assert codes == [0] * len(codes)


def truth(exchange: Exchange, native: str) -> dict[int, tuple[Any, ...]]:
    """All trades that the exchange has made of a symbol, by id: price, quantity, did the taker buy, time (ms)."""
    rows = exchange.get(f"/_truth?symbol={quote(native, safe='')}")["trades"]
    return {row[0]: (Decimal(row[1]), Decimal(row[2]), row[3] == "buy", row[4]) for row in rows}


def received(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A trade's record in the same shape."""
    event_ns, _, price, quantity, *_, prices, quantities, _, buy, _ = row
    return Decimal(price).scaleb(-prices), Decimal(quantity).scaleb(-quantities), bool(buy), event_ns // 1_000_000


def frozen(feed: Feed, venue: str) -> None:
    """Let the venue's market stand still, and wait until the worker has its last trades and books."""
    exchange, own = feed.exchanges[venue], load(venue)
    exchange.fault("freeze", seconds=600.0)
    worker = feed.worker
    symbols = [symbol for one, symbol in worker.trades if one == venue]

    def newest(symbol: str) -> bool:
        *_, last = truth(exchange, own.native(symbol)).values()
        return last in (received(row) for row in worker.trades[venue, symbol][-50:])

    def same_book(symbol: str) -> bool:
        book = exchange.get(f"/_book?symbol={quote(own.native(symbol), safe='')}")
        return (venue, symbol) in worker.depths and told_book(feed, venue, symbol) == shown_book(book)

    for symbol in symbols:
        worker.until(lambda symbol=symbol: newest(symbol), what=f"the last trade of {symbol}")
        worker.until(lambda symbol=symbol: same_book(symbol), what=f"the last book of {symbol}")


def shown_book(book: dict[str, Any]) -> list[Decimal]:
    """Best bid, its quantity, best ask, its quantity, quantities of the five best of both sides."""
    sides = [[(Decimal(price), Decimal(quantity)) for price, quantity in book[side]] for side in ("bids", "asks")]
    return [*sides[0][0], *sides[1][0], *[sum((quantity for _, quantity in side[:5]), Decimal(0)) for side in sides]]


def told_book(feed: Feed, venue: str, symbol: str) -> list[Decimal]:
    """The same of what the worker was told."""
    depth, quote = feed.worker.depths[venue, symbol], feed.worker.quotes[venue, symbol]
    best = [Decimal(quote[at]).scaleb(-quote[7 if at < 4 else 8]) for at in (2, 4, 3, 5)]
    return [best[0], best[1], best[2], best[3], *[Decimal(one).scaleb(-depth[8]) for one in depth[2:4]]]
