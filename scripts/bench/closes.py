#!/usr/bin/env python3
"""3,600 closes in one instant: 300 pairs, twelve intervals, at 00:00 on the 1st of a month that is a Monday.

    .venv/bin/python scripts/bench/closes.py [--rounds 9] [--quick]

The real aggregator, in this process, is told the venue's time twice: at the boundary, when all live candles roll, and a
grace later, when all of them close, with all metrics and patterns. Each step is measured from the clock's message until
everything that it caused is packed and handed to the PUB socket (diffs at the first, 3,600 rows of Closes at the
second), and meanwhile a greenlet that does nothing but yield notes the longest time that it had to wait: that is how
long the hub was held. The wait for the flush timer, 25 ms on average, is left out: the flush follows the actors at
once. Each round is a worker of its own whose streams have begun with more than WARM candles, as after a start with a
store, each pair with another number of them; it has had twenty trades a pair. `together` is both steps, one after the
other, as a grace of zero would have it. `close, one of two` is the close step of a worker with half of the pairs, as
each of the two has them that wick starts by itself; they close at the same time. `close, in step` is the close step
where all pairs have equally many candles, so that no stream's rows have to be gathered.

Then the same with ticks that keep coming, 2,000 a second, through a real socket, in real time, and with the worker's
own loop: read, act, publish every 50 ms. A tick's delay is from when it was due at the socket until the diff that tells
of it is handed to the PUB socket, so half a window is the least that its mean can be. `at the boundary` and `at the
close` are ticks that were due from a window before to two windows after; `between` are all others. All shards hear of
the boundary, and of the close, in one message.

Baseline, in turns with the first: twelve plain candle objects a pair (_naive.py), closed one by one, without metrics,
packed as msgpack maps. Wall clock on one core, median and best of the rounds; the targets are for the medians, and for
the 99th percentile of all rounds' ticks. Where the machine has other work, processor time tells how much of the wall
clock was the worker's.
"""

import gc
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import _common as common
import gevent
import msgpack
import numpy as np
from _candles import taken
from _market import MS, SECOND, VENUE, Market, Wire, decoded
from _naive import Engine
from _worker import Worker, worker

from wick.market.intervals import INTERVALS
from wick.market.schema import METRIC_FIELDS
from wick.metrics.bank import TIME
from wick.metrics.window import WARM
from wick.net import bus
from wick.net.reader import give_way
from wick.stream.shards import SHARDS
from wick.wire.messages import Closes

TARGET_MS, TARGET_HELD_MS, TARGET_P99_MS = 20.0, 5.0, 100.0
BORDER_NS = 1_719_792_000 * SECOND  # 2024-07-01 00:00, a Monday
GRACE_NS = 2 * SECOND  # aggregator.grace_ms
TRADES = 20  # a pair, within its first 15 s candle
RATE, BATCH_NS = 2_000, 20 * MS  # ticks a second; feed.batch_ms
FLUSH_NS = 50 * MS  # aggregator.flush_ms
BEFORE_NS, AFTER_NS = SECOND, SECOND  # of the ticks in real time: before the boundary, and after the close


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
        self.after(frames[0])

    def after(self, topic: bytes) -> None:
        """Something with this topic has been sent."""

    def close(self, linger: int | None = None) -> None:
        self.socket.close(linger)  # type: ignore[attr-defined]


