"""A real front as a process, the worker that it listens to (played here), and what the kernel says of both.

The market: pairs of one venue, spread over the shards as wick spreads them. `running` has a trade in every pair so many
times a second, a shard at a time; what it publishes are a worker's own messages.
"""

import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import _common as common
from _load import Load, Report

from tests.ports import free_port
from wick.market.intervals import INTERVALS, NAMES
from wick.market.schema import CANDLE_FIELDS, CLOSED, STATE_WIDTHS
from wick.net import bus, endpoints
from wick.stream import diffs
from wick.stream.shards import SHARDS, shard_of
from wick.wire.messages import Closes, Diffs, Request, Snapshot, closes_topic, diffs_topic

VENUE = "binance"
FRONTS = 2  # at most, of a stage
SERVICE = "services/front.py"
PATIENCE_S = 60.0
FIRST_MS = 1_723_161_600_000
PRICE, TIME, BUY_SHARE = 6_000_000, 2, 0.5
KNOWN_INTERVALS = (1, 2, 3)  # of the table: which candles clients subscribe to
LOAD_WIDTH = 16  # fields of a group, as the load generator tells them


def wait_for(probe: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise SystemExit(f"in {patience_s:g} s not: {what}")
        time.sleep(0.02)
    return answer


# ---------------------------------------------------------------------- the worker


class Market:
    """Every pair's `states`, and what a worker would publish of them: (topic, message), given to `tell`.

    The same seed, the same trades."""

    def __init__(self, pairs: int, tell: Callable[[list[bytes]], Any], seed: int = 1) -> None:
        self.symbols = [f"C{number:03}-USDT" for number in range(pairs)]
        self.epoch, self.closed = 1, [0] * len(NAMES)
        self._tell, self._random, self._lock = tell, random.Random(seed), threading.Lock()
        self._shards: list[list[int]] = [[] for _ in range(SHARDS)]
        for number, symbol in enumerate(self.symbols):
            self._shards[shard_of(VENUE, symbol)].append(number)
        self.shards = [shard for shard, its in enumerate(self._shards) if its]
        self._seqs = [[0, 0] for _ in range(SHARDS)]
        self.states = [self._first() for _ in self.symbols]
        self._rows: list[list[list[Any]]] = [[] for _ in range(SHARDS)]  # what is told to who asks for a snapshot

    def _first(self) -> list[list[int]]:
        state = [[0] * width for width in STATE_WIDTHS]
        totals = [10**9, PRICE * 10**9, 10**4, 10**8, PRICE * 10**8]
        state[0] = [PRICE, 10**9, FIRST_MS, *totals, PRICE - 1, 10**6, PRICE + 1, 10**6, 2, 5, PRICE]
        for live in state[1:]:
            live[:] = [FIRST_MS, PRICE, PRICE + 500, PRICE - 500, *totals, 0]
        return state

    def snapshot(self, shard: int) -> Snapshot:
        zero = [[0] * width for width in STATE_WIDTHS]
        with self._lock:
            its = self._shards[shard]
            entries = [[at, *diffs.make(zero, self.states[number])] for at, number in enumerate(its)]
            names = [[at, VENUE, self.symbols[number]] for at, number in enumerate(its)]
            return Snapshot(shard, self.epoch, *self._seqs[shard], names, entries, list(self._rows[shard]))

    def trade(self, shard: int) -> None:
        """A trade in each of the shard's pairs."""
        draw, entries = self._random.random, []
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            for at, number in enumerate(self._shards[shard]):
                state = self.states[number]
                head, step, size = state[0], round(draw() * 40) - 20, round(draw() * 10**6) + 1
                turnover, bought = size * (head[0] + step), draw() < BUY_SHARE
                deltas = [
                    step, 1, now_ms - head[TIME], size, turnover, 1, bought and size, bought and turnover,
                    step, round(draw() * 1000), step, round(draw() * 1000),
                ]  # fmt: skip
                mask = sum([1 << field for field, delta in enumerate(deltas) if delta])
                changes = [0, mask, *[int(delta) for delta in deltas if delta]]
                for group in KNOWN_INTERVALS:
                    if head[0] + step > state[group + 1][2]:
                        changes += (group + 1, 1 << 2, head[0] + step - state[group + 1][2])
                diffs.apply(state, changes)
                entries.append([at, *changes])
            self._publish(shard, entries)

    def _publish(self, shard: int, entries: list[list[int]]) -> None:
        if entries:
            self._seqs[shard][0] += 1
            message = Diffs(self.epoch, self._seqs[shard][0], time.time_ns(), [], entries)
            self._tell([diffs_topic(shard), message.pack()])

    def close_candles(self, interval: int) -> None:
        """The candles of an interval are over, all at once."""
        with self._lock:
            for shard in self.shards:
                self._close(shard, interval)
            self.closed[interval] += 1

    def _close(self, shard: int, interval: int) -> None:
        entries, rows = [], []
        for at, number in enumerate(self._shards[shard]):
            state = self.states[number]
            head, live = state[0], state[interval + 1]
            close_ms = INTERVALS[interval].close_ms(live[0])
            volumes = [total - opening for total, opening in zip(head[3:8], live[4:9], strict=True)]
            row = [live[0], close_ms, 1, CLOSED, *head[12:14], *live[1:4], head[0], *volumes, head[1] - 1, head[1]]
            row += [0] * (CANDLE_FIELDS.index("vwap") - len(row))
            row += [None] * (len(CANDLE_FIELDS) - len(row))
            rows.append([VENUE, self.symbols[number], NAMES[interval], *row])
            after = [list(group) for group in state]
            after[interval + 1] = [close_ms, head[0], head[0], head[0], *head[3:8], 0]
            entries.append([at, *diffs.make(state, after)])
            self.states[number] = after
        self._publish(shard, entries)
        self._rows[shard] += rows
        self._seqs[shard][1] += 1
        closes = Closes.of_rows(self.epoch, self._seqs[shard][1], time.time_ns(), rows)
        self._tell([closes_topic(shard), closes.pack()])

    def held(self, topic: str) -> list[int]:
        """What a client of the topic must hold, as the load generator tells it."""
        kind, _, symbol, *interval = topic.split(":")
        state = self.states[self.symbols.index(symbol)]
        groups = [state[0], state[NAMES.index(interval[0]) + 1] if kind == "candles" else []]
        return [value for group in groups for value in (*group, *[0] * (LOAD_WIDTH - len(group)))]


class Worker(Market):
    """The only worker: the market on the bus, for a front."""

    def __init__(self, data_dir: str, pairs: int) -> None:
        self._pub, self._router = bus.publisher(data_dir, "aggregator-0"), bus.router(data_dir, 0)
        super().__init__(pairs, self._pub.send_multipart)
        self._stopping, self._quiet = threading.Event(), threading.Event()
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._answering.start()

    def _answer(self) -> None:
        while not self._stopping.is_set():
            if self._router.poll(50):
                who, asked = self._router.recv_multipart()
                if (request := Request.unpack(asked)).kind == "snapshot":
                    self._router.send_multipart([who, asked, self.snapshot(request.shard).pack()])

    @contextmanager
    def running(self, hz: float) -> Iterator[None]:
        """Trades, so many times a second in every pair, while the block runs."""
        self._quiet.clear()
        thread = threading.Thread(target=self._run, args=(hz,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._quiet.set()
            thread.join()

    def _run(self, hz: float) -> None:
        due, step = time.monotonic(), 1 / hz / len(self.shards)
        while True:
            for shard in self.shards:
                due += step
                if self._quiet.wait(max(0.0, due - time.monotonic())):
                    return
                self.trade(shard)

    def close(self) -> None:
        self._stopping.set()
        self._answering.join()
        self._pub.close(linger=0)
        self._router.close(linger=0)


def sets(market: Market, clients: int, topics: int, distinct: int, seed: int = 1) -> list[list[str]]:
    """So many topics for each client, of `distinct` sets; tickers and candles, of pairs of all shards alike."""
    rng = random.Random(seed)

    def one() -> list[str]:
        names = []
        for number, symbol in enumerate(rng.sample(market.symbols, min(topics, len(market.symbols)))):
            interval = NAMES[rng.choice(KNOWN_INTERVALS)]
            names.append(f"candles:{VENUE}:{symbol}:{interval}" if number % 2 else f"ticker:{VENUE}:{symbol}")
        return names

    made = [one() for _ in range(distinct)]
    return [made[number % distinct] for number in range(clients)]


class Verdict:
    """What clients hold against what is true: how many subscriptions there are, and what is wrong with some."""

    def __init__(self, load: Load, market: Market, closes: bool = False) -> None:
        self.subscriptions, self.wrong, self.examples = 0, 0, []
        for topic, distinct in load.states().items():
            true = market.held(topic)
            interval = topic.split(":")[-1] if topic.startswith("candles:") else ""
            rows = market.closed[NAMES.index(interval)] if interval and closes else 0
            for clients, known, epoch, _, fields, (count, first, last) in distinct:
                self.subscriptions += clients
                length = INTERVALS[NAMES.index(interval)].close_ms(FIRST_MS) - FIRST_MS if rows else 0
                ok = known and epoch == market.epoch and fields == true
                if rows:
                    ok = ok and (count, first, last) == (rows, FIRST_MS, FIRST_MS + (rows - 1) * length)
                if not ok:
                    self.wrong += clients
                    self.examples.append((topic, clients, known, epoch, fields == true, count, rows))

    def __str__(self) -> str:
        some = f", such as {self.examples[:3]}" if self.examples else ""
        return f"{self.subscriptions:,} subscriptions compared with the market, {self.wrong} wrong{some}"


# ---------------------------------------------------------------------- the front


class Front:
    """A front as a process. `program`: services/front.py, or one that wraps it."""

    def __init__(self, data_dir: str, index: int, port: int, program: str, **settings: object) -> None:
        self.port = port or free_port()
        folder = Path(data_dir)
        config = folder / "wick.toml"
        config.touch()
        own = {"CONFIG": config, "CORE_DATA_DIR": folder, "AGGREGATOR_WORKERS": 1, "FRONT_PORT": self.port}
        outer = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")}
        ours = {f"WICK_{name.upper()}": str(value) for name, value in (own | settings).items()}
        self._log = folder / f"front-{index}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(common.ROOT / program), "--index", str(index), "--of", str(FRONTS)],
                cwd=common.ROOT, env=outer | {"PYTHONPATH": str(common.ROOT)} | ours, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def knows(self, pairs: int) -> bool:
        if self.process.poll() is not None:
            raise SystemExit(f"the front ended:\n{self._log.read_text()}")
        try:
            return len(self.ask("/api/v1/symbols")) == pairs
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def cpu_s(self) -> float:
        return common.cpu_ns(self.pid) / 1e9

    def memory_kb(self) -> dict[str, int]:
        """Resident and private memory, by /proc/PID/smaps_rollup."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, size in (line.split(":", 1) for line in lines)}
        return {"rss": sizes["Rss"], "private": sizes["Private_Clean"] + sizes["Private_Dirty"]}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class Stage:
    """A market, a front on core 0, and the load generator on core 1 with us."""

    def __init__(self, pairs: int, load: dict[str, Any] | None = None, **settings: Any) -> None:
        self._folder = TemporaryDirectory(prefix="wb-")
        self.data_dir = self._folder.name
        endpoints.run_dir(self.data_dir)
        self.market = Worker(self.data_dir, pairs)
        self.fronts: list[Front] = []
        self._settings = settings
        self.front = self.start_front()
        self.ready(self.front)
        self.load = Load(self.front.port, core=common.cores()[-1], **(load or {}))

    def start_front(self) -> Front:
        """One more, on the same port."""
        port = self.front.port if self.fronts else 0
        front = Front(self.data_dir, len(self.fronts), port, **{"program": SERVICE} | self._settings)
        self.fronts.append(front)
        common.pin_process(front.pid, 0)
        return front

    def ready(self, front: Front) -> None:
        wait_for(lambda: front.knows(len(self.market.symbols)), "the front knows the pairs")

    def subscribe(self, wanted: Sequence[Sequence[str]], group: Callable[[int], int] = lambda _: 0) -> None:
        for number, topics in enumerate(wanted):
            self.load.add(topics, group(number))

    def run(self, seconds: float) -> Report:
        """The counts of so long."""
        self.load.report()
        time.sleep(seconds)
        return self.load.report()

    def quiet(self) -> None:
        """Until clients are told nothing any more but heartbeats."""
        wait_for(lambda: not _news(self.run(0.3)), "the front has told all")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.load.close()
        for front in self.fronts:
            if front.process.poll() is None:
                front.stop()
        self.market.close()
        self._folder.cleanup()


def _news(report: Report) -> int:
    return sum(report["messages"].get(kind, 0) for kind in ("snapshot", "diff", "close", "ack"))


# ---------------------------------------------------------------------- the kernel

_DIAG_BY_FAMILY, _REQUEST_DUMP, _SKMEMINFO, _ESTABLISHED = 20, 0x301, 7, 1
_WMEM_QUEUED = 5  # its place in INET_DIAG_SKMEMINFO: the kernel's memory of what is not sent or not acknowledged
_RMEM = 0


def kernel_bytes(port: int) -> dict[tuple[str, int], int]:
    """By peer: kernel memory of each established socket of a listening port, by sock_diag(7)."""
    found: dict[tuple[str, int], int] = {}
    asked = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_SKMEMINFO - 1), 0, 1 << _ESTABLISHED)
    asked += bytes(48)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as link:  # NETLINK_SOCK_DIAG
        link.sendto(struct.pack("=IHHII", 16 + len(asked), _DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + asked, (0, 0))
        while True:
            data = link.recv(1 << 20)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == 3:  # NLMSG_DONE
                    return found
                if kind == _DIAG_BY_FAMILY:
                    _add(found, data[at + 16 : at + length], port)
                at += (length + 3) & ~3


def _add(found: dict[tuple[str, int], int], message: bytes, port: int) -> None:
    source, target = struct.unpack_from(">HH", message, 4)
    if source != port:
        return
    address, at = socket.inet_ntoa(message[24:28]), 72
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _SKMEMINFO:
            memory = struct.unpack_from("=9I", message, at + 4)
            found[address, target] = memory[_WMEM_QUEUED] + memory[_RMEM]
        at += max(4, (length + 3) & ~3)
