#!/usr/bin/env python3
"""What a worker leaves behind: allocated blocks, garbage collections and resident memory over 10 million ticks.

    .venv/bin/python scripts/bench/memory.py [--ticks 10000000] [--quick]

The real aggregator, in this process, is handed the feed's messages (300 pairs by Zipf's law, 2,500 trades a second of
event time) and flushes after each. Event time advances through 67 minutes, so candles of eight intervals close all
along. Before that comes a warm-up that fills what is kept by design: rows for late trades (aggregator.history is set to
its least, 1, since sixteen hours could not be warmed up), and 512 messages of Closes a shard for a sink that asks again
(three hours of event time). The market that makes the ticks lives in the same process and keeps nothing between them.

`blocks` is sys.getallocatedblocks() where a cycle of fifteen seconds begins, against the end of the warm-up. It goes up
and down with the hour, as the pieces of the long candles come and go, so there are two targets: it stays within what
twelve live candles of twenty integers a pair can take, and it is the same an hour later.
"""

import gc
import os
import sys
from pathlib import Path

import _common as common
import numpy as np
from _market import SECOND, Market, Wire
from _worker import Worker, worker

START_NS = 1_719_792_000 * SECOND + 300 * SECOND  # five minutes into a day: no boundary of 4 h until the end
STEP_NS, STEP_TICKS = SECOND, 2_500
CYCLE = 15  # steps of the shortest interval
WARM_STEPS, WARM_NS = 600, 15 * SECOND  # two and a half hours, one closing a step
FEW_TICKS = 2_500  # of a step of the warm-up: enough for sums to have the length that they will have
BLOCKS_A_PAIR = 12 * 20  # the constant
LATER_A_PAIR = 20  # an integer beyond 256 is a block, so sums of the longest candles may still become some
PERIODS = (3600, 900, 300, 60)  # s: the longest that fits into the run is "an hour"
RSS_GROWTH_MB = 4.0
SAMPLES = 20  # shown
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


def collections() -> list[int]:
    return [generation["collections"] for generation in gc.get_stats()]


class Samples:
    """Readings, without allocating for them."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self.blocks, self.resident = np.zeros(most), np.zeros(most)
        self.ticks = np.zeros(most)

    def take(self, ticks: int) -> None:
        self.ticks[self.count] = ticks
        self.blocks[self.count] = sys.getallocatedblocks()
        self.resident[self.count] = resident_mb()
        self.count += 1

    def later(self, values: np.ndarray) -> float:
        """What the values grew by in a period: the mean of all that are a period after another."""
        cycles = next(period // CYCLE for period in PERIODS if period // CYCLE < self.count)
        return float(np.mean(values[cycles : self.count] - values[: self.count - cycles]))


def run(engine: Worker, market: Market, ticks: int, warm_steps: int) -> tuple[Samples, list[int]]:
    wire = Wire(market)
    now_ns = START_NS
    handed = 0

    def step(count: int, length_ns: int) -> None:
        nonlocal now_ns, handed
        gc.disable()  # what the market makes is not the worker's
        some = market.ticks(count, now_ns, now_ns + length_ns)
        now_ns += length_ns
        messages = wire.messages(some, now_ns)
        gc.enable()
        engine.take(messages)
        engine.flush()
        handed += count

    for _ in range(warm_steps):
        step(FEW_TICKS, WARM_NS)
    for _ in range(4 * CYCLE):
        step(STEP_TICKS, STEP_NS)
    gc.collect()
    steps = ticks // STEP_TICKS
    samples = Samples(steps // CYCLE + 1)
    before, already = collections(), handed
    samples.take(0)
    for number in range(1, steps + 1):
        step(STEP_TICKS, STEP_NS)
        if number % CYCLE == 0:
            samples.take(handed - already)
    if engine.totals() != handed:
        raise SystemExit(f"{handed:,} ticks were handed over, {engine.totals():,} are in the candles")
    return samples, [after - first for first, after in zip(before, collections(), strict=True)]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--ticks", type=int, default=10_000_000)
    args = parser.parse_args()
    ticks, warm_steps = (200_000, 40) if args.quick else (args.ticks, WARM_STEPS)
    common.pin()
    market = Market()
    with worker(**{"aggregator.history": 1}) as engine:
        samples, collected = run(engine, market, ticks, warm_steps)

    shown = np.unique(np.linspace(0, samples.count - 1, SAMPLES).astype(int))
    labels = [f"{samples.ticks[at] / 1e6:.2f} M" for at in shown]
    blocks = samples.blocks - samples.blocks[0]
    resident = samples.resident - samples.resident[0]
    print(f"{ticks:,} ticks after {warm_steps * WARM_NS // SECOND:,} s of event time; {samples.count} samples")
    common.bars("resident memory by ticks", zip(labels, samples.resident[shown], strict=True), "MB")
    print()
    changes = [(label, f"{blocks[at]:+,.0f}") for label, at in zip(labels, shown, strict=True)]
    common.table(["ticks", "blocks more"], changes)
    print()
    print(f"collections of the generations 0, 1, 2 meanwhile: {collected}")
    pairs = len(market.names)
    growth = float(np.max(resident[: samples.count]))
    common.finish(
        "memory",
        args,
        {
            "ticks": ticks, "collections": collected, "resident_mb": samples.resident[shown].tolist(),
            "blocks_more": blocks[shown].tolist(), "resident_mb_later": samples.later(samples.resident),
        },
        [
            common.Target(
                "allocated blocks more, at most", float(np.max(blocks[: samples.count])), BLOCKS_A_PAIR * pairs
            ),
            common.Target("allocated blocks more an hour later", samples.later(samples.blocks), LATER_A_PAIR * pairs),
            common.Target("collections of generation 2", collected[2], 0),
            common.Target("MB of resident memory more, at most", growth, RSS_GROWTH_MB),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
