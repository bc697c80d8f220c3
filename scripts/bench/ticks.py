#!/usr/bin/env python3
"""Processor time of one tick in a saturated worker: header, split by pair, inbox, actor, all fields, all intervals.

    .venv/bin/python scripts/bench/ticks.py [--rounds 3] [--quick]

The feed's messages (300 pairs by Zipf's law, a flush every 20 ms) are handed to the real aggregator as its socket's
reader does it, and its flush timer's work is done when it is due. Under a load of so many ticks a second it is due
every two and a half flushes, 50 ms of market time. Saturated means that 770 flushes of 5,000 ticks wait, the reader
never finds its socket empty, and the timer is due when the worker has been busy for 50 ms. Ids, prices and times
advance as in a market, and every section crosses a boundary and its grace, so that all pairs roll and close in it.
Each load comes once with trades only, and once with the best quotes
among them (_market.py); the cost of those is in that of the trades, so of what a trade costs with its share of quotes.
Messages are made just before they are handed over, not in the measured time; nothing is handed over twice. The read
from the socket is left out (5 us a message: 2 ns a tick). `publishing` is the flush to the PUB socket by itself: diffs
and closes made, packed, sent.

Baseline, in turns with it: twelve plain candle objects a pair (_naive.py says what favours them), over such a section.
The last part gives one actor's state runs of 1 to 4096 ticks, on each path that the engine has, to see where they
cross. One core, processor time, best of the rounds, and their median.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import NamedTuple

import _common as common
from _market import MS, SECOND, VENUE, Market, Ticks, Wire, decoded
from _naive import Engine
from _worker import Worker, worker

from wick.market import candles
from wick.market.trades import TRADE
from wick.stream.shards import shard_of

TARGET_US, TARGET_RATIO = 0.5, 8.0
FLUSH_NS, FULL = 20 * MS, 5_000  # feed.batch_ms; ticks of a flush
LOADS = {10_000: 770, 50_000: 770, 250_000: 128}  # ticks a second: flushes of a section
ALSO = ("", ", and quotes")
SATURATED = 770  # 15.4 s of market: once around all that happens every 15 s
TIMER_S = 0.050  # aggregator.flush_ms
BORDER_NS, SECTION_NS = 1_719_792_000 * SECOND, 30 * SECOND  # 2024-07-01 00:00, a Monday; a section begins every 30 s
LEAD_NS = 300 * MS  # a section begins so long before a border
PATHS = {"the engine's choice": None, "one by one": 10**9, "in columns": 2}  # COLUMNS_FROM of each
RUNS = [2**power for power in range(13)]


def measured(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class Cost(NamedTuple):
    """Microseconds a tick: all that makes candles, and publishing."""

    tick: float
    publishing: float


class Bench:
    """The worker and the baseline, side by side."""

    def __init__(self, engine: Worker, market: Market) -> None:
        self.engine, self.market = engine, market
        self.wire, self.naive = Wire(market), Engine()
        self.sections = self.handed = 0
        began_ns = BORDER_NS - 60 * SECOND
        first = market.one_each(began_ns, began_ns + FLUSH_NS)
        self._hand([(began_ns + FLUSH_NS, first)])
        engine.flush()
        self.naive.take(decoded(market, first))

    def section(self, flushes: int, ticks: int) -> Iterator[tuple[int, Ticks]]:
        """The flushes of the next section: (send time, ticks)."""
        at = BORDER_NS + self.sections * SECTION_NS - LEAD_NS
        self.sections += 1
        for end in range(at + FLUSH_NS, at + (flushes + 1) * FLUSH_NS, FLUSH_NS):
            yield end, self.market.ticks(ticks, end - FLUSH_NS, end)

    def loaded(self, flushes: int, ticks: int) -> Cost:
        """At a rate that the worker keeps up with."""
        busy = publishing = 0.0
        for number, flush in enumerate(self.section(flushes, ticks), 1):
            busy += self._hand([flush])
            if number % 5 in (0, 2) or number == flushes:  # 50 ms are two and a half of them
                busy += measured(self.engine.turn)
                publishing += measured(self.engine.publish)
        return Cost(busy / (flushes * ticks) * 1e6, publishing / (flushes * ticks) * 1e6)

    def saturated(self, flushes: int) -> Cost:
        """All of it waits. The worker is handed as much at a time as a timer's period may take it."""
        busy = publishing = since = 0.0
        waiting = self.section(flushes, FULL)
        while some := list(islice(waiting, 4)):
            took = self._hand(some)
            since += took
            busy += took
            if since >= TIMER_S:
                busy += measured(self.engine.turn)
                publishing += measured(self.engine.publish)
                since = 0.0
        busy += measured(self.engine.turn)
        publishing += measured(self.engine.publish)
        return Cost(busy / (flushes * FULL) * 1e6, publishing / (flushes * FULL) * 1e6)

    def baseline(self, flushes: int) -> float:
        ticks = (decoded(self.market, ticks) for _, ticks in self.section(flushes, FULL))
        took = sum(measured(lambda some=some: self.naive.take(some)) for some in ticks)
        self.naive.closed.clear()
        return took / (flushes * FULL) * 1e6

    def _hand(self, flushes: list[tuple[int, Ticks]]) -> float:
        messages = [frames for end, ticks in flushes for frames in self.wire.messages(ticks, end)]
        self.handed += sum(int((ticks.records["kind"] == TRADE).sum()) for _, ticks in flushes)
        return measured(lambda: self.engine.take(messages))


