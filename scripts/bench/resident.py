#!/usr/bin/env python3
"""Resident memory of a worker process with 300 pairs, twelve intervals, and everything full that fills up.

    .venv/bin/python scripts/bench/resident.py [--history 300] [--quick]

The real aggregator as a process of its own, with its settings as they are, behind real sockets. It starts with a store
that has `--history` candles of each stream, which fill the rings of all banks (`aggregator.warmup`); it gets ticks,
2,000 a second, from two seconds before 00:00 on the 1st of a month that is a Monday until three after it has closed all
3,600 candles, with metrics and patterns, in one instant. What only months would fill is filled in it (_full_worker.py
says how): the rows of candles that can be corrected, and the closes that are kept for a sink.

What is resident is asked of the kernel (VmRSS) at each stage, so that the differences tell what takes how much; `of
it` is what its arrays and messages have by their own account. What processes share, such as libraries, is counted too.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
from _candles import taken
from _market import MS, SECOND, VENUE, Market, Wire

from wick.market.intervals import INTERVALS
from wick.market.schema import CLOSED, FORMED_FIELDS, METRIC_FIELDS, UNKNOWN
from wick.metrics.bank import CLOSE, DELTA, OPEN, TURNOVER, VOLUME
from wick.net import bus, endpoints
from wick.ops.settings import Settings
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore
from wick.wire.messages import Closes

TARGET_MB = 90.0
BORDER_NS = 1_719_792_000 * SECOND  # 2024-07-01 00:00, a Monday
BEFORE_NS, AFTER_NS = 2 * SECOND, 5 * SECOND
RATE, BATCH_NS = 2_000, 20 * MS
START_S = 120.0
HERE = Path(__file__).parent


def fill_store(path: Path, market: Market, history: int) -> None:
    """So many candles of each stream, up to those that are live before the boundary."""
    store = SqliteStore(path)
    prices = taken(history, 1)[:, :, 0].astype(int).tolist()
    for interval in INTERVALS:
        open_ms = interval.open_ms(BORDER_NS // MS - 1)
        rows = []
        for row in reversed(prices):
            close_ms, open_ms = open_ms, interval.open_ms(open_ms - 1)
            known = dict(zip(("open", "high", "low", "close"), row[OPEN : CLOSE + 1], strict=True)) | {
                "open_time_ms": open_ms, "close_time_ms": close_ms, "flags": CLOSED, "volume": row[VOLUME],
                "quote_volume": row[TURNOVER], "taker_buy_volume": (row[VOLUME] + row[DELTA]) // 2,
            }  # fmt: skip
            rows.append(known)
        store.write(Batch.of_rows(written(market, interval.name, rows)), {})
    store.close()


def written(market: Market, interval: str, rows: list[dict[str, int]]) -> Iterator[list[Any]]:
    for number, name in enumerate(market.names):
        decimals = {
            "price_decimals": int(market.price_decimals[number]),
            "quantity_decimals": int(market.quantity_decimals[number]),
        }
        for row in rows:
            known = row | decimals
            yield [VENUE, name, interval, *(known.get(field, 0) for field in FORMED_FIELDS), *UNKNOWN]


def trade(data_dir: str, market: Market) -> int:
    """Feed the worker in real time; how many candles closed with metrics meanwhile."""
    wire = Wire(market)
    push, closed = bus.push(data_dir, 0, Settings()["feed.push_hwm"]), 0
    sub = bus.subscriber(data_dir, ["aggregator-0"], [b"closes."])

    def heard(frames: list[bytes]) -> None:
        nonlocal closed
        closed += sum(None not in row[-len(METRIC_FIELDS) :] for row in Closes.unpack(frames[1]).rows)

    at = BORDER_NS - BEFORE_NS
    offset = at - time.time_ns()
    for message in wire.messages(market.one_each(at - SECOND, at), at):
        push.send_multipart(message)
    while at < BORDER_NS + AFTER_NS:
        ticks = market.ticks(RATE * BATCH_NS // SECOND, at, at + BATCH_NS)
        at += BATCH_NS
        time.sleep(max(0.0, (at - offset - time.time_ns()) / SECOND))
        for message in wire.messages(ticks, at):
            push.send_multipart(message)
        bus.drain(sub, heard)
    for socket in (push, sub):
        socket.close(linger=0)
    return closed


def measure(pairs: int, history: int) -> list[dict[str, Any]]:
    market = Market(pairs)
    with TemporaryDirectory(prefix="wb-") as folder:
        endpoints.run_dir(folder)
        fill_store(Path(folder) / "candles.sqlite", market, history)
        env = {key: value for key, value in os.environ.items() if not key.startswith("WICK_")}
        env |= {"PYTHONPATH": str(common.ROOT)}
        options = ["--core-data-dir", folder, "--aggregator-workers", "1", "--core-log-level", "error"]
        command = [sys.executable, str(HERE / "_full_worker.py"), str(pairs), *options]
        process = subprocess.Popen(command, cwd=common.ROOT, env=env, stdout=subprocess.PIPE, text=True)
        common.pin_process(process.pid, 0)
        assert process.stdout
        stages = []
        try:
            for line in process.stdout:
                stages.append(json.loads(line))
                if stages[-1]["stage"] == "warm-up":
                    break
            closed = trade(folder, market)
        finally:
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=START_S)
        stages += map(json.loads, rest.splitlines())
    if closed != 12 * pairs:
        raise SystemExit(f"{closed} candles closed with metrics, not {12 * pairs}")
    return stages


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--history", type=int, default=Settings()["aggregator.warmup"], help="stored candles")
    args = parser.parse_args()
    pairs, history = (20, 100) if args.quick else (300, args.history)
    common.pin(1)
    stages = measure(pairs, history)
    print(f"{pairs} pairs, {12 * pairs:,} streams, {history} stored candles of each")
    before, rows = 0.0, []
    for stage in stages:
        own = f"{stage['bytes'] / 2**20:.1f}" if "bytes" in stage else ""
        rows.append(
            (stage["stage"], f"{stage['mb'] - before:+.1f}", own, f"{stage['mb']:.1f}", f"{stage['peak_mb']:.1f}")
        )
        before = stage["mb"]
    common.table(["after", "MB more", "of it", "MB", "most so far"], rows)
    common.finish(
        "resident",
        args,
        {"pairs": pairs, "history": history, "stages": stages},
        [common.Target("MB resident in a worker with 300 pairs", stages[-1]["mb"], TARGET_MB)],
    )


if __name__ == "__main__":
    main()
