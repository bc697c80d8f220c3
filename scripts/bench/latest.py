#!/usr/bin/env python3
"""The latest state of 300 pairs into Redis: a flush in which all of them have changed, single operations, all anew.

    .venv/bin/python scripts/bench/latest.py [--quick]

A real Valkey (in memory, on its own port) and real shards: the market of `_market.py` at 20,000 trades a second with
quotes, what the shards publish every 50 ms taken by the mirrors, and every 250 ms one write of what has changed.
`write` is what Redis and the way there take, from packed values to the answer; `flush` all that the sink's thread does
then, from the mirrors on. Following is the processor time of the messages in between, and a candle's end is beside it.

Baseline: the same values by redis-py, as a pipeline of SETs and as MSET, in turns with ours.
"""

import gc
import time
from collections.abc import Callable
from statistics import median

import _common as common
import numpy as np
import redis as redis_py
from _market import MS, SECOND, VENUE, Market, Ticks

from tests.servers.redis import redis
from wick.metrics.processor import Processor
from wick.roles.latest import WRITE_BYTES, Shards
from wick.storage.latest import RedisLatest, read_shard
from wick.stream.shard import CandleRules, Shard, deepest
from wick.stream.shards import SHARDS
from wick.wire.messages import Closes, Diffs

RATE, PAIRS = 20_000, 300
FLUSH_NS, WRITE_NS = 50 * MS, 250 * MS
START_NS = 1_723_161_600 * SECOND