def begun(engine: Worker, market: Market, in_step: bool = False) -> tuple[Wire, Outbox]:
    """All streams warm, and all pairs in the middle of all candles, of which none has closed."""
    candles = taken(2 * WARM, len(market.names))
    for number in sorted(range(len(market.names)), key=market.names.__getitem__):  # as the store has them
        engine.processor.column(VENUE, market.names[number])
    columns = [engine.processor.column(VENUE, name) for name in market.names]
    for index, interval in enumerate(INTERVALS):
        opened_ms = interval.open_ms(BORDER_NS // MS - 1)
        histories, decimals = [], []
        for number in range(len(columns)):
            history = candles[0 if in_step else number % (WARM - 1) :, :, number].T.copy()
            history[TIME] -= history[TIME, -1] + 1 - opened_ms
            histories.append(history)
            own = [[market.price_decimals[number]], [market.quantity_decimals[number]]]
            decimals.append(np.repeat(own, history.shape[1], axis=1))
        for _ in engine.processor.learn(index, columns, histories, decimals, [0] * len(columns)):
            pass
    wire = Wire(market)
    outbox = engine.pub = Outbox(engine.pub)  # type: ignore[assignment]
    began_ns = BORDER_NS - 14 * SECOND
    # The clock is known before the first trade: so are all pairs.
    engine.take(wire.messages(market.one_each(began_ns, began_ns + SECOND), began_ns + SECOND))
    ends = BORDER_NS - BEFORE_NS
    engine.take(wire.messages(market.one_each(began_ns + SECOND, ends, TRADES - 1), ends))
    engine.flush()
    return wire, outbox


def check(outbox: Outbox, market: Market) -> None:
    """All have closed, and have their metrics."""
    rows = [row for topic, body in outbox.sent if topic.startswith(b"closes.") for row in Closes.unpack(body).rows]
    if len(rows) != 12 * len(market.names):
        raise SystemExit(f"{len(rows)} candles closed, not {12 * len(market.names)}")
    if any(None in row[-len(METRIC_FIELDS) :] for row in rows):
        raise SystemExit("a closed candle lacks metrics")


def wick(engine: Worker, market: Market, in_step: bool) -> tuple[Step, Step]:
    """The boundary step and the close step."""
    wire, outbox = begun(engine, market, in_step)

    def step(clock_ns: int) -> None:
        engine.take(wire.messages(None, clock_ns))
        engine.flush()

    boundary = measured(lambda: step(BORDER_NS))
    close = measured(lambda: step(BORDER_NS + GRACE_NS))
    check(outbox, market)
    return boundary, close


def delays(engine: Worker, market: Market) -> dict[str, list[float]]:
    """Of each tick, how long (ms) it took from the socket to its diff, with both steps in the middle of them."""
    wire, outbox = begun(engine, market)
    push = bus.push(engine.data_dir, 0, engine.settings["feed.push_hwm"])
    plan = []
    for at in range(BORDER_NS - BEFORE_NS, BORDER_NS + GRACE_NS + AFTER_NS, BATCH_NS):
        due = at + BATCH_NS
        ticks = market.ticks(max(1, int(market.random.poisson(RATE * BATCH_NS / SECOND))), at, due)
        if due in (BORDER_NS, BORDER_NS + GRACE_NS):
            wire.all_hear()
        (message,) = wire.messages(ticks, due)
        plan.append((due, message, np.unique(np.array(market.shards)[ticks.pairs], return_counts=True)))
    found: dict[str, list[float]] = {"at the boundary": [], "at the close": [], "between": []}
    waiting: list[list[tuple[int, int]]] = [[] for _ in range(SHARDS)]  # taken, not yet published: due, how many
    sent = deque[tuple[int, Any]]()
    offset = plan[0][0] - 100 * MS - time.perf_counter_ns()

    def sending() -> None:
        for due, message, shards in plan:
            gevent.sleep(max(0.0, (due - offset - time.perf_counter_ns()) / SECOND))
            sent.append((due, shards))
            push.send_multipart(message)

    def receive(frames: list[bytes]) -> None:
        type(engine)._receive(engine, frames)
        due, (shards, counts) = sent.popleft()
        for shard, count in zip(shards.tolist(), counts.tolist(), strict=True):
            waiting[shard].append((due, count))

    def published(topic: bytes) -> None:
        if not topic.startswith(b"diffs."):
            return
        now = time.perf_counter_ns() + offset
        shard = int(topic.removeprefix(b"diffs."))
        for due, count in waiting[shard]:
            where = "between"
            for name, middle in (("at the boundary", BORDER_NS), ("at the close", BORDER_NS + GRACE_NS)):
                if middle - FLUSH_NS <= due <= middle + 2 * FLUSH_NS:
                    where = name
            found[where] += [(now - due) / MS] * count
        waiting[shard].clear()

    engine._receive, outbox.after = receive, published  # type: ignore[method-assign]
    loop = gevent.spawn(engine._work_forever)
    gevent.spawn(sending).get()
    gevent.sleep(4 * FLUSH_NS / SECOND)
    loop.kill()
    push.close(linger=0)
    if sent or any(waiting):
        raise SystemExit("some ticks have not been published")
    check(outbox, market)
    return found


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
    pairs, rounds = (30, 1) if args.quick else (300, args.rounds)
    common.pin()
    names = ("boundary", "close", "together", "close, one of two", "close, in step", "naive")
    steps: dict[str, list[Step]] = {name: [] for name in names}
    for number in range(rounds):
        gc.collect()
        with worker() as engine:
            _, close = wick(engine, Market(pairs, seed=number), in_step=True)
        steps["close, in step"].append(close)
        gc.collect()
        with worker() as engine:
            _, close = wick(engine, Market(pairs // 2, seed=number), in_step=False)
        steps["close, one of two"].append(close)
        gc.collect()
        with worker() as engine:
            boundary, close = wick(engine, Market(pairs, seed=number), in_step=False)
        steps["boundary"].append(boundary)
        steps["close"].append(close)
        took, cpu, held = zip(boundary, close, strict=True)
        steps["together"].append(Step(sum(took), sum(cpu), max(held)))
        steps["naive"].append(naive(Market(pairs, seed=number)))

    told: dict[str, list[float]] = {}
    for number in range(-(-rounds // 3)):
        gc.collect()
        with worker() as engine:
            for where, some in delays(engine, Market(pairs, seed=number)).items():
                told.setdefault(where, []).extend(some)

    figures = {
        name: {
            "median_ms": median(one.took_ms for one in some), "best_ms": min(one.took_ms for one in some),
            "cpu_ms": median(one.cpu_ms for one in some),
            "held_median_ms": median(one.held_ms for one in some), "held_most_ms": max(one.held_ms for one in some),
        }
        for name, some in steps.items()
    }  # fmt: skip
    delay_ms = {
        where: {"median": median(some), "p99": float(np.percentile(some, 99)), "most": max(some), "ticks": len(some)}
        for where, some in told.items()
    }
    print(f"{12 * pairs:,} closes in one instant, with metrics and patterns, {rounds} rounds")
    common.table(
        ["", "median ms", "best ms", "processor, median ms", "hub held, median ms", "most ms"],
        [(name, *(f"{value:.2f}" for value in some.values())) for name, some in figures.items()],
    )
    print()
    common.table(
        ["from tick to diff, ms", "median", "p99", "most", "ticks"],
        [(name, *(f"{value:,.4g}" for value in some.values())) for name, some in delay_ms.items()],
    )
    meanwhile = max(delay_ms["at the boundary"]["p99"], delay_ms["at the close"]["p99"])
    common.finish(
        "closes",
        args,
        {"closes": 12 * pairs, "rounds": rounds, "steps": figures, "delay_ms": delay_ms},
        [
            common.Target("ms from the clock's step to all closes packed", figures["close"]["median_ms"], TARGET_MS),
            common.Target("ms that the hub was held, at most", figures["together"]["held_median_ms"], TARGET_HELD_MS),
            common.Target("ms from a tick to its diff meanwhile, p99", meanwhile, TARGET_P99_MS),
        ],
    )


if __name__ == "__main__":
    main()
