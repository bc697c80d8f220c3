#!/usr/bin/env python3
"""Processor time of one tick at 2,000 a second, as they come: a real worker process at the end of a real PUSH socket.

    .venv/bin/python scripts/bench/ticks_paced.py [--seconds 6] [--rounds 2] [--quick]

The whole process counts, all its threads, wake-ups, stats and timers, over windows of real time: `idle` (the worker has
300 pairs and hears the clock, as on a market where nobody trades), `batches` (what the feed sends by default: the ticks
of 20 ms in one flush, about 40 of 300 pairs by Zipf's law), and `one by one` (every tick a flush of its own, as if
feed.batch_ms were 0: the most wake-ups that there can be). A tick's cost is the window's, what idling costs included.
A reader subscribes to all that is published. `without publishing` is the same process that takes its turns every 50 ms
and then makes and sends no message; `reading alone` takes each message from the socket as it comes and drops it: what
the machine charges for a wake-up a message. `actors' own work` is from a process with the clock read around each
drained inbox (which costs it 0.1 us a drain).

Baseline, in turns with it: what one writes first (_paced_workers.py): a msgpack map a tick, a gevent queue item a tick,
twelve candle objects; it publishes nothing. Workers run on the first core, the sender on the second.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import _common as common
import msgpack
from _market import MS, Market, Ticks, Wire, decoded

from wick.net import bus, endpoints
from wick.ops.settings import Settings
from wick.wire.codec import unpack

TARGET_US, TARGET_ACTOR_US = 8.0, 1.0
RATE = 2_000  # ticks a second
BATCH_NS = 20 * MS  # feed.batch_ms
START_S = 30.0
HERE = Path(__file__).parent
WORKERS = {
    "wick": (["services/aggregator.py"], {}),
    "wick, without publishing": ([str(HERE / "_paced_workers.py"), "silent"], {}),
    "wick, actors measured": ([str(HERE / "_paced_workers.py"), "instrumented"], {}),
    "reading alone": ([str(HERE / "_paced_workers.py"), "reading"], {}),
    "naive": ([str(HERE / "_paced_workers.py"), "naive"], {}),
}
WINDOWS = ("idle", "batches", "one by one")


class Link:
    """A worker process, what feeds it and what reads from it."""

    def __init__(self, data_dir: str, process: "subprocess.Popen[bytes]", name: str) -> None:
        self.process, self.naive = process, name == "naive"
        self.tells = name.startswith("wick")  # stats
        self.market = Market()
        self.wire = Wire(self.market, epoch=time.time_ns())
        self.push = bus.push(data_dir, 0, Settings()["feed.push_hwm"])
        self.sub = bus.subscriber(data_dir, ["aggregator-0"], [b""])
        self.stats: dict[str, Any] = {}
        self.sent = 0

    def send(self, ticks: Ticks | None) -> None:
        now = time.time_ns()
        if not self.naive:
            for message in self.wire.messages(ticks, now):
                self.push.send_multipart(message)
        elif ticks is not None:
            keys = ("symbol", "time", "price", "quantity", "taker_buy")
            for tick in decoded(self.market, ticks):
                self.push.send(msgpack.packb(dict(zip(keys, tick, strict=True))))
        self.sent += 0 if ticks is None else len(ticks.pairs)

    def read(self) -> None:
        bus.drain(self.sub, self._heard, 10_000)

    def _heard(self, frames: list[bytes]) -> None:
        if frames[0].startswith(b"stats."):
            self.stats = unpack(frames[1])

    def settle(self) -> None:
        """Until the worker's stats, which come once a second, are newer than now."""
        began = time.time_ns()
        if self.tells:
            self.until(lambda: self.stats.get("time_ns", 0) > began, "tell its stats")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the worker does not {what}")
            self.read()
            time.sleep(0.01)

    def window(self, kind: str, seconds: float) -> tuple[int, int]:
        """Send for so long; the worker's processor time (ns) and the ticks sent."""
        sent, cpu = self.sent, common.cpu_ns(self.process.pid)
        at = time.time_ns()
        for _ in range(int(seconds * 1e9 / BATCH_NS)):
            count = int(self.market.random.poisson(RATE * BATCH_NS / 1e9)) if kind != "idle" else 0
            ticks = self.market.ticks(count, at, at + BATCH_NS) if count else None
            if ticks is not None and kind == "one by one":
                for number, place in enumerate(ticks.records["event_ns"].argsort(kind="stable")):
                    one = slice(place, place + 1)
                    self._wait(at + (number + 1) * BATCH_NS // count)
                    self.send(Ticks(ticks.pairs[one], ticks.records[one]))
            self._wait(at + BATCH_NS)
            if ticks is None or kind == "batches":
                self.send(ticks)
            at += BATCH_NS
            self.read()
        return common.cpu_ns(self.process.pid) - cpu, self.sent - sent

    @staticmethod
    def _wait(until_ns: int) -> None:
        if (wait := until_ns - time.time_ns()) > 0:
            time.sleep(wait / 1e9)


@contextmanager
def started(name: str) -> Iterator[Link]:
    command, settings = WORKERS[name]
    with TemporaryDirectory(prefix="wb-") as folder:
        endpoints.run_dir(folder)
        options = {"core.data_dir": folder, "aggregator.workers": 1, "core.log_level": "warning", **settings}
        words = [
            word
            for key, value in options.items()
            for word in ("--" + key.replace(".", "-").replace("_", "-"), str(value))
        ]
        env = {key: value for key, value in os.environ.items() if not key.startswith("WICK_")}
        env |= {"PYTHONPATH": str(common.ROOT)}
        process = subprocess.Popen([sys.executable, *command, *words], cwd=common.ROOT, env=env)
        common.pin_process(process.pid, 0)
        link = Link(folder, process, name)
        try:
            link.until(Path(endpoints.ticks(folder, 0).removeprefix("ipc://")).exists, "bind its socket")
            now = time.time_ns()
            link.send(link.market.one_each(now - BATCH_NS, now))
            link.settle()
            link.window("batches", 1.0)  # warm
            yield link
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)
            for socket in (link.push, link.sub):
                socket.close(linger=0)


