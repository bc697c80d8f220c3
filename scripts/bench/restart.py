#!/usr/bin/env python3
"""How long a worker that was killed takes until it publishes live again, and what its checkpoints cost.

    .venv/bin/python scripts/bench/restart.py [--pairs 150] [--rounds 3] [--quick]

A real worker process with 150 pairs at the end of a real PUSH socket, and a tick log with 60 s at 20,000 ticks/s, all
of it this worker's. `killed`: its shards had been saved 15 s before (the worst of the default), so that 15 s of the log
are read again. `nothing saved`: the baseline, all 60 s are. Each time is from the start of the process, Python and
imports included, to the first diffs that a subscriber gets of what was traded after the start. What the store's history
would add for pairs that were not saved is not in it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
from _market import Market, Wire

from wick.net import bus, endpoints
from wick.ops.settings import Settings
from wick.storage.logwriter import FileLog, Limits
from wick.wire.codec import unpack
from wick.wire.messages import Diffs, TickHeader

TARGET_S = 2.0
RATE, SECONDS, SAVED_S = 20_000, 60, 15
BATCH_NS = 20_000_000
PATIENCE_S = 60.0
LIVE_EVERY_S = 0.02


class Bench:
    def __init__(self, folder: str, pairs: int, seconds: int, rate: int) -> None:
        self.folder, self.data_dir, self.rate = Path(folder), folder, rate
        self.market = Market(pairs)
        self.wire = Wire(self.market, epoch=time.time_ns())
        self.log = FileLog(self.folder / "ticklog", Limits(8_000_000, 4_000_000_000))
        self.at_ns = time.time_ns() - (seconds + 5) * 10**9
        self.push = bus.push(folder, 0, Settings()["feed.push_hwm"])
        self.sub = bus.subscriber(folder, ["aggregator-0"], [b""])
        self.stats: dict[str, Any] = {}

    def flush(self, count: int) -> list[list[bytes]]:
        ticks = self.market.ticks(count, self.at_ns, self.at_ns + BATCH_NS)
        self.at_ns += BATCH_NS
        messages = self.wire.messages(ticks, self.at_ns)
        for packed, records in messages:
            header = TickHeader.unpack(packed)
            if self.log.is_due(header.send_ns):
                self.log.begin((header.epoch, header.block), b"", header.send_ns)
            self.log.append(header, [records])
        return messages

    def write(self, seconds: float) -> None:
        for _ in range(int(seconds * 1e9 / BATCH_NS)):
            self.flush(int(self.rate * BATCH_NS / 1e9))

    @contextmanager
    def worker(self) -> "Iterator[subprocess.Popen[bytes]]":
        options = ["--core-data-dir", self.data_dir, "--aggregator-workers", "1", "--core-log-level", "warning"]
        env = {key: value for key, value in os.environ.items() if not key.startswith("WICK_")}
        env |= {"PYTHONPATH": str(common.ROOT)}
        command = [sys.executable, "services/aggregator.py", *options]
        process = subprocess.Popen(command, cwd=common.ROOT, env=env)
        common.pin_process(process.pid, 0)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def heard(self) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        bus.drain(self.sub, found.append, 100_000)
        for topic, body in found:
            if topic.startswith(b"stats."):
                self.stats = unpack(body)
        return found

    def restart_s(self) -> tuple[float, dict[str, Any]]:
        """From the process's start to the first diffs of something traded since; and what its stats then say."""
        self.heard()
        began, began_ns = time.monotonic(), time.time_ns()
        with self.worker():
            live_s = 0.0
            self.at_ns = max(self.at_ns, time.time_ns())
            while not (live_s and self.stats.get("time_ns", 0) > began_ns + live_s * 1e9):
                if time.monotonic() > began + PATIENCE_S:
                    raise SystemExit("the worker does not come back")
                for message in self.flush(40):
                    bus.try_send(self.push, message)
                for topic, body in self.heard():
                    if not live_s and topic.startswith(b"diffs.") and Diffs.unpack(body).entries:
                        live_s = time.monotonic() - began
                time.sleep(LIVE_EVERY_S)
            return live_s, self.stats

    def save(self) -> dict[str, Any]:
        """A worker comes to the end of the log, and is stopped: it saves all shards."""
        _, stats = self.restart_s()
        with self.worker() as process:
            deadline = time.monotonic() + PATIENCE_S
            self.stats = {}
            while self.stats.get("state") not in ("waiting", "running"):
                if time.monotonic() > deadline:
                    raise SystemExit("the worker does not come to the end of its log")
                self.heard()
                time.sleep(LIVE_EVERY_S)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        self.heard()
        return self.stats or stats

    def close(self) -> None:
        for socket in (self.push, self.sub):
            socket.close(linger=0)
        self.log.close()


def measured(pairs: int, seconds: int, rate: int, saved: bool) -> tuple[float, dict[str, Any], dict[str, Any]]:
    with TemporaryDirectory(prefix="wb-") as folder:
        endpoints.run_dir(folder)
        bench = Bench(folder, pairs, seconds, rate)
        stopped: dict[str, Any] = {}
        try:
            bench.write(seconds - SAVED_S)
            if saved:
                stopped = bench.save()
                bench.at_ns = max(bench.at_ns, time.time_ns())
            bench.write(SAVED_S)
            if not saved:
                shutil.rmtree(bench.folder / "shards", ignore_errors=True)
            live_s, stats = bench.restart_s()
        finally:
            bench.close()
        return live_s, stats, stopped


def main() -> None:
    parser = common.parser(__doc__, rounds=3)
    parser.add_argument("--pairs", type=int, default=150)
    args = parser.parse_args()
    rounds, seconds, rate = (1, 20, 2_000) if args.quick else (args.rounds, SECONDS, RATE)
    common.pin(1)
    rows, figures = [], {}
    for name, saved in (("killed", True), ("nothing saved", False)):
        runs = [measured(args.pairs, seconds, rate, saved) for _ in range(rounds)]
        live_s = median(live for live, _, _ in runs)
        ticks = [stats["counters"].get("ticks", 0) for _, stats, _ in runs]
        rows.append((name, f"{live_s:.2f}", f"{max(live for live, _, _ in runs):.2f}", f"{median(ticks):,.0f}"))
        figures[name] = {"live_s": live_s, "all_s": [live for live, _, _ in runs], "ticks": ticks}
        if saved:
            counters = runs[-1][2].get("counters", {})
            figures["checkpoints"] = {key: value for key, value in counters.items() if "checkpoint" in key}
    common.table(["start", "live after s, median", "max", "ticks read by then"], rows)
    print(f"at the stop: {figures['checkpoints']}")
    target = common.Target("s until live, a worker that was killed", figures["killed"]["live_s"], TARGET_S)
    common.finish("restart", args, {"pairs": args.pairs, **figures}, [target])


if __name__ == "__main__":
    main()