class Source:
    """The shards of a worker and the mirrors that hear them."""

    def __init__(self) -> None:
        self.market, self.now = Market(PAIRS), START_NS
        self.market.has_quotes = True
        rules = {VENUE: CandleRules(grace_ms=500)}
        processor = Processor(deepest(rules))
        self.shards = [Shard(number, 1, rules, processor) for number in range(SHARDS)]
        self.heard = Shards()
        for shard in self.shards:
            self.heard.restart(shard.snapshot())
        self.follow_ns: list[int] = []

    def all_trade(self) -> None:
        """Each pair once: in a flush of 250 ms not all do by themselves."""
        before, self.now = self.now, self.now + MS
        self._take(self.market.of(np.arange(PAIRS), before, self.now))
        self._hear(self._published())

    def play(self, span_ns: int) -> None:
        """So much time."""
        messages: list[tuple[int, bytes, bytes]] = []
        for _ in range(0, span_ns, FLUSH_NS):
            before, self.now = self.now, self.now + FLUSH_NS
            self._take(self.market.ticks(RATE * FLUSH_NS // SECOND, before, self.now))
            messages += self._published()
        self.follow_ns.append(self._hear(messages))

    def _take(self, ticks: Ticks) -> None:
        for pair in np.unique(ticks.pairs):
            shard = self.shards[self.market.shards[pair]]
            records = ticks.records[ticks.pairs == pair].tobytes()
            shard.pair(VENUE, self.market.names[pair], self.now // MS).ticks(records)

    def _published(self) -> list[tuple[int, bytes, bytes]]:
        found = []
        for shard in self.shards:
            shard.advance(VENUE, self.now // MS)
            found += [(shard.number, topic, body) for topic, body in shard.flush(self.now)]
        return found

    def _hear(self, messages: list[tuple[int, bytes, bytes]]) -> int:
        """The processor time."""
        started = time.thread_time_ns()
        for number, topic, body in messages:
            if topic.startswith(b"diffs"):
                self.heard.diffs(number, Diffs.unpack(body))
            else:
                self.heard.closes(number, Closes.unpack(body))
        return time.thread_time_ns() - started


def timed(work: Callable[..., object], *arguments: object) -> float:
    """In ms."""
    started = time.perf_counter_ns()
    work(*arguments)
    return (time.perf_counter_ns() - started) / 1e6


def write_closed(heard: Shards, latest: RedisLatest) -> int:
    """As LatestState does it; the bytes."""
    some: dict[bytes, bytes] = {}
    size = total = 0
    for key, value in heard.closed():
        some[key] = value
        size, total = size + len(value), total + len(value)
        if size > WRITE_BYTES:
            latest.write(some)
            some, size = {}, 0
    latest.write(some)
    return total


def main() -> None:
    parser = common.parser(__doc__)
    args = parser.parse_args()
    flushes = 20 if args.quick else 1_000
    flush, write, cpu, closing, pipeline, plain, sizes, counts = ([] for _ in range(8))  # type: ignore[var-annotated]
    with redis() as server:
        latest, client = RedisLatest(server.url, 5.0), redis_py.Redis(port=server.port)
        source = Source()
        source.play(20 * SECOND)  # every pair has traded, and candles have closed
        latest.write(source.heard.states())
        write_closed(source.heard, latest)
        source.heard.written()
        gc.collect()
        gc.freeze()
        for number in range(flushes):
            source.play(WRITE_NS)
            source.all_trade()
            began = time.thread_time_ns()
            flush.append(timed(lambda: latest.write(source.heard.states())))
            cpu.append((time.thread_time_ns() - began) / 1e6)
            values = source.heard.states()
            sizes.append(sum(map(len, values.values())))
            counts.append(len(values))
            write.append(timed(latest.write, values))
            if number % 10 == 0:
                plain.append(timed(client.mset, values))
                pipeline.append(timed(piped, client, values))
            began_closing = time.perf_counter_ns()
            if write_closed(source.heard, latest):
                closing.append((time.perf_counter_ns() - began_closing) / 1e6)
            source.heard.written()
        key = next(iter(values))
        single = {
            "write": [timed(latest.write, {key: values[key]}) for _ in range(2_000)],
            "read": [timed(latest.read, [key]) for _ in range(2_000)],
        }
        for shard in range(SHARDS):
            source.heard.renew(shard)
        anew = timed(lambda: latest.write(source.heard.states()))
        anew_bytes = 0

        def closed() -> None:
            nonlocal anew_bytes
            anew_bytes = write_closed(source.heard, latest)

        anew += timed(closed)
        boot = timed(lambda: [read_shard(latest, shard) for shard in range(SHARDS)])
    rows = [("flush", flush), ("write", write), ("processor of a flush", cpu), ("closed candles", closing),
            ("redis-py MSET", plain), ("redis-py pipeline", pipeline), ("one write", single["write"]),
            ("one read", single["read"])]  # fmt: skip
    spread = {name: [float(one) for one in np.percentile(some, (50, 90, 99, 100))] for name, some in rows if some}
    print(f"{median(counts):,.0f} values, {median(sizes) / 1e3:,.0f} kB a flush; ms")
    common.table(
        ["", "median", "p90", "p99", "most"],
        [(name, *(f"{one:.3f}" for one in some)) for name, some in spread.items()],
    )
    share = sum(source.follow_ns[1:]) / (flushes * WRITE_NS)
    print(f"following takes {share:.1%} of a core; all anew ({anew_bytes / 1e6:.1f} MB of closed candles) takes "
          f"{anew:.0f} ms, and to read all of it {boot:.0f} ms")  # fmt: skip
    common.finish(
        "latest", args,
        {"ms_p50_p90_p99_most": spread, "values": median(counts), "bytes": median(sizes), "follow_share": share,
         "anew_ms": anew, "boot_ms": boot},
        [
            common.Target("state of 300 pairs to Redis, ms, median", spread["write"][0], 1.0),
            common.Target("a single write, ms, median", spread["one write"][0], 0.3),
            common.Target("a single read, ms, median", spread["one read"][0], 0.3),
        ],
    )  # fmt: skip


def piped(client: redis_py.Redis, values: dict[bytes, bytes]) -> None:
    pipe = client.pipeline(transaction=False)
    for key, value in values.items():
        pipe.set(key, value)
    pipe.execute()


if __name__ == "__main__":
    main()
