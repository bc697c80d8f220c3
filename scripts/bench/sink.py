#!/usr/bin/env python3
"""The sink: a commit of 300 closed candles, what it writes in a second, what that costs it, and how often it commits.

    .venv/bin/python scripts/bench/sink.py [--stores sqlite,postgres,timescale] [--quick]

Three parts, on each store (a file on the disk of the working directory; a PostgreSQL of its own with sync on; the test
TimescaleDB where there is node, which is WebAssembly and slower than a real one):

- `commit`: 300 candles of 15 s with all metrics, and the positions of 32 streams, in one transaction: from the blocks
  as they were published to the return of the commit.
- `catching up`: the real sink process, behind an outbox that has an hour of 300 pairs and twelve intervals with all
  metrics: rows in the store a second, the sink's processor time (all its threads) for 1,000 rows, its resident memory.
- `live`: a message every 10 ms without a pause, for some seconds: commits a second.

Baseline of `commit`: the same rows as an `INSERT` of floating-point numbers in a table of SQLite without a key.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import _common as common
import zmq
from _closes import Stream

from wick.net import bus, endpoints
from wick.storage.batch import Batch
from wick.storage.store import Store, open_store
from wick.stream.shards import SHARDS
from wick.wire.codec import unpack
from wick.wire.messages import Kept, Request, closes_topic, pack_page

PAGE_BYTES = 1 << 20
START_S = 30.0


class Outbox:
    """Plays the only worker: publishes, and answers with pages."""

    def __init__(self, data_dir: Path) -> None:
        endpoints.run_dir(data_dir)
        self.pub, self.router = bus.publisher(data_dir, "aggregator-0"), bus.router(data_dir, 0)
        self.kept: dict[int, list[bytes]] = {shard: [] for shard in range(SHARDS)}
        self.rows = 0

    def add(self, stream: Stream, instants: range, publish: bool = False) -> Iterator[None]:
        for shard, message in stream.messages(instants):
            body = message.pack()
            self.kept[shard].append(body)
            self.rows += len(message.blocks[0][2])
            if publish:
                self.pub.send_multipart([closes_topic(shard), body])
                yield
        yield

    @property
    def newest(self) -> dict[str, tuple[int, int]]:
        return {f"closes.{shard:02d}": (1, len(kept)) for shard, kept in self.kept.items() if kept}

    def serve(self, wait_ms: int) -> None:
        if self.router.poll(wait_ms, zmq.POLLIN):
            bus.drain(self.router, self._answer)

    def _answer(self, frames: list[bytes]) -> None:
        request = Request.unpack(frames[-1])
        kept = self.kept[request.shard]
        end, size = request.after, 0
        while end < len(kept) and size < PAGE_BYTES:
            size += len(kept[end])
            end += 1
        told = Kept(1, 1, 1, len(kept), end < len(kept)) if kept else Kept(0, 0, 0, 0, False)
        self.router.send_multipart([frames[0], frames[-1], told.pack(), *pack_page(kept[request.after : end])])

    def close(self) -> None:
        for socket in (self.pub, self.router):
            socket.close(linger=0)


@contextmanager
def sink(data_dir: Path, url: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    (data_dir / "wick.toml").touch()
    own = {"CONFIG": data_dir / "wick.toml", "CORE_DATA_DIR": data_dir, "AGGREGATOR_WORKERS": 1, "STORE_URL": url}
    own |= settings
    env = os.environ | {f"WICK_{name}": str(value) for name, value in own.items()} | {"PYTHONPATH": str(common.ROOT)}
    with (data_dir / "sink.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(common.ROOT / "services" / "sink.py")], cwd=common.ROOT, env=env, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Said:
    """What the sink says of itself."""

    def __init__(self, data_dir: Path) -> None:
        self._sub = bus.subscriber(data_dir, ["sink-0"], [b"stats."])
        self.counters: dict[str, int] = {}
        self.state = ""

    def hear(self) -> None:
        bus.drain(self._sub, self._take)

    def _take(self, frames: list[bytes]) -> None:
        stats = unpack(frames[1])
        self.counters, self.state = stats["counters"], stats["state"]

    def close(self) -> None:
        self._sub.close(linger=0)


def until(condition: Callable[[], bool], step: Callable[[], object], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {wait_s} s")
        step()


# ---------------------------------------------------------------------- the parts


def instants(stream: Stream, count: int) -> list[list[list[object]]]:
    """Blocks of so many instants at which candles of 15 s alone end."""
    numbers = islice((number for number in range(10**6) if (number + 1) % 4), count)
    return [[block for _, [block] in stream.instant(number)] for number in numbers]


def commits(store: Store, stream: Stream, rounds: int) -> list[float]:
    """Milliseconds of each."""
    store.take_over()
    took = []
    for number, blocks in enumerate(instants(stream, rounds + 5), 1):
        positions = {f"closes.{shard:02d}": (1, number) for shard in range(SHARDS)}
        began = time.perf_counter()
        store.write(Batch.of_closes(blocks), positions)
        took.append((time.perf_counter() - began) * 1e3)
    return took[5:]


def naive(stream: Stream, rounds: int, folder: Path) -> list[float]:
    db = sqlite3.connect(folder / "naive.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    took = []
    for number, blocks in enumerate(instants(stream, rounds)):
        rows = [[*one[:3], *map(float, one[3:-1])] for one in Batch.of_closes(blocks).rows()]
        if not number:
            db.execute(f"CREATE TABLE candles ({', '.join(f'c{at}' for at in range(len(rows[0])))})")
        began = time.perf_counter()
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO candles VALUES ({', '.join('?' * len(rows[0]))})", rows)
        db.execute("COMMIT")
        took.append((time.perf_counter() - began) * 1e3)
    db.close()
    return took


class CatchUp:
    rows_s = cpu_ms = rss_mb = 0.0


def catching_up(url: str, stream: Stream, count: int) -> CatchUp:
    found = CatchUp()
    with TemporaryDirectory(prefix="wb-") as folder:
        data_dir = Path(folder)
        outbox = Outbox(data_dir)
        for _ in outbox.add(stream, range(count)):
            pass
        with sink(
            data_dir, url, SINK_BATCH_MS=50
        ) as process:  # the last rows are no batch, and would wait for a second
            until(lambda: bool(outbox.router.poll(0)), lambda: outbox.router.poll(50), START_S)
            began, cpu = time.perf_counter(), common.cpu_ns(process.pid)
            store = open_store(url, read_only=True)
            until(lambda: store.positions() == outbox.newest, lambda: outbox.serve(20), 300)
            took = time.perf_counter() - began
            store.close()
            found.rows_s = outbox.rows / took
            found.cpu_ms = (common.cpu_ns(process.pid) - cpu) / 1e6 / (outbox.rows / 1_000)
            status = Path(f"/proc/{process.pid}/status").read_text()
            found.rss_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1_000
        outbox.close()
    return found


def live(url: str, stream: Stream, seconds: float) -> float:
    """Commits a second."""
    with TemporaryDirectory(prefix="wb-") as folder:
        data_dir = Path(folder)
        outbox, said = Outbox(data_dir), Said(data_dir)
        with sink(data_dir, url):

            def step() -> None:
                outbox.serve(10)
                said.hear()

            until(lambda: said.state == "running", step, START_S)
            began, before = time.perf_counter(), said.counters.get("commits", 0)
            for _ in outbox.add(stream, range(10**6), publish=True):
                step()
                if time.perf_counter() - began > seconds:
                    break
            rate = (said.counters.get("commits", 0) - before) / (time.perf_counter() - began)
        outbox.close()
        said.close()
    return rate


@contextmanager
def addresses(names: list[str]) -> Iterator[dict[str, Callable[[], str]]]:
    """For each store a function that gives the address of an empty one."""
    with ExitStack() as stack:
        found: dict[str, Callable[[], str]] = {}
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="wick-bench-", dir=".")))
        files = iter(range(1_000))
        if "sqlite" in names:
            found["sqlite"] = lambda: f"sqlite:{folder.resolve() / f'{next(files)}.sqlite'}"
        if "postgres" in names:
            from tests.servers.postgres import Postgres, database

            postgres = Postgres()
            stack.callback(postgres.close)
            found["postgres"] = lambda: stack.enter_context(database(postgres.url("postgres")))
        if "timescale" in names:
            from tests.servers.timescale import Timescale

            timescale = Timescale()
            stack.callback(timescale.close)

            def cleared() -> str:
                timescale.clear()
                return str(timescale.url)

            found["timescale"] = cleared
        yield found


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--stores", default="sqlite,postgres,timescale", help="which (default %(default)s)")
    args: argparse.Namespace = parser.parse_args()
    stream = Stream()
    rounds, count, seconds = (20, 24, 3.0) if args.quick else (200, 240, 20.0)
    lines, figures, targets = [], {}, []
    with addresses(args.stores.split(",")) as stores, TemporaryDirectory(dir=".") as folder:
        slow = naive(stream, rounds, Path(folder))
        for name, address in stores.items():
            store = open_store(address())
            took = commits(store, stream, rounds)
            store.close()
            p50, p99 = median(took), quantiles(took, n=100)[98]
            behind, rate = catching_up(address(), stream, count), live(address(), stream, seconds)
            numbers = {
                "commit_p50_ms": p50, "commit_p99_ms": p99, "rows_s": behind.rows_s, "cpu_ms_1000": behind.cpu_ms,
                "rss_mb": behind.rss_mb, "commits_s": rate,
            }  # fmt: skip
            lines.append([name, *(f"{value:,.1f}" for value in numbers.values())])
            figures[name] = numbers
            targets.append(common.Target(f"{name}: commit p50, ms", p50, 5.0))
            if name != "sqlite":
                targets.append(common.Target(f"{name}: commit p99, ms", p99, 20.0))
            if name == "postgres":
                targets.append(common.Target(f"{name}: rows/s", behind.rows_s, 60_000, at_least=True))
                targets.append(common.Target(f"{name}: processor ms for 1,000 rows", behind.cpu_ms, 3.0))
            targets.append(common.Target(f"{name}: commits/s", rate, 1.0))
    header = ["store", "commit p50 ms", "p99 ms", "rows/s", "cpu ms / 1,000", "RSS MB", "commits/s"]
    common.table(header, lines)
    print(f"baseline, plain INSERTs into a table of SQLite: p50 {median(slow):.1f} ms")
    figures["baseline_p50_ms"] = median(slow)
    common.finish("sink", args, figures, targets)


if __name__ == "__main__":
    main()