def measure(name: str, seconds: float) -> dict[str, float]:
    """Microseconds a tick (idle: a second) by window; `... actor` of the actors' own work, where it is measured."""
    found = {}
    with started(name) as link:
        link.settle()
        before = link.stats
        for kind in WINDOWS:
            cpu, ticks = link.window(kind, seconds)
            found[kind] = cpu / 1e3 / (ticks or seconds)
            link.settle()
            if ticks and "actor_ns" in link.stats.get("gauges", {}):
                found[f"{kind} actor"] = (link.stats["gauges"]["actor_ns"] - before["gauges"]["actor_ns"]) / 1e3 / ticks
            before = link.stats
        taken = before["counters"]["ticks"] if before else link.sent
        if taken != link.sent:
            raise SystemExit(f"{name}: {link.sent:,} ticks were sent, {taken:,} were taken")
    return found


def main() -> None:
    parser = common.parser(__doc__, rounds=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each window")
    args = parser.parse_args()
    seconds, rounds = (1.0, 1) if args.quick else (args.seconds, args.rounds)
    common.pin(1)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WORKERS}
    for _ in range(rounds):
        for name in WORKERS:
            found[name].append(measure(name, seconds))
    figures = {
        name: {key: median(one[key] for one in some) for key in some[0]} for name, some in found.items()
    }  # fmt: skip
    actors = figures["wick, actors measured"]
    print(f"{RATE:,} ticks a second, windows of {seconds:g} s, {rounds} rounds; us of the process's time a tick")
    common.table(
        ["", "batches of 20 ms", "one by one", "idle, ms a second"],
        [
            *[
                (name, f"{one['batches']:.2f}", f"{one['one by one']:.2f}", f"{one['idle'] / 1e3:.2f}")
                for name, one in figures.items()
            ],
            ("actors' own work", f"{actors['batches actor']:.2f}", f"{actors['one by one actor']:.2f}", ""),
        ],
    )
    wick, quiet = figures["wick"], figures["wick, without publishing"]
    common.finish(
        "ticks_paced",
        args,
        {"rate": RATE, "seconds": seconds, "rounds": rounds, "us": figures},
        [
            common.Target("us of processor a tick, publishing included", wick["batches"], TARGET_US),
            common.Target("us of processor a tick, without publishing", quiet["batches"], TARGET_US),
            common.Target("us of the actors' own work a tick", actors["batches actor"], TARGET_ACTOR_US),
        ],
    )


if __name__ == "__main__":
    main()
