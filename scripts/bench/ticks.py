#!/usr/bin/env python3
"""Processor time of one tick in a saturated worker: header, split by pair, inbox, actor, all fields, all intervals.

    .venv/bin/python scripts/bench/ticks.py [--rounds 5] [--quick]

The feed's messages (300 pairs by Zipf's law; a flush every 10 ms has 2,500 trades, so 250,000 a second) are handed to
the real aggregator as its socket's reader does it: it takes what waits, at most bus.DRAIN_BUDGET messages, wakes the
actors, and they drain their inboxes. Saturated means that 256 flushes wait whenever it looks; the other lines say what
a tick costs when fewer do. Ids, prices and times advance as in a market, and every section crosses a boundary and its
grace, so that the candles of all pairs roll and close in it. Messages are made just before they are handed over, not in
the measured time; nothing is handed over twice. The read from the socket is left out (5 us a message: 2 ns a tick).
Publishing is a figure of its own: a flush whenever the worker has been busy for 50 ms, as its timer would make it.

Baseline, in turns with it over the same ticks: twelve plain candle objects a pair (_naive.py says what favours them).
The last part gives one actor runs of 1 to 4096 ticks, on each path that the engine has, to see where they cross.
One core, processor time, best of the rounds, and their median.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import _common as common
from _market import MS, SECOND, VENUE, Market, Ticks, Wire, decoded
from _naive import Engine
from _worker import Worker, worker

from wick.market import candles
from wick.stream.shards import shard_of
from wick.wire.messages import Records

TARGET_US, TARGET_RATIO = 0.5, 8.0
FLUSH_NS, FLUSH_TICKS = 10 * MS, 2_500
SATURATED, WAITING = 256, (1, 5, 32)  # flushes
PUBLISH_S = 0.050  # aggregator.flush_ms
BORDER_NS, BORDERS_NS = 1_719_792_000 * SECOND, 15 * SECOND  # 2024-07-01 00:00, a Monday; the shortest interval
LEAD_NS = 300 * MS  # a section begins so long before a border
PATHS = {"the engine's choice": None, "one by one": 10**9, "in columns": 2}  # COLUMNS_FROM of each
RUNS = [2**power for power in range(13)]


def measured(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class Bench:
    """The worker and the baseline, side by side."""

    def __init__(self, engine: Worker, market: Market, flushes: int) -> None:
        self.engine, self.market, self.flushes = engine, market, flushes
        self.wire, self.naive = Wire(market), Engine()
        self.sections = self.handed = 0
        began_ns = BORDER_NS - 60 * SECOND
        first = market.one_each(began_ns, began_ns + FLUSH_NS)
        self._hand(self.wire.messages(first, began_ns + FLUSH_NS), first)
        self.naive.take(decoded(market, first))

    def section(self) -> list[tuple[int, Ticks]]:
        """The flushes of the next section: (send time, ticks)."""
        at = BORDER_NS + self.sections * BORDERS_NS - LEAD_NS
        self.sections += 1
        ends = [at + number * FLUSH_NS for number in range(1, self.flushes + 1)]
        return [(end, self.market.ticks(FLUSH_TICKS, end - FLUSH_NS, end)) for end in ends]

    def wick(self, waiting: int) -> tuple[float, float]:
        """Seconds a tick for a section of which `waiting` flushes are there at a time; and for publishing."""
        flushes = self.section()
        busy = publishing = unpublished = 0.0
        for at in range(0, len(flushes), waiting):
            some = flushes[at : at + waiting]
            messages = [frames for end, ticks in some for frames in self.wire.messages(ticks, end)]
            took = measured(lambda messages=messages: self.engine.take(messages))
            self.handed += sum(len(ticks.pairs) for _, ticks in some)
            busy += took
            unpublished += took
            if unpublished >= PUBLISH_S:
                publishing += measured(self.engine.flush)
                unpublished = 0.0
        publishing += measured(self.engine.flush)
        total = self.flushes * FLUSH_TICKS
        return busy / total, publishing / total

    def baseline(self) -> float:
        flushes = [decoded(self.market, ticks) for _, ticks in self.section()]
        took = sum(measured(lambda ticks=ticks: self.naive.take(ticks)) for ticks in flushes)
        self.naive.closed.clear()
        return took / (self.flushes * FLUSH_TICKS)

    def _hand(self, messages: list[list[bytes]], ticks: Ticks) -> None:
        self.engine.take(messages)
        self.engine.flush()
        self.handed += len(ticks.pairs)


@contextmanager
def path(columns_from: int | None) -> Iterator[None]:
    """Runs of so many ticks, or more, take the columns."""
    chosen = getattr(candles, "COLUMNS_FROM", None)  # the engine before this one has one path only
    if columns_from is not None and chosen is not None:
        candles.COLUMNS_FROM = columns_from
    yield
    if chosen is not None:
        candles.COLUMNS_FROM = chosen


def sweep(engine: Worker, rounds: int, each: int) -> dict[str, dict[int, float]]:
    """Microseconds a tick of one pair's actor, by path and by the ticks that a wake-up finds."""
    market = Market(pairs=1)
    symbol, at = market.names[0], BORDER_NS + 86_400 * SECOND
    state = engine.shards[shard_of(VENUE, symbol)].pair(VENUE, symbol, 0)
    found: dict[str, dict[int, float]] = {}
    for name in PATHS:
        found[name] = dict.fromkeys(RUNS, float("inf"))
    for length in RUNS:
        for _ in range(rounds):
            for name, columns_from in PATHS.items():
                runs: list[Records] = []
                for _ in range(max(2, each // length)):
                    runs.append(market.ticks(length, at, at + MS).records)
                    at += MS
                with path(columns_from):
                    state.ticks(runs[0])  # rolls, after a pause
                    took = measured(lambda runs=runs: [state.ticks(run) for run in runs[1:]])
                found[name][length] = min(found[name][length], took / (length * (len(runs) - 1)) * 1e6)
        at += 60 * SECOND
    return found


def main() -> None:
    args = common.parser(__doc__, rounds=5).parse_args()
    flushes, each = (32, 4_096) if args.quick else (SATURATED, 32_768)
    rounds = 2 if args.quick else args.rounds
    common.pin()
    with worker() as engine:
        bench = Bench(engine, Market(), flushes)
        bench.wick(flushes), bench.baseline()  # warm
        waitings = [*[some for some in WAITING if some < flushes], flushes]
        wick: dict[int, list[tuple[float, float]]] = {waiting: [] for waiting in waitings}
        naive: list[float] = []
        for _ in range(rounds):
            for waiting in waitings:
                wick[waiting].append(bench.wick(waiting))
            naive.append(bench.baseline())
        if engine.totals() != bench.handed:
            raise SystemExit(f"{bench.handed:,} ticks were handed over, {engine.totals():,} are in the candles")
    with worker() as engine:
        runs = sweep(engine, rounds, each)

    ticks = {waiting: [one * 1e6 for one, _ in some] for waiting, some in wick.items()}
    publishing = {waiting: median(one * 1e6 for _, one in some) for waiting, some in wick.items()}
    baseline = [one * 1e6 for one in naive]
    print(f"us of processor a tick, {len(bench.market.names)} pairs, {FLUSH_TICKS:,} ticks a flush, {rounds} rounds")
    common.table(
        ["", "best", "median", "publishing", "naive / it"],
        [
            *[
                (f"wick, {waiting} flushes wait" + (" (saturated)" if waiting == flushes else ""), f"{min(some):.3f}",
                 f"{median(some):.3f}", f"{publishing[waiting]:.3f}", f"{min(baseline) / min(some):.1f}")
                for waiting, some in ticks.items()
            ],
            ("twelve naive candles", f"{min(baseline):.3f}", f"{median(baseline):.3f}", "", ""),
        ],
    )  # fmt: skip
    for name, by_length in runs.items():
        print()
        common.bars(f"one actor by ticks a wake-up, {name}", by_length.items(), "us a tick")
    print()
    saturated = min(ticks[flushes])
    common.finish(
        "ticks",
        args,
        {
            "best_us": {str(waiting): min(some) for waiting, some in ticks.items()},
            "median_us": {str(waiting): median(some) for waiting, some in ticks.items()},
            "publishing_us": {str(waiting): some for waiting, some in publishing.items()},
            "naive_us": {"best": min(baseline), "median": median(baseline)},
            "actor_us": runs,
        },
        [
            common.Target("us of processor a tick, saturated", saturated, TARGET_US),
            common.Target("times cheaper than twelve naive candles", min(baseline) / saturated, TARGET_RATIO, True),
        ],
    )


if __name__ == "__main__":
    main()
