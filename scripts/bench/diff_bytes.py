#!/usr/bin/env python3
"""Bytes of one diff: what a pair's change in a flush takes in the Diffs message, over our recordings.

    .venv/bin/python scripts/bench/diff_bytes.py [FILE ...] [--quick]

Trades and best quotes go the way that the feed and the worker make them go: parsed, batched every 10 ms (a quote
replaces the one before it), packed as records, taken by a shard, which flushes every 50 ms of receive time; the venue's
clock advances it, so boundaries are in it. Every flush in which a pair changed counts once. `diff` is the pair's
entries (two where a boundary lies between); `with a trade` are those that are not a quote alone. `message` is all that
is sent: topic, header, names. The recordings have two pairs, each in a shard of its own, so each message carries one
diff; `shared` is the mean if a shard had ten, as where 300 are spread over 32.

Baseline: the pair's whole state, as a msgpack map with a map an interval, sent at the same flushes.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import _common as common
import msgpack
import numpy as np
from _market import CLOCK_NS, MS, VENUE

from wick.exchanges import load
from wick.market.intervals import NAMES
from wick.market.schema import HEAD_FIELDS, LIVE_FIELDS
from wick.roles.actors import Stream
from wick.stream.shard import CandleRules, Shard
from wick.stream.shards import shard_of
from wick.stream.ticks import Ticks
from wick.wire.codec import pack
from wick.wire.messages import Diffs

TARGET = 40.0
BATCH_NS, FLUSH_NS = 10 * MS, 50 * MS
SHARED = 10  # pairs of a shard, where 300 are spread over 32
QUICK_LINES = 4_000
COUNT = HEAD_FIELDS.index("trade_count")


def frames(path: Path, most: int | None) -> Iterator[tuple[int, bytes]]:
    """(receive time, message) of a capture."""
    with gzip.open(path) as file:
        for number, line in enumerate(file):
            if number == most:
                return
            stamp, _, raw = line.partition(b" ")
            yield int(stamp), raw.rstrip()


def symbol_of(path: Path) -> str:
    """The pair of a capture, by its first message."""
    _, raw = next(frames(path, None))
    return load(VENUE).symbol(str(json.loads(raw)["data"]["s"]))


class Pipeline:
    """Feed and worker without sockets, for one recording (one pair)."""

    def __init__(self, symbol: str) -> None:
        self.venue = load(VENUE)
        self.ticks = Ticks(VENUE, [symbol])
        number = shard_of(VENUE, symbol)
        self.shard = Shard(number, 1, {VENUE: CandleRules()})
        self.stream = Stream(self.shard, VENUE)
        self.sizes: list[tuple[int, int, int]] = []  # of each pair and flush: diff, message, whole state
        self.with_a_trade: list[int] = []
        self.count = 0  # trades of the only pair

    def play(self, path: Path, most: int | None) -> None:
        batch_at = flush_at = 0
        for recv_ns, raw in frames(path, most):
            batch_at, flush_at = batch_at or recv_ns + BATCH_NS, flush_at or recv_ns + FLUSH_NS
            while recv_ns >= min(batch_at, flush_at):
                if batch_at <= flush_at:
                    self._batch(batch_at)
                    batch_at += BATCH_NS
                else:
                    self._flush(flush_at)
                    flush_at += FLUSH_NS
            self.ticks.take(self.venue.take([raw]), recv_ns)
        self._batch(batch_at)
        self._flush(max(batch_at, flush_at))

    def _batch(self, now_ns: int) -> None:
        clock_ms = self.ticks.clock.at(now_ns) // MS
        for portion in self.ticks.portions(1, now_ns, now_ns - CLOCK_NS):
            for shard, _, _, symbols, counts in portion.parts:
                if shard != self.shard.number:
                    continue  # the clock, for a shard without pairs
                if symbols:
                    self.stream.deliver(symbols, counts, memoryview(portion.records), clock_ms)
                if self.stream.beats(clock_ms):
                    self.stream.turn(_no_breath)
                    self.stream.advance(clock_ms)

    def _flush(self, now_ns: int) -> None:
        self.stream.turn(_no_breath)
        for topic, body in self.shard.flush(now_ns):
            if topic.startswith(b"diffs."):
                self._measure(topic, body)

    def _measure(self, topic: bytes, body: bytes) -> None:
        size = sum(len(pack(entry)) for entry in Diffs.unpack(body).entries)
        [state] = self.shard.pairs.values()
        groups = state.candles.groups
        # The only pair of its shard: the whole message is for it.
        self.sizes.append((size, len(topic) + len(body), len(msgpack.packb(full(groups)))))
        if groups[0][COUNT] != self.count:
            self.with_a_trade.append(size)
            self.count = groups[0][COUNT]


def _no_breath() -> None:
    """Nobody waits."""


def full(groups: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A pair's whole state, as a map."""
    head, *live = ([int(value) for value in group] for group in groups)
    candles = {name: dict(zip(LIVE_FIELDS, group, strict=True)) for name, group in zip(NAMES, live, strict=True)}
    return {**dict(zip(HEAD_FIELDS, head, strict=True)), "candles": candles}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(common.RECORDINGS.glob("*.gz")))
    args = parser.parse_args()
    if not args.files:
        raise SystemExit(f"no recordings in {common.RECORDINGS}: name some files")
    sizes: list[tuple[int, int, int]] = []
    with_a_trade: list[int] = []
    for path in args.files:
        pipeline = Pipeline(symbol_of(path))
        pipeline.play(path, QUICK_LINES if args.quick else None)
        sizes += pipeline.sizes
        with_a_trade += pipeline.with_a_trade
    diff, message, state = zip(*sizes, strict=True)
    kinds = {"diff": diff, "with a trade": with_a_trade, "message": message, "whole state (map)": state}
    steps = (50, 90, 99, 100)
    spread = {name: [float(one) for one in np.percentile(some, steps)] for name, some in kinds.items()}
    mean = {name: fmean(some) for name, some in kinds.items()}
    shared = mean["diff"] + (mean["message"] - mean["diff"]) / SHARED
    print(f"{len(sizes):,} diffs (a pair and flush) of {len(args.files)} recordings, bytes")
    rows = [(name, f"{mean[name]:.1f}", *(f"{one:.0f}" for one in some)) for name, some in spread.items()]
    common.table(["", "mean", "median", "p90", "p99", "most"], [*rows, ("shared", f"{shared:.1f}", "", "", "", "")])
    common.finish(
        "diff_bytes",
        args,
        {"diffs": len(sizes), "mean": mean | {"shared": shared}, "p50_p90_p99_most": spread},
        [common.Target("bytes of one diff a pair and flush, mean", mean["diff"], TARGET)],
    )


if __name__ == "__main__":
    main()
