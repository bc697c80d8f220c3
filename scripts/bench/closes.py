#!/usr/bin/env python3
"""3,600 closes in one instant: 300 pairs, twelve intervals, at 00:00 on the 1st of a month that is a Monday.

    .venv/bin/python scripts/bench/closes.py [--rounds 9] [--quick]

The real aggregator, in this process, is told the venue's time twice: at the boundary, when all live candles roll, and a
grace later, when all of them close. Each step is measured from the clock's message until everything that it caused is
packed and handed to the PUB socket (diffs at the first, 3,600 rows of Closes at the second), and meanwhile a greenlet
that does nothing but yield notes the longest time that it had to wait: that is how long the hub was held. The wait for
the flush timer, 25 ms on average, is left out: the flush follows the actors at once. Each round is a worker of its own
that has had twenty trades a pair: nothing is warm that would not be at midnight. `together` is both steps, one after
the other, as a grace of zero would have it.

Baseline, in turns with it: twelve plain candle objects a pair (_naive.py), closed one by one, packed as msgpack maps.
Wall clock on one core, median and best of the rounds; the targets are for the medians. Where the machine has
other work, processor time tells how much of the wall clock was the worker's.
"""

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import _common as common
import gevent
import msgpack
from _market import MS, SECOND, Market, Wire, decoded
from _naive import Engine
from _worker import Worker, worker

from wick.net.reader import give_way
from wick.wire.messages import Closes

TARGET_MS, TARGET_HELD_MS = 10.0, 5.0
BORDER_NS = 1_719_792_000 * SECOND  # 2024-07-01 00:00, a Monday
GRACE_NS = 2 * SECOND  # aggregator.grace_ms
TRADES = 20  # a pair, within its first 15 s candle


class Step(NamedTuple):
    took_ms: float
    cpu_ms: float
    held_ms: float


def measured(work: Callable[[], object]) -> Step:
    """How long `work` takes in a greenlet of its own, and the longest time that it held the hub."""
    longest = 0.0

    def yielding() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            give_way()
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    other = gevent.spawn(yielding)
    gevent.sleep(0.002)
    longest = 0.0
    began, cpu = time.perf_counter(), time.process_time()
    gevent.spawn(work).get()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    gevent.sleep(0)
    other.kill()
    return Step(took * 1e3, cpu * 1e3, longest * 1e3)


class Outbox:
    """The worker's PUB socket, which also keeps what is sent."""

    def __init__(self, socket: object) -> None:
        self.socket, self.sent = socket, list[list[bytes]]()

    def send_multipart(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames)  # type: ignore[attr-defined]
        self.sent.append(frames)

    def close(self, linger: int | None = None) -> None:
        self.socket.close(linger)  # type: ignore[attr-defined]

    def rows(self) -> int:
        return sum(len(Closes.unpack(body).rows) for topic, body in self.sent if topic.startswith(b"closes."))


def wick(engine: Worker, market: Market) -> tuple[Step, Step]:
    """The boundary step and the close step of a worker with all its pairs in the middle of all candles."""
    wire = Wire(market)
    outbox = engine.pub = Outbox(engine.pub)  # type: ignore[assignment]
    began_ns = BORDER_NS - 14 * SECOND
    # The clock is known before the first trade: so are all pairs.
    engine.take(wire.messages(market.one_each(began_ns, began_ns + SECOND), began_ns + SECOND))
    ends = BORDER_NS - SECOND
    engine.take(wire.messages(market.one_each(began_ns + SECOND, ends, TRADES - 1), ends))
    engine.flush()
    assert not outbox.rows()

    def step(clock_ns: int) -> None:
        engine.take(wire.messages(None, clock_ns))
        engine.flush()

    boundary = measured(lambda: step(BORDER_NS))
    assert not outbox.rows()
    close = measured(lambda: step(BORDER_NS + GRACE_NS))
    if outbox.rows() != 12 * len(market.names):
        raise SystemExit(f"{outbox.rows()} candles closed, not {12 * len(market.names)}")
    return boundary, close


def naive(market: Market) -> Step:
    engine = Engine()
    engine.take(decoded(market, market.one_each(BORDER_NS - 13 * SECOND, BORDER_NS - SECOND, TRADES)))
    engine.closed.clear()

    def close() -> bytes:
        for pair in engine.pairs.values():
            for candle in pair.candles:
                candle.roll(BORDER_NS // MS, candle.close)
        packed: bytes = msgpack.packb(engine.closed)
        return packed

    return measured(close)


def main() -> None:
    args = common.parser(__doc__, rounds=9).parse_args()
    pairs, rounds = (30, 2) if args.quick else (300, args.rounds)
    common.pin()
    steps: dict[str, list[Step]] = {"boundary": [], "close": [], "together": [], "naive": []}
    for number in range(rounds):
        gc.collect()
        with worker() as engine:
            boundary, close = wick(engine, Market(pairs, seed=number))
        steps["boundary"].append(boundary)
        steps["close"].append(close)
        took, cpu, held = zip(boundary, close, strict=True)
        steps["together"].append(Step(sum(took), sum(cpu), max(held)))
        steps["naive"].append(naive(Market(pairs, seed=number)))

    figures = {
        name: {
            "median_ms": median(one.took_ms for one in some), "best_ms": min(one.took_ms for one in some),
            "cpu_ms": median(one.cpu_ms for one in some),
            "held_median_ms": median(one.held_ms for one in some), "held_most_ms": max(one.held_ms for one in some),
        }
        for name, some in steps.items()
    }  # fmt: skip
    print(f"{12 * pairs:,} closes in one instant, {rounds} rounds")
    common.table(
        ["", "median ms", "best ms", "processor, median ms", "hub held, median ms", "most ms"],
        [(name, *(f"{value:.2f}" for value in some.values())) for name, some in figures.items()],
    )
    common.finish(
        "closes",
        args,
        {"closes": 12 * pairs, "rounds": rounds, "steps": figures},
        [
            common.Target("ms from the clock's step to all closes packed", figures["close"]["median_ms"], TARGET_MS),
            common.Target("ms that the hub was held, at most", figures["together"]["held_median_ms"], TARGET_HELD_MS),
        ],
    )


if __name__ == "__main__":
    main()
