#!/usr/bin/env python3
"""The last 500 candles of a pair, as the front reads them: from each store, and from its own memory.

    .venv/bin/python scripts/bench/history.py [--stores sqlite,postgres,timescale] [--rounds 60] [--quick]

The stores hold the last 1,000 candles of 15 s of 40 pairs, with metrics and patterns, and one after the other of the
pairs is asked for: OHLCV (six fields), then all fields. From memory is `History.read` of a pair that was asked for
before, live candle and what closed since put in. Wall clock, median and 99th percentile. Numpy is not used on the way
out, and garbage is collected as rarely as in the front. Baseline: the same rows from one table of SQLite with a column
a field, floats as they are.
"""

import argparse
import gc
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles

import _common as common
from _closes import BEGIN_MS, STEP_MS, Stream
from sink import addresses

from wick.api.history import History, Standing, Window
from wick.market.schema import CANDLE_FIELDS
from wick.storage.batch import Batch
from wick.storage.store import Store, open_store

OHLCV = ("open_time_ms", "open", "high", "low", "close", "volume")
COUNT = 500
LIMITS = {"sqlite": (2.0, 3.0), "postgres": (2.0, 6.0), "timescale": (2.0, 6.0)}
MEMORY_MS = 0.2


def fill(store: Store, stream: Stream, candles: int) -> None:
    end = (time.time_ns() // 1_000_000 - BEGIN_MS) // STEP_MS
    for first in range(end - candles, end, 50):
        messages = [one for _, one in stream.messages(range(first, min(end, first + 50)))]
        store.write(Batch.of_closes(block for one in messages for block in one.blocks), {})


def page(store: Store, names: list[str], fields: tuple[str, ...] | None, number: int) -> object:
    return store.candles("binance", names[number % len(names)], "15s", COUNT, fields=fields)


def timed(read: Callable[[int], object], rounds: int) -> list[float]:
    took = []
    for number in range(rounds):
        began = time.perf_counter()
        read(number)
        took.append((time.perf_counter() - began) * 1e3)
    return took


def baseline(store: Store, names: list[str], rounds: int) -> list[float]:
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE candles (symbol, {', '.join(CANDLE_FIELDS)}, PRIMARY KEY (symbol, open_time_ms))")
    for name in names:
        rows = store.candles("binance", name, "15s", COUNT)
        db.executemany(
            f"INSERT INTO candles VALUES ({', '.join('?' * (1 + len(CANDLE_FIELDS)))})", [(name, *row) for row in rows]
        )
    select = f"SELECT {', '.join(CANDLE_FIELDS)} FROM candles WHERE symbol = ? ORDER BY open_time_ms DESC LIMIT {COUNT}"
    took = timed(lambda number: db.execute(select, (names[number % len(names)],)).fetchall(), rounds)
    db.close()
    return took


def memory(url: str, names: list[str], rounds: int) -> list[float]:
    standing = Standing(1, 1, 0)
    history = History(url, lambda *_: [], lambda *_: None, lambda *_: standing, lambda: None)

    def read(number: int) -> object:
        return history.read("binance", names[number % len(names)], "15s", Window(COUNT))

    timed(read, len(names))
    return timed(read, rounds)


def main() -> None:
    parser = common.parser(__doc__, rounds=60)
    parser.add_argument("--stores", default="sqlite,postgres,timescale", help="which (default %(default)s)")
    args: argparse.Namespace = parser.parse_args()
    stream = Stream(8 if args.quick else 40)
    rounds, candles = (10, COUNT) if args.quick else (args.rounds, 2 * COUNT)
    lines, figures, targets = [], {}, []

    def tell(name: str, took: list[float], limit: float) -> None:
        p50, p99 = median(took), quantiles(took, n=100)[98]
        lines.append([name, f"{p50:.2f}", f"{p99:.2f}"])
        figures[name] = {"p50_ms": p50, "p99_ms": p99}
        targets.append(common.Target(f"{name}: p50, ms", p50, limit))

    with addresses(args.stores.split(",")) as stores:
        for kind, address in stores.items():
            url = address()
            store = open_store(url)
            fill(store, stream, candles)
            names = stream.names
            gc.freeze()
            gc.set_threshold(10_000, 20, 1_000_000)
            for what, fields, limit in zip(("OHLCV", "all fields"), (OHLCV, None), LIMITS[kind], strict=True):
                read = partial(page, store, names, fields)
                timed(read, len(names))  # pages are in the database's memory, as they soon are
                tell(f"{kind}, {what}", timed(read, rounds), limit)
            if "memory" not in figures:
                tell("memory", memory(url, names[:8], rounds), MEMORY_MS)
                plain = median(baseline(store, names, rounds))
            store.close()
    common.table(["where", "p50 ms", "p99 ms"], lines)
    print(f"baseline, a table with a column a field in SQLite's memory, all fields: p50 {plain:.2f} ms")
    figures["baseline_p50_ms"] = plain
    common.finish("history", args, figures, targets)


if __name__ == "__main__":
    main()
