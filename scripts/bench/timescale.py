#!/usr/bin/env python3
"""Bytes of a stored candle in TimescaleDB, with all metrics and patterns, compressed.

    .venv/bin/python scripts/bench/timescale.py [--pairs 100] [--quick]

The real engine makes 900 candles of 15 s of each pair from the benchmarks' market (trades by Zipf's law, 4 a second and
pair on average, and quotes; prices have five digits, as the simulator's), the real store writes them into a real
TimescaleDB (tests/servers/timescale.py: it has to be installed by scripts/setup --test, and needs node), and `compact`
compresses them. What the market lacks, the two imbalances of the order book, is drawn: noise, which costs most. Bytes
are what the table and its indexes take on disk, as the server tells it (of few candles: pages that are not full).

Baseline: the same fields, without the patterns, as a column of float64 each, compressed likewise.
"""

import sys
import time

import _common as common
import numpy as np
from _market import MS, SECOND, Market, Wire
from _worker import Worker, worker

from tests.servers.postgres import NoServerError
from tests.servers.timescale import Timescale
from wick.market.blocks import EXACT
from wick.market.schema import FORMED_FIELDS
from wick.storage.batch import Batch
from wick.storage.postgres import PostgresStore
from wick.wire.messages import Closes

TARGET_BYTES = 110
CANDLES = 900
BEGIN_NS = 1_719_792_000 * SECOND
STEP_NS = 5 * SECOND
RATE = 4  # trades a second and pair
DRAWN = ("book_imbalance", "depth_imbalance_10bps")
INTERVAL, TABLE = "15s", "candles_15s"


class Kept:
    """The worker's PUB socket: keeps the closes."""

    def __init__(self) -> None:
        self.closes: list[Closes] = []

    def send_multipart(self, frames: list[bytes]) -> None:
        if frames[0].startswith(b"closes."):
            self.closes.append(Closes.unpack(frames[1]))

    def close(self, linger: int | None = None) -> None:
        """There is nothing to close."""


def made(engine: Worker, pairs: int, candles: int) -> Batch:
    market = Market(pairs)
    market.has_quotes = True
    market._prices[:] = market.random.integers(10_000, 100_000, pairs)
    wire, kept = Wire(market), Kept()
    engine.pub.close(linger=0)
    engine.pub = kept  # type: ignore[assignment]
    for now_ns in range(BEGIN_NS, BEGIN_NS + (candles * 15 + 10) * SECOND, STEP_NS):
        ticks = market.ticks(RATE * pairs * STEP_NS // SECOND, now_ns, now_ns + STEP_NS)
        engine.take(wire.messages(ticks, now_ns + STEP_NS))
        engine.flush()
    batch = Batch.of_closes([block for closes in kept.closes for block in closes.blocks])
    batch = batch.take(batch.interval == 0)
    for name in DRAWN:
        noise = np.clip(market.random.normal(0, 0.35, batch.n), -1, 1)
        batch.real[:, FORMED_FIELDS.index(name) - EXACT] = noise
    return batch


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    args = parser.parse_args()
    pairs, candles = (4, 120) if args.quick else (args.pairs, CANDLES)
    try:
        server = Timescale()
    except NoServerError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with worker() as engine:
            batch = made(engine, pairs, candles)
        measure(args, server, batch)
    finally:
        server.close()
    return 0


def measure(args: object, server: Timescale, batch: Batch) -> None:
    server.clear()
    store = PostgresStore(server.url)
    for at in range(0, batch.n, 2000):
        store.write(batch.take(slice(at, at + 2000)), {})
    cursor = store._connected().cursor()

    def size(table: str) -> float:
        cursor.execute("SELECT hypertable_size(%s)", (table,))
        return float((cursor.fetchone() or (0,))[0]) / batch.n

    raw = size(TABLE)
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND NOT column_name = ANY(%s)",
        (f"{TABLE}_float", ["venue", "symbol", "open_time", "open_time_ms", "bull", "bear"]),
    )
    names = [name for (name,) in cursor.fetchall()]
    plain = ", ".join(f"{name}::float8" for name in names)
    cursor.execute(f"CREATE TABLE floats AS SELECT symbol, open_time_ms, {plain} FROM {TABLE}_float")
    cursor.execute(
        "SELECT create_hypertable('floats', 'open_time_ms', chunk_time_interval => 21600000, migrate_data => true)"
    )
    cursor.execute("ALTER TABLE floats SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol', "
                   "timescaledb.compress_orderby = 'open_time_ms DESC')")  # fmt: skip
    cursor.execute("SELECT compress_chunk(c) FROM show_chunks('floats') c")
    began = time.perf_counter()
    steps = [*store.compact({}, BEGIN_NS // MS + 10 * 86_400_000)]
    took = time.perf_counter() - began
    compressed, floats = size(TABLE), size("floats")
    store.close()
    common.table(
        ["bytes a candle", ""],
        [("compressed, as wick does", f"{compressed:.1f}"), ("as float64 columns, compressed", f"{floats:.1f}"),
         ("rows, not compressed", f"{raw:.1f}")],
    )  # fmt: skip
    print(f"{batch.n:,} candles of {len(batch.pairs)} pairs; {'; '.join(steps)}, in {took:.1f} s")
    targets = [common.Target("bytes a candle", compressed, TARGET_BYTES)]
    figures = {"candles": batch.n, "pairs": len(batch.pairs), "floats": floats, "rows": raw, "compress_s": took}
    common.finish("timescale", args, figures, targets)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