@contextmanager
def path(columns_from: int | None) -> Iterator[None]:
    """Runs of so many ticks, or more, take the columns."""
    chosen = candles.COLUMNS_FROM
    candles.COLUMNS_FROM = columns_from or chosen
    yield
    candles.COLUMNS_FROM = chosen


def sweep(engine: Worker, rounds: int, each: int) -> dict[str, dict[int, float]]:
    """Microseconds a tick of one pair's state, by path and by the ticks that a wake-up finds."""
    market = Market(pairs=1)
    symbol, at = market.names[0], BORDER_NS + 86_400 * SECOND
    state = engine.shards[shard_of(VENUE, symbol)].pair(VENUE, symbol, 0)
    found: dict[str, dict[int, float]] = {}
    for name in PATHS:
        found[name] = dict.fromkeys(RUNS, float("inf"))
    for length in RUNS:
        for _ in range(rounds):
            for name, columns_from in PATHS.items():
                runs = []
                for _ in range(max(2, each // length)):
                    runs.append(market.ticks(length, at, at + MS).records.tobytes())
                    at += MS
                with path(columns_from):
                    state.ticks(runs[0])  # rolls, after a pause
                    took = measured(lambda runs=runs: [state.ticks(run) for run in runs[1:]])
                found[name][length] = min(found[name][length], took / (length * (len(runs) - 1)) * 1e6)
        at += 60 * SECOND
    return found


def main() -> None:
    args = common.parser(__doc__, rounds=3).parse_args()
    shrink, rounds, each = (32, 2, 4_096) if args.quick else (1, args.rounds, 32_768)
    loads = {f"{load:,} ticks a second": (flushes // shrink, load // 100) for load, flushes in LOADS.items()}
    common.pin()
    with worker() as engine:
        bench = Bench(engine, Market())
        bench.saturated(SATURATED // shrink), bench.baseline(SATURATED // shrink)  # warm
        costs: dict[str, list[Cost]] = {f"{name}{also}": [] for also in ALSO for name in [*loads, "saturated"]}
        baseline: list[float] = []
        for _ in range(rounds):
            for also in ALSO:
                bench.market.has_quotes = bool(also)
                for name, (flushes, ticks) in loads.items():
                    costs[name + also].append(bench.loaded(flushes, ticks))
                costs["saturated" + also].append(bench.saturated(SATURATED // shrink))
            bench.market.has_quotes = False
            baseline.append(bench.baseline(SATURATED // shrink))
        if engine.totals() != bench.handed:
            raise SystemExit(f"{bench.handed:,} ticks were handed over, {engine.totals():,} are in the candles")
    with worker() as engine:
        runs = sweep(engine, rounds, each)

    naive = min(baseline)
    best = {name: min(cost.tick for cost in some) for name, some in costs.items()}
    middle = {name: median(cost.tick for cost in some) for name, some in costs.items()}
    publishing = {name: median(cost.publishing for cost in some) for name, some in costs.items()}
    print(f"us of processor a tick, {len(bench.market.names)} pairs, {rounds} rounds")
    common.table(
        ["", "best", "median", "publishing", "naive / it"],
        [
            *[
                (name, f"{one:.3f}", f"{middle[name]:.3f}", f"{publishing[name]:.3f}", f"{naive / one:.1f}")
                for name, one in best.items()
            ],
            ("twelve naive candles", f"{naive:.3f}", f"{median(baseline):.3f}", "", ""),
        ],
    )
    for name, by_length in runs.items():
        print()
        common.bars(f"one pair by ticks a wake-up, {name}", by_length.items(), "us a tick")
    print()
    common.finish(
        "ticks",
        args,
        {
            "rounds": rounds, "best_us": best, "median_us": middle, "publishing_us": publishing,
            "naive_us": {"best": naive, "median": median(baseline)}, "by_ticks_a_wake_up_us": runs,
        },
        [
            common.Target("us of processor a tick, saturated", best["saturated"], TARGET_US),
            common.Target("times cheaper than twelve naive candles", naive / best["saturated"], TARGET_RATIO, True),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
